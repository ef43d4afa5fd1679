"""What becomes of the values that were read: defaults, then the derived columns. One code, online and offline."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec

from kaname.errors import KanameError, ModelFailed
from kaname.features.views.types import Column, Columns, Derived, Feature, View

MISSING: Any = msgspec.UNSET
"""What `settled` gives for a feature that has no value and no default."""


def settled(feature: Feature, value: object, age_us: int | None) -> tuple[object, bool]:
    """The value of a feature, and whether it is the default. `age_us`: None where no row was found.

    The default stands for null and for what is older than the feature's `max_age_us`; without one it is `MISSING`.
    """
    if value is None or age_us is None or (feature.max_age_us is not None and age_us > feature.max_age_us):
        return feature.default, True
    return value, False


def needed(view: View, wanted: Collection[str]) -> tuple[tuple[Feature, ...], tuple[Derived, ...]]:
    """The features and the derived columns, in order, without which some columns in `wanted` could not be had."""
    names = set(wanted)
    columns: list[Derived] = []
    for column in reversed(view.derived):
        if column.name in names:
            names.update(column.inputs)
            columns.insert(0, column)
    return tuple(feature for feature in view.features if feature.name in names), tuple(columns)


def derive(derived: Collection[Derived], columns: Columns) -> dict[str, Column]:
    """The derived columns of `needed` or of a view, in their order, given all others that they need (`now`, too).

    Raises ModelFailed with the name of the column.
    """
    known: dict[str, Column] = {**columns}
    found: dict[str, Column] = {}
    for column in derived:
        try:
            found[column.name] = known[column.name] = column.compute(known)
        except KanameError:
            raise
        except Exception as error:
            raise ModelFailed(f"{column.says}: {type(error).__name__}: {error}", where=column.name) from error
    return found
