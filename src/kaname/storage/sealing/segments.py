"""Encrypted blocks of an event log, in segments: what one writer writes with one data key, for a day at most.

A sealed block is `MAGIC`, the segment's id, a nonce and the ciphertext. The nonce counts the blocks of the segment, and
a segment belongs to one process, so none is ever used twice. The data key lies beside the log, wrapped, in
`<slot>/keys/<segment>`: it can be wrapped anew while the blocks stay as they are.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from kaname.clock import Clock
from kaname.errors import CorruptData
from kaname.storage.sealing.keys import Envelope, Keyring

if TYPE_CHECKING:
    from kaname.storage.sealing.aes import Aes

MAGIC = b"\xc1KB1"
"""No value of MessagePack begins with 0xC1."""
SEGMENT_BYTES, NONCE_BYTES = 16, 12
_SEGMENT = slice(len(MAGIC), len(MAGIC) + SEGMENT_BYTES)
_NONCE = slice(_SEGMENT.stop, _SEGMENT.stop + NONCE_BYTES)
DAY_NS = 86_400_000_000_000


class BlockSealer:
    """Seals the blocks of one writer; used by one thread."""

    def __init__(self, folder: Path, keyring: Keyring, clock: Clock) -> None:
        """`folder`: that of the writer's slot."""
        self._keys = folder / "keys"
        self._keyring = keyring
        self._clock = clock
        self._aes: Aes | None = None
        self._until_ns = 0
        self._pid = 0
        self._count = 0
        self._segment = b""
        self._unsettled: dict[Path, Envelope] = {}

    def seal(self, place: str, value: bytes) -> bytes:
        """The block for `place`, encrypted; as it is where no key is active. `settle` before it reaches the disk."""
        if self._keyring.active is None:
            return value
        if self._aes is None or self._clock.time_ns() >= self._until_ns or os.getpid() != self._pid:
            self._begin()
        assert self._aes is not None
        self._count += 1
        nonce = self._count.to_bytes(NONCE_BYTES, "big")
        return MAGIC + self._segment + nonce + self._aes.seal(nonce, value, place.encode())

    def _begin(self) -> None:
        from kaname.storage.sealing.aes import Aes

        self._segment, self._count = os.urandom(SEGMENT_BYTES), 0
        key, name = self._keyring.data_key(), self._segment.hex()
        assert key is not None
        self._unsettled[self._keys / name] = self._keyring.wrap(key, _what(name))
        self._aes = Aes(key)
        self._pid, self._until_ns = os.getpid(), self._clock.time_ns() + DAY_NS

    def settle(self) -> None:
        """Make wrapped keys durable, before the blocks that need them are. Raises OSError; call it again later."""
        for path, envelope in list(self._unsettled.items()):
            write_envelope(path, envelope)
            del self._unsettled[path]


class BlockOpener:
    """Opens sealed blocks of all slots of a log; safe to use from several threads."""

    def __init__(self, folder: Path, keyring: Keyring) -> None:
        self._folder = folder
        self._keyring = keyring
        self._known: dict[tuple[int, bytes], Aes] = {}

    def open(self, slot: int, place: str, value: bytes) -> bytes:
        """The block as it was before it was sealed; one that was not sealed as it is.

        Raises Unavailable naming a key that is not listed, CorruptData for a block that was changed or moved.
        """
        if not value.startswith(MAGIC):
            return value
        aes = self._aes(slot, value[_SEGMENT])
        found = aes.open(value[_NONCE], value[_NONCE.stop :], place.encode())
        if found is None:
            raise CorruptData("an encrypted block was changed", where=place)
        return found

    def _aes(self, slot: int, segment: bytes) -> Aes:
        found = self._known.get((slot, segment))
        if found is None:
            envelope = read_envelope(self._folder / str(slot) / "keys" / segment.hex())
            key = self._keyring.unwrap(envelope, _what(segment.hex()))
            from kaname.storage.sealing.aes import Aes

            found = self._known[slot, segment] = Aes(key)
        return found


class SegmentKeys:
    """The wrapped keys of all segments of a log, for `rotation`."""

    def __init__(self, folder: Path, name: str) -> None:
        """`name`: what the log holds, for people."""
        self._folder = folder
        self.name = name

    def envelopes(self) -> Iterator[tuple[str, Envelope | None]]:
        """Each segment and its envelope."""
        for path in sorted(self._folder.glob("*/keys/*")):
            if not path.suffix:
                yield str(path.relative_to(self._folder)), read_envelope(path)

    def rewrap(self, place: str, keyring: Keyring) -> bool:
        """Wrap the key of one segment with the active key; False when it is already."""
        path = self._folder / place
        envelope = keyring.rewrap(read_envelope(path), _what(path.name))
        if envelope is not None:
            write_envelope(path, envelope)
        return envelope is not None


def _what(segment: str) -> str:
    return f"segment {segment}"


def read_envelope(path: Path) -> Envelope:
    """The envelope in a file. Raises CorruptData."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Envelope)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CorruptData("the wrapped key cannot be read, and what it encrypted neither", where=str(path)) from error


def write_envelope(path: Path, envelope: Envelope) -> None:
    """Write it whole or not at all, durably. Raises OSError."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}")
    with draft.open("wb") as file:
        file.write(msgspec.json.encode(envelope))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    fd = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
