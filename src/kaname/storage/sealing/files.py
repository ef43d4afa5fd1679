"""Encrypted files, piece by piece: a salt, then chunks, each sealed with a key of the file's own.

The key is derived from the data key and the salt, so that no two writings of a file share it, whatever process wrote
them; a chunk's nonce is its number and whether it is the last one, so that none can be left out or change places (the
STREAM construction of Hoang, Reyhanitabar, Rogaway and Vizár, 2015). Without a data key everything passes as it is.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from kaname.errors import CorruptData

CHUNK = 256 * 1024
SALT_BYTES, TAG_BYTES = 32, 16
PURPOSE = b"kaname file 1"


def sealed_size(key: bytes | None, size: int) -> int:
    """How large a file of `size` bytes is once it is sealed."""
    return size if key is None else SALT_BYTES + size + TAG_BYTES * max(1, -(-size // CHUNK))


def sealed(key: bytes | None, name: str, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The bytes of a file, encrypted; `name` is what it must be called when it is opened."""
    if key is None:
        yield from pieces
        return
    from kaname.storage.sealing.aes import Aes, derived

    salt = os.urandom(SALT_BYTES)
    aes, bound = Aes(derived(key, salt, PURPOSE)), name.encode()
    yield salt
    for number, last, chunk in _numbered(_chunks(pieces, CHUNK)):
        yield aes.seal(_nonce(number, last), chunk, bound)


def opened(key: bytes | None, name: str, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """What was sealed under this name. Raises CorruptData at the first chunk that is not as it was."""
    if key is None:
        yield from pieces
        return
    from kaname.storage.sealing.aes import Aes, derived

    source = _chunks(pieces, SALT_BYTES, CHUNK + TAG_BYTES)
    aes, bound = Aes(derived(key, next(source, b""), PURPOSE)), name.encode()
    for number, last, chunk in _numbered(source):
        found = aes.open(_nonce(number, last), chunk, bound)
        if found is None:
            raise CorruptData("an encrypted file was changed", where=f"{name}, byte {number * CHUNK}")
        yield found


def _nonce(number: int, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])


def _numbered(chunks: Iterator[bytes]) -> Iterator[tuple[int, bool, bytes]]:
    """Chunks with their numbers, the last one marked; of nothing one empty chunk."""
    held, number = next(chunks, b""), 0
    for chunk in chunks:
        yield number, False, held
        held, number = chunk, number + 1
    yield number, True, held


def _chunks(pieces: Iterable[bytes], *sizes: int) -> Iterator[bytes]:
    """The same bytes in pieces of the given sizes, the last size again and again; only the last piece is shorter."""
    waiting, wanted = bytearray(), list(sizes)
    for piece in pieces:
        waiting += piece
        while len(waiting) >= wanted[0]:
            yield bytes(waiting[: wanted[0]])
            del waiting[: wanted[0]]
            if len(wanted) > 1:
                wanted.pop(0)
    if waiting:
        yield bytes(waiting)
