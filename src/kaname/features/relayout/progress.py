"""Keeps how far a change of layouts is, in the store of its source."""

from __future__ import annotations

import msgspec

from kaname.clock import Clock
from kaname.errors import Conflict, NotFound
from kaname.features.records import FAMILY, TABLE
from kaname.features.relayout.types import Progress
from kaname.storage.cells.types import CellStore, Delete, Put

GONE_US = 30_000_000
"""Who has not been heard of for so long does nothing any more."""
_ROW, _QUALIFIER = b"\0relayout:", b"progress"

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Progress).decode


class Kept:
    """The progress of one relation."""

    def __init__(self, store: CellStore, relation: str, clock: Clock) -> None:
        self._store = store
        self._row = _ROW + relation.encode()
        self._clock = clock
        self._last_us = 0

    def load(self) -> Progress | None:
        """What was saved last; None: nothing, or it was forgotten."""
        try:
            cells = self._store.get(TABLE, self._row).get(FAMILY, ())
        except NotFound:
            return None
        self._last_us = max((cell.timestamp_us for cell in cells), default=self._last_us)
        return next((_decode(cell.value) for cell in cells if cell.qualifier == _QUALIFIER), None)

    def begin(self, owner: str) -> Progress:
        """Go on as `owner`, or from the start. Raises Conflict while another node does it."""
        found, now_us = self.load(), self._clock.time_ns() // 1000
        if found is None:
            return self.save(Progress(owner, now_us))
        if found.owner.split(":")[0] != owner.split(":")[0] and now_us - found.beat_us < GONE_US:
            raise Conflict("another node is doing this", where="relayout", found=found.owner, expected="one at a time")
        return self.save(msgspec.structs.replace(found, owner=owner))

    def save(self, progress: Progress) -> Progress:
        """Write it down, durably."""
        now_us = self._clock.time_ns() // 1000
        progress = msgspec.structs.replace(progress, beat_us=now_us)
        self._store.write([Put(TABLE, self._row, FAMILY, {_QUALIFIER: _encode(progress)}, self._stamp())])
        return progress

    def forget(self) -> None:
        """It is over."""
        self._store.write([Delete(TABLE, self._row, until_us=self._stamp())])

    def _stamp(self) -> int:
        """A time behind that of what is there, whoever's clock wrote it."""
        self._last_us = max(self._clock.time_ns() // 1000, self._last_us + 1)
        return self._last_us
