"""The ranges of rows that begin with the same bytes."""

from __future__ import annotations


def after(prefix: bytes) -> bytes | None:
    """The first key behind all that begin with `prefix`, for `stop` of a scan; None: there is none behind them."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes([kept[-1] + 1]) if kept else None
