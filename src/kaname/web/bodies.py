"""Request bodies within their limits: into memory, or streamed to a file."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import NamedTemporaryFile

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from kaname.errors import InvalidInput, TooLarge, UnsupportedMedia

_BLOCK = 1024 * 1024


async def read(request: Request, limit: int) -> bytes:
    """The whole body; raises TooLarge as soon as it is known to exceed `limit` bytes."""
    return b"".join([chunk async for chunk in _chunks(request, limit)])


async def spool(request: Request, limit: int, folder: Path) -> tuple[Path, bytes]:
    """Stream the body to a new file in `folder`; its path and the BLAKE2b-256 of its content.

    Raises TooLarge beyond `limit` bytes and InvalidInput when it is empty; no file is left behind then.
    """
    hashed = hashlib.blake2b(digest_size=32)
    with NamedTemporaryFile(dir=folder, prefix="upload-", delete=False) as file:
        path = Path(file.name)
        try:
            pending: list[bytes] = []
            held = size = 0
            async for chunk in _chunks(request, limit):
                hashed.update(chunk)
                pending.append(chunk)
                held += len(chunk)
                size += len(chunk)
                if held >= _BLOCK:
                    await run_in_threadpool(file.write, b"".join(pending))
                    pending, held = [], 0
            await run_in_threadpool(file.write, b"".join(pending))
            if not size:
                raise InvalidInput("the body is empty", where="body", expected="the bytes of a file")
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    return path, hashed.digest()


async def _chunks(request: Request, limit: int) -> AsyncIterator[bytes]:
    declared = request.headers.get("content-length", "0")
    if declared.isascii() and declared.isdigit() and int(declared) > limit:
        raise _too_large(declared, limit)
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise _too_large(f"more than {limit}", limit)
        if chunk:
            yield chunk


def _too_large(found: str, limit: int) -> TooLarge:
    return TooLarge("the body is too large", where="body", found=f"{found} bytes", expected=f"at most {limit} bytes")


def check_media_type(request: Request, accepted: tuple[str, ...]) -> None:
    """Raise UnsupportedMedia unless the content type is one of `accepted`; a request may also leave it out.

    A content encoding is never accepted here: control requests are small and files are compressed already.
    """
    found = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if found and found not in accepted:
        raise UnsupportedMedia(
            "unsupported media type", where="Content-Type", found=found, expected=" or ".join(accepted)
        )
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise UnsupportedMedia("unsupported encoding", where="Content-Encoding", found=encoding, expected="identity")
