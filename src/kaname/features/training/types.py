"""What the making of a training set talks about."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias, TypedDict

import msgspec

from kaname.features.views.types import Read

PURPOSE = "training sets"
TIME = "time"
"""The column of a label's moment, unless another one is named."""
MEMORY_MB = 1024
"""What the join may take in memory, unless it is told otherwise; what is more goes to disk."""

Progress: TypeAlias = Callable[[str, int, int | None], None]
"""What is being done, how many rows are done, of how many (None: not known)."""


class How(TypedDict, total=False):
    """What may be said about the making of a training set."""

    time: str
    memory_mb: int
    progress: Progress


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """The history of a relation as a file that the join reads: columns `known`, `gone`, and by the number of an
    attribute `a0` (its value), `s0` (whether this write set it)."""

    path: str
    key: tuple[int, ...]
    """Numbers of the attributes of the key."""
    attributes: tuple[int, ...]
    """Of the others that are in the file."""
    updates: bool
    """Some writes set some attributes only."""
    deletes: bool


class Joined(msgspec.Struct, frozen=True, kw_only=True):
    """One read of a view with where its history is."""

    read: Read
    history: Exported
    keys: dict[int, int]
    """Numbers of key attributes of the relation, and of the entity key that each is compared with."""
    latest: int | None
    """Number of the time of which the newest is read."""
    features: tuple[int, ...]
    """Number of the attribute of each feature of the read."""


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """A training set that was made."""

    view: str
    rows: int
    output: str
    seconds: float
    defaults: dict[str, float]
    """The share of rows in which a feature has its default."""
