"""Ranges of row keys that share no row."""

from __future__ import annotations

from collections.abc import Iterable

from kaname.features.ranges import Span


def apart(spans: Iterable[Span]) -> tuple[Span, ...]:
    """The same rows in order; ranges that overlap (a short hash may be that of several values) become one."""
    found: list[Span] = []
    for span in sorted(spans, key=lambda span: span.start):
        last = found[-1] if found else None
        if last is not None and (last.stop is None or span.start < last.stop):
            stop = None if last.stop is None or span.stop is None else max(last.stop, span.stop)
            found[-1] = Span(last.start, stop)
        else:
            found.append(span)
    return tuple(found)
