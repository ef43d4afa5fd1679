"""The binary tensor data extension: raw tensors behind the JSON of a body."""

from __future__ import annotations

from typing import Any

from kaname.errors import InvalidInput
from kaname.serving.exchange import Body

LENGTH_HEADER = b"inference-header-content-length"
_WHERE = "inference-header-content-length"
_NOTHING = memoryview(b"")


def split(body: Body, length: bytes) -> tuple[memoryview, memoryview]:
    """JSON and binary part of a body, by the value of the header that gives the length of the first."""
    shown = length.decode("latin-1")[:40]
    if not length.isdigit() or len(length) > 18:
        raise InvalidInput("not a length", where=_WHERE, found=repr(shown), expected="number of bytes of the JSON")
    size = int(length)
    if size > len(body):
        raise InvalidInput(
            "the JSON is said to be longer than the body", where=_WHERE, found=shown, expected=f"at most {len(body)}"
        )
    view = memoryview(body)
    return view[:size], view[size:]


def parts(body: Body, headers: dict[bytes, bytes]) -> tuple[Body, Blobs]:
    """JSON and binary part of a body with these headers."""
    length = headers.get(LENGTH_HEADER)
    if length is None:
        return body, Blobs(_NOTHING)
    json, rest = split(body, length)
    return json, Blobs(rest)


class Blobs:
    """Hands out the binary part of a body piece by piece, in the order of the inputs."""

    def __init__(self, raw: memoryview) -> None:
        self._raw = raw
        self._at = 0

    def take(self, size: Any, where: str) -> memoryview:
        """The next `size` bytes. Raises InvalidInput when there are fewer."""
        if type(size) is not int or size < 0:
            raise InvalidInput("wrong value", where=where, found=repr(size)[:80], expected="a number of bytes")
        left = len(self._raw) - self._at
        if size > left:
            raise InvalidInput(
                "the binary data ends early", where=where, found=f"{left} bytes left", expected=f"{size} bytes"
            )
        piece = self._raw[self._at : self._at + size]
        self._at += size
        return piece

    def finish(self) -> None:
        """Raise InvalidInput when bytes are left that belong to no input."""
        left = len(self._raw) - self._at
        if left:
            raise InvalidInput(
                "binary data that belongs to no input",
                where="body",
                found=f"{left} bytes more",
                expected="as many as the inputs' binary_data_size add up to",
            )
