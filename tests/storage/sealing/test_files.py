"""Encrypted files: the same afterwards, different each time, and any change is found."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaname.errors import CorruptData
from kaname.storage.sealing.files import CHUNK, SALT_BYTES, TAG_BYTES, opened, sealed, sealed_size

KEY = bytes(range(32))


def seal(value: bytes, name: str = "0") -> bytes:
    return b"".join(sealed(KEY, name, [value]))


def cut(value: bytes, size: int) -> Iterator[bytes]:
    return (value[start : start + size] for start in range(0, len(value), size))


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 5])
@pytest.mark.parametrize("pieces", [1_000_003, 4096])
def test_a_file_is_the_same_afterwards(size: int, pieces: int) -> None:
    """Around the borders of chunks, in whatever pieces it comes and goes; its sealed size is known before."""
    value = os.urandom(size)
    stored = b"".join(sealed(KEY, "0", cut(value, pieces)))
    assert len(stored) == sealed_size(KEY, size)
    assert b"".join(opened(KEY, "0", cut(stored, pieces))) == value
    assert value not in stored or size < 16


@given(st.binary(max_size=2000), st.integers(1, 700))
def test_any_bytes_survive_in_any_pieces(value: bytes, pieces: int) -> None:
    """Whatever the content."""
    assert b"".join(opened(KEY, "x", cut(seal(value, "x"), pieces))) == value


def test_without_a_key_everything_passes() -> None:
    """Nothing is encrypted and no byte is added."""
    assert list(sealed(None, "0", [b"a", b"b"])) == list(opened(None, "0", [b"a", b"b"])) == [b"a", b"b"]
    assert sealed_size(None, 7) == 7


def test_the_same_content_is_never_encrypted_alike() -> None:
    """Twice the same under one data key: other salts, and no chunk in common."""
    value = bytes(4 * CHUNK)
    one, two = seal(value), seal(value)
    chunk = CHUNK + TAG_BYTES
    chunks = [file[SALT_BYTES + i * chunk :][:chunk] for file in (one, two) for i in range(4)]
    assert one[:SALT_BYTES] != two[:SALT_BYTES]
    assert len(set(chunks)) == 8


def damaged(stored: bytes) -> Iterator[tuple[str, bytes]]:
    """A sealed file of three chunks, changed in every way that leaves something."""
    chunk = CHUNK + TAG_BYTES
    salt, first, second, third = stored[:SALT_BYTES], *cut(stored[SALT_BYTES:], chunk)
    yield "nothing", b""
    yield "salt only", salt
    yield "a bit of the salt", bytes([salt[0] ^ 1]) + stored[1:]
    yield "a bit of a chunk", stored[:5000] + bytes([stored[5000] ^ 1]) + stored[5001:]
    yield "a bit of the last tag", stored[:-1] + bytes([stored[-1] ^ 1])
    yield "the last byte gone", stored[:-1]
    yield "a byte more", stored + b"?"
    yield "the last chunk gone", salt + first + second
    yield "a chunk gone", salt + first + third
    yield "chunks changed places", salt + second + first + third
    yield "a chunk twice", salt + first + first + second + third


def test_every_change_is_found() -> None:
    """Changed, cut, lengthened, reordered: opening raises, and says nothing wrong before."""
    value = os.urandom(2 * CHUNK + 100)
    for what, stored in damaged(seal(value)):
        with pytest.raises(CorruptData, match="an encrypted file was changed"):
            assert b"".join(opened(KEY, "0", [stored])) == value, what


def test_a_file_opens_under_its_own_name_and_key_only() -> None:
    """Files of an artefact cannot change places, and another data key opens none of them."""
    for key, name in ((KEY, "1"), (bytes(32), "0")):
        with pytest.raises(CorruptData):
            list(opened(key, name, [seal(b"value")]))
