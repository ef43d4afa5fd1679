"""Which rows lie together: what a row key of given parts can be asked for, as ranges of bytes."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec

from kaname.errors import InvalidInput
from kaname.features.parts import CompiledPart
from kaname.features.types import Row
from kaname.storage.cells.prefix import after


class Span(msgspec.Struct, frozen=True):
    """Row keys from `start` to before `stop` (None: to the end)."""

    start: bytes
    stop: bytes | None


class Within(msgspec.Struct, frozen=True, kw_only=True):
    """A range of the values of one attribute, or those that begin alike; None: no limit on that side."""

    attribute: str
    low: object = None
    high: object = None
    low_open: bool = False
    """Without `low` itself."""
    high_open: bool = False
    """Without `high` itself."""
    begins: object = None
    """Text or bytes; then without low and high."""


_NOTHING = Span(b"", b"")


def following(parts: Sequence[CompiledPart], equal: Collection[str]) -> int:
    """How many leading parts have one value when the attributes in `equal` have."""
    for i, part in enumerate(parts):
        if not all(name in equal for name in names_of(part)):
            return i
    return len(parts)


def sorted_by(parts: Sequence[CompiledPart], equal: Collection[str] = ()) -> list[tuple[str, bool]]:
    """What rows are sorted by, in the order of their keys, that have one value of each attribute in `equal`:
    attributes, and whether from the greatest to the least."""
    found: list[tuple[str, bool]] = []
    for part in parts[following(parts, equal) :]:
        if all(name in equal for name in names_of(part)):
            continue
        if part.attribute is None or not part.ordered:
            break
        found.append((part.attribute, part.desc))
    return found


def span(parts: Sequence[CompiledPart], equal: Row, within: Within | None = None) -> Span:
    """The narrowest range that holds all rows with the values in `equal`, and `within` of the part behind these.

    It may hold others where `equal` names attributes that no leading part holds, and for `begins`. Raises
    InvalidInput when the attribute of `within` is not what follows, or its bytes do not keep the order asked for.
    """
    known = following(parts, equal)
    start = b"".join([_written(part, equal) for part in parts[:known]])
    if within is None:
        whole = known == len(parts) and known > 0 and not parts[-1].bounded
        return Span(start, start + b"\0" if whole else after(start))
    part = parts[known] if known < len(parts) else None
    if part is None or part.attribute != within.attribute:
        raise InvalidInput(
            "rows that differ in nothing else do not lie together", where=within.attribute, expected=_next(part)
        )
    if within.begins is not None:
        return _beginning(start, part, within)
    if not part.ordered:
        raise InvalidInput("the bytes of this part do not sort like its values", where=within.attribute)
    return _between(start, part, within)


def names_of(part: CompiledPart) -> tuple[str, ...]:
    """The attributes of a part."""
    return part.hashed if part.attribute is None else (part.attribute,)


def _next(part: CompiledPart | None) -> str:
    return (
        "a range of nothing: the key is complete" if part is None else f"one value of {', '.join(names_of(part))} first"
    )


def _written(part: CompiledPart, row: Row) -> bytes:
    return part.write([row[name] for name in part.hashed] if part.attribute is None else row[part.attribute])


def _beginning(start: bytes, part: CompiledPart, within: Within) -> Span:
    if not part.prefixed:
        raise InvalidInput("values that begin alike do not lie together here", where=within.attribute)
    begin = start + part.begin(within.begins)
    return Span(begin, after(begin))


def _between(start: bytes, part: CompiledPart, within: Within) -> Span:
    """First and last by their bytes are the high and the low one where the part is `desc`."""
    first, last = (within.low, within.low_open), (within.high, within.high_open)
    if part.desc:
        first, last = last, first
    begin: bytes | None = start
    if first[0] is not None:
        begin = start + part.write(first[0])
        begin = _behind(begin, part) if first[1] else begin
    end = after(start)
    if last[0] is not None:
        end = start + part.write(last[0])
        end = end if last[1] else _behind(end, part)
    return _NOTHING if begin is None or (end is not None and begin >= end) else Span(begin, end)


def _behind(key: bytes, part: CompiledPart) -> bytes | None:
    """The first key that no longer holds the value with which `key` ends."""
    return after(key) if part.bounded else key + b"\0"
