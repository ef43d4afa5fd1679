"""Long lists in pages: `?limit=…&after=…`, and in the answer what to pass as `after` for the next page."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Annotated, Generic, TypeVar

import msgspec
from msgspec import Meta

T = TypeVar("T")

Limit = Annotated[int, Meta(ge=1, le=1000, description="Most items in the answer.")]
After = Annotated[str, Meta(max_length=256, description="The `next` of the page before; empty: from the start.")]


class Page(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which part of a list is asked for."""

    limit: Limit = 100
    after: After = ""


class Listed(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """One page; `next` is null on the last one."""

    items: list[T]
    next: str | None = None


def page(items: Iterable[T], key: Callable[[T], str], asked: Page) -> Listed[T]:
    """The asked page of `items`, ordered by `key`, which must be unique.

    The place in the list is a key, not a position: what is added or removed meanwhile shifts nothing.
    """
    ordered = sorted(items, key=key)
    found = list(islice((item for item in ordered if not asked.after or key(item) > asked.after), asked.limit + 1))
    more = len(found) > asked.limit
    kept = found[: asked.limit]
    return Listed(items=kept, next=key(kept[-1]) if more else None)
