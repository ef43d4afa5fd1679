"""Views: what a model reads of the relations. What the other modules talk about.

The values of a view are what it reads, each replaced by its default where it is missing or too old, and behind them the
derived columns. Serving and training sets make them with the same functions of this folder: what differs is only where
the rows come from (the newest ones, or those that were known at the moment of a label).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import msgspec
import numpy as np

from kaname.features.types import Type
from kaname.tensors import Tensor

Column: TypeAlias = Tensor
"""One value per row, as `columns.column_of` makes it."""
Columns: TypeAlias = Mapping[str, Column]
Kind: TypeAlias = Literal["number", "bool", "text", "time", "vector", "other"]
"""What can be computed with a column."""
NOW = "now"
"""The name under which derived columns find the moment for which they are computed."""


class Feature(msgspec.Struct, frozen=True, kw_only=True):
    """One attribute of a relation, under the name that the view gives it."""

    name: str
    attribute: str
    type: Type
    max_age_us: int | None = None
    """Older values are as good as missing; None: none is too old."""
    default: Any = msgspec.UNSET
    """Stands for what is missing (no row, or null) or too old; UNSET: that is an error."""


class Read(msgspec.Struct, frozen=True, kw_only=True):
    """Attributes of one relation, of the row that a key finds.

    The age of a value: the time since it was written; of the newest row: since the time in its key.
    """

    relation: str
    key: dict[str, str]
    """Key attributes of the relation, and the entity key that each takes its value from."""
    latest: str | None = None
    """The last attribute of the key, a time: of the rows that the others find, the one with the greatest time that is
    not after the moment. None: the key is complete."""
    features: tuple[Feature, ...]


class Derived(msgspec.Struct, frozen=True, kw_only=True):
    """A column computed from others: the same code wherever it is computed."""

    name: str
    type: Type
    inputs: tuple[str, ...]
    """Features, entity keys, earlier derived columns, `now`."""
    says: str
    """The expression, or `file.py:function`, for people."""
    compute: Callable[[Columns], Column]
    """A column as long as those of the inputs, which it does not change. Raises ModelFailed."""
    load: Callable[[], object] = lambda: None
    """Load what computes it, which `compute` does where nobody has; may take long. Raises a KanameError."""


class View(msgspec.Struct, frozen=True, kw_only=True):
    """What a model reads."""

    name: str
    entity: dict[str, Type]
    """The keys that say of whom values are wanted."""
    reads: tuple[Read, ...]
    derived: tuple[Derived, ...] = ()
    """In an order in which each can be computed."""

    @property
    def features(self) -> tuple[Feature, ...]:
        """All that it reads, in the order of the file."""
        return tuple(feature for read in self.reads for feature in read.features)

    @property
    def types(self) -> dict[str, Type]:
        """Its columns and their types: what it reads, then what is derived from that."""
        read = {feature.name: feature.type for feature in self.features}
        return read | {column.name: column.type for column in self.derived}


def moments(at_us: Sequence[int]) -> Column:
    """Moments (µs since 1970) as the column `now`."""
    return np.array(at_us, dtype="int64").view("datetime64[us]")
