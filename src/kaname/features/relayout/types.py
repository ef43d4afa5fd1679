"""What is remembered and said of a change of layouts."""

from __future__ import annotations

from typing import Literal

import msgspec

Stage = Literal["copy", "verify"]


class Progress(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far the rows are; kept in the store of the source."""

    owner: str
    """Node and process that do it."""
    beat_us: int
    """When it was last known to; µs since the Unix epoch, UTC."""
    stage: Stage = "copy"
    after: bytes = b""
    """The key in the source of the last row that is there."""
    flying: tuple[bytes, ...] = ()
    """Keys in the target of rows that may be half written: the first to be looked at when another process goes on."""
    rows: int = 0
    """Rows that were copied."""
    checked: int = 0
    """Rows that were compared."""
    mended: int = 0
    """Rows that were found to differ, and made equal."""


class Shown(msgspec.Struct, frozen=True):
    """What people see of it."""

    relation: str
    step: str
    """In words."""
    share: float | None = None
    """How much of this step is done, about; 0 to 1."""
    rows: int = 0
    checked: int = 0
    mended: int = 0


class How(msgspec.Struct, frozen=True, kw_only=True):
    """How carefully, and how fast."""

    sample: int = 1000
    """Rows of each side to compare before anybody reads the new layout."""
    full: bool = False
    """Compare all rows, and mend those that differ."""
    rows_per_s: float | None = None
    """Copy no faster; None: as fast as it goes."""
