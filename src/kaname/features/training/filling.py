"""From what the join found to the columns of a view: ages, defaults, derived columns, by the code that serves them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kaname.arrow import Array, RecordBatch
from kaname.errors import InvalidInput
from kaname.features.columnar import arrow_array
from kaname.features.training.storing import revived
from kaname.features.types import Attribute
from kaname.features.views.columns import column_of, values_of
from kaname.features.views.deriving import MISSING, derive, settled
from kaname.features.views.types import NOW, Column, Feature, View, moments


class Filling:
    """The columns of one view for batch after batch."""

    def __init__(self, view: View, place: Callable[[int], str]) -> None:
        """`place`: where the label with a number stands."""
        self._view = view
        self._place = place
        self._inputs = {name for column in view.derived for name in column.inputs}
        self.defaults = dict.fromkeys((feature.name for feature in view.features), 0)
        """How often each feature had its default so far."""

    def columns(self, found: RecordBatch, entity: Mapping[str, Sequence[Any]], first: int) -> list[Array]:
        """Features, then derived columns, of the labels from number `first` on; `entity`: their keys.

        Raises InvalidInput with the place of a label for which a feature without default is missing, and ModelFailed.
        """
        times: list[int] = found.column("t").to_pylist()
        known: dict[str, Column] = {}
        columns: list[Array] = []
        for number, read in enumerate(self._view.reads):
            for i, feature in enumerate(read.features):
                values = revived(found.column(f"r{number}v{i}"), Attribute(feature.attribute, feature.type))
                stamps: list[int | None] = found.column(f"r{number}t{i}").to_pylist()
                values = self._settled(feature, values, stamps, times, first)
                columns.append(arrow_array(values, feature.type))
                if feature.name in self._inputs:
                    known[feature.name] = column_of(values, feature.type)
        for name, of in self._view.entity.items():
            if name in self._inputs:
                known[name] = column_of(entity[name], of)
        derived = derive(self._view.derived, {**known, NOW: moments(times)})
        return columns + [arrow_array(values_of(derived[each.name]), each.type) for each in self._view.derived]

    def _settled(
        self, feature: Feature, values: Sequence[Any], stamps: Sequence[int | None], times: Sequence[int], first: int
    ) -> list[Any]:
        out: list[Any] = []
        for i, (value, stamp, time) in enumerate(zip(values, stamps, times, strict=True)):
            found, is_default = settled(feature, value, None if stamp is None else time - stamp)
            if is_default:
                self.defaults[feature.name] += 1
                if found is MISSING:
                    raise InvalidInput(
                        f"`{feature.name}` was not known, or too old, and has no default",
                        where=self._place(first + i),
                        expected=f"a default for it in view `{self._view.name}`",
                    )
            out.append(found)
        return out
