"""A view with its stores: reads the values of entities."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, overload

from kaname.clock import Clock
from kaname.features.stored import StoredRelation
from kaname.features.types import Row
from kaname.features.views.plan import Asked, Origin, Plan, Used
from kaname.features.views.types import View


class StoredView:
    """Reads a view. Blocks while a store answers, an embedded one for microseconds; thread-safe."""

    def __init__(self, view: View, relation_of: Callable[[str], StoredRelation], clock: Clock) -> None:
        self._view = view
        self._relation_of = relation_of
        self._time_ns = clock.time_ns
        self._plan: Plan | None = None

    @property
    def view(self) -> View:
        """What it reads."""
        return self._view

    def follow(self, view: View) -> None:
        """From now on read what `view` says."""
        self._view, self._plan = view, None

    def prepare(self) -> Plan:
        """The plan by which it reads now. Raises what is wrong with a relation or its store."""
        plan = self._plan
        if plan is None or not plan.holds:
            plan = self._plan = Plan(self._view, self._relation_of)
        return plan

    @overload
    def read(self, entities: Mapping[str, Any], /) -> dict[str, Any]: ...
    @overload
    def read(self, entities: Sequence[Row], /) -> list[dict[str, Any]]: ...
    def read(self, entities: Mapping[str, Any] | Sequence[Row], /) -> dict[str, Any] | list[dict[str, Any]]:
        """The columns of the view, as of now, for one entity or for several in their order.

        Raises InvalidInput for keys that are not those of the view and for values that are missing without a default,
        Unavailable for those that are too old, and what a store raises that does not answer.
        """
        now_us = self._time_ns() // 1000
        if isinstance(entities, Mapping):
            plan = self.prepare()
            found = tuple(
                [
                    source.fetch((key,), now_us, stamped=plan.stamped)[0]
                    for source, key in zip(plan.sources, plan.keys(entities), strict=True)
                ]
            )
            row = plan.settle(found, now_us)
            plan.compute((entities,), (row,), now_us)
            return row
        plan = self.prepare()
        return [row for row, _ in _rows(plan, entities, now_us, stamped=plan.stamped)]

    def explain(self, entity: Mapping[str, Any]) -> dict[str, Used]:
        """The same of one entity, each value with its age and where it came from."""
        now_us = self._time_ns() // 1000
        plan = self.prepare()
        [(row, found)] = _rows(plan, [entity], now_us, stamped=True)
        origins: list[Origin] = ["store"] * len(found)
        return plan.explain(row, found, origins, now_us)


def _rows(plan: Plan, entities: Sequence[Row], now_us: int, *, stamped: bool) -> list[tuple[dict[str, Any], Asked]]:
    keys = [plan.keys(entity) for entity in entities]
    by_source = [
        source.fetch([each[i] for each in keys], now_us, stamped=stamped) for i, source in enumerate(plan.sources)
    ]
    found: list[Asked] = list(zip(*by_source, strict=True))
    rows = [plan.settle(each, now_us) for each in found]
    plan.compute(entities, rows, now_us)
    return list(zip(rows, found, strict=True))
