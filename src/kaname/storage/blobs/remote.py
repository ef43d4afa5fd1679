"""Objects in an S3-compatible store or Google Cloud Storage; the one module that knows the client library."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from kaname.errors import InvalidInput, MissingDependency, NotFound, Unavailable
from kaname.settings import ArtefactSettings
from kaname.storage.blobs.profile import aws_profile
from kaname.storage.blobs.types import Stored

try:
    import obstore
    from obstore import exceptions
    from obstore.store import GCSStore, S3Store
except ModuleNotFoundError as missing:
    raise MissingDependency.of(missing.name or "obstore", "s3", "artefacts.url") from missing

if TYPE_CHECKING:
    from obstore import PutMode
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

T = TypeVar("T")

PART_BYTES = 8 * 1024 * 1024
"""Bytes of one request: parts of an upload, ranges of a download."""
PARTS_AT_ONCE = 4
_SAID = re.compile(r"<Code>(?P<code>\w+)</Code>(?:.*?<Message>(?P<message>[^<]{1,200})</Message>)?", re.DOTALL)
_REASON = re.compile(r"timed out|deadline|[Cc]onnection refused|[Cc]onnection reset|dns error|error sending request")
_CREDENTIALS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile or a role of the machine that may use the bucket"
EXPECTED = {
    "NoSuchBucket": "a bucket that exists",
    "AccessDenied": _CREDENTIALS,
    "ExpiredToken": _CREDENTIALS,
    "InvalidAccessKeyId": _CREDENTIALS,
    "SignatureDoesNotMatch": _CREDENTIALS,
}
"""What would help, by the code of a refusal."""


class RemoteObjects:
    """`Objects` under one prefix of a bucket. Opening it asks the store nothing."""

    def __init__(self, store: ObjectStore, where: str) -> None:
        self._store = store
        self.where = where

    def put(self, name: str, chunks: Iterable[bytes]) -> None:
        """See `Objects.put`; more than one part goes as a multipart upload."""
        self._ask(
            name, lambda: obstore.put(self._store, name, chunks, chunk_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE)
        )

    def create(self, name: str, value: bytes) -> bool:
        """See `Objects.create`."""
        return self._put_if(name, value, "create")

    def replace(self, name: str, value: bytes, tag: str) -> bool:
        """See `Objects.replace`."""
        return self._put_if(name, value, {"e_tag": tag})

    def _put_if(self, name: str, value: bytes, mode: PutMode) -> bool:
        try:
            self._ask(name, lambda: obstore.put(self._store, name, value, mode=mode, use_multipart=False))
        except (exceptions.AlreadyExistsError, exceptions.PreconditionError):
            return False
        return True

    def read(self, name: str) -> tuple[bytes, str]:
        """See `Objects.read`."""

        def get() -> tuple[bytes, str]:
            found = obstore.get(self._store, name)
            return bytes(found.bytes()), found.meta["e_tag"] or ""

        return self._ask(name, get)

    def stream(self, name: str, size: int) -> Iterator[bytes]:
        """See `Objects.stream`; each range is a request that is repeated on its own."""
        for start in range(0, size, PART_BYTES):
            yield self._range(name, start, min(PART_BYTES, size - start))

    def _range(self, name: str, start: int, length: int) -> bytes:
        return self._ask(name, lambda: bytes(obstore.get_range(self._store, name, start=start, length=length)))

    def below(self, folder: str) -> Iterator[Stored]:
        """See `Objects.below`."""
        pages = iter(obstore.list(self._store, folder, chunk_size=1000))
        while page := self._ask(folder, lambda: next(pages, None)):
            for found in page:
                changed_ns = int(found["last_modified"].timestamp() * 1e9)
                yield Stored(name=found["path"], size=found["size"], changed_ns=changed_ns)

    def delete(self, names: list[str]) -> None:
        """See `Objects.delete`."""
        if names:
            self._ask(names[0], lambda: obstore.delete(self._store, names))

    def _ask(self, name: str, request: Callable[[], T]) -> T:
        """The request's answer; what the library raises in words that hold no header and no signature."""
        try:
            return request()
        except (exceptions.AlreadyExistsError, exceptions.PreconditionError):
            raise
        except FileNotFoundError as error:
            code, message = _said(str(error))
            if code not in (None, "NoSuchKey"):
                raise _refused(self.where, str(code), message) from None
            raise NotFound("no such object", where=self.where, found=name) from None
        except exceptions.BaseError as error:
            code, message = _said(str(error))
            if code is not None:
                raise _refused(self.where, code, message) from None
            raise _unreachable(self.where, str(error)) from None


def _said(text: str) -> tuple[str | None, str]:
    """Code and message of the store's own answer."""
    found = _SAID.search(text)
    return (None, "") if found is None else (found["code"], found["message"] or "")


def _refused(where: str, code: str, message: str) -> Unavailable:
    return Unavailable(
        "the artefact store refuses", where=where, found=f"{code}: {message}", expected=EXPECTED.get(code)
    )


def _unreachable(where: str, text: str) -> Unavailable:
    reason = _REASON.search(text)
    return Unavailable("the artefact store does not answer", where=where, found=None if reason is None else reason[0])


def open_remote(settings: ArtefactSettings, *, patient: bool = True) -> RemoteObjects:
    """The objects at `settings.url`; without `patient` a request that fails is not repeated.

    Raises InvalidInput for a URL that is none.
    """
    url = urlsplit(settings.url)
    if url.scheme not in ("s3", "gs") or not url.netloc:
        raise InvalidInput("no such store", where="artefacts.url", found=settings.url, expected="s3://bucket/prefix")
    prefix = url.path.strip("/") or None
    timeout = timedelta(milliseconds=settings.timeout_ms)
    client: ClientConfig = {"timeout": timeout, "connect_timeout": min(timeout, timedelta(seconds=5))}
    retry: RetryConfig = {"max_retries": 0}
    if patient:
        patience = timedelta(milliseconds=settings.retry_ms)
        retry = {"max_retries": 20, "retry_timeout": patience, "backoff": {"max_backoff": timedelta(seconds=2)}}
    if url.scheme == "gs":
        gcs = GCSStore(url.netloc, prefix=prefix, client_options=client, retry_config=retry)
        return RemoteObjects(gcs, settings.url)
    config = aws_profile() | {"endpoint": settings.endpoint, "region": settings.region}
    client["allow_http"] = config.get("endpoint", "").startswith("http://")
    chosen = {name: value for name, value in config.items() if value}
    s3 = S3Store(url.netloc, prefix=prefix, config=chosen, client_options=client, retry_config=retry)  # type: ignore[arg-type]  # a dict of text
    return RemoteObjects(s3, settings.url)
