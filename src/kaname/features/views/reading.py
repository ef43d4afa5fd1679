"""A view with its stores: reads the values of entities."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, overload

from kaname.clock import Clock
from kaname.features.stored import StoredRelation
from kaname.features.types import Row
from kaname.features.views.guard import Guards
from kaname.features.views.plan import Found, FoundRows, Origin, Plan, Used
from kaname.features.views.types import View

STORE: Origin = "store"


class Part:
    """Some columns of a view, with the plan by which they are read now."""

    def __init__(self, stored: StoredView, names: Sequence[str] | None) -> None:
        self._stored = stored
        self._names = names
        self._plan: Plan | None = None
        self._origins: tuple[Origin, ...] = ()

    def plan(self) -> Plan:
        """The plan; another one when a relation or the view has changed. Raises what is wrong with a relation."""
        plan = self._plan
        if plan is None or not plan.holds or plan.view is not self._stored.view:
            plan = self._plan = self._stored.compiled(self._names)
            self._origins = (STORE,) * len(plan.sources)
        return plan

    def find_one(self, plan: Plan, keys: tuple[bytes, ...], now_us: int, *, stamped: bool) -> FoundRows:
        """What the stores have for the keys of one entity; blocks while they answer, raises nothing."""
        rows = []
        for guard, source, key in zip(plan.guards, plan.sources, keys, strict=True):
            rows.append(guard.fetch(source, (key,), now_us, stamped=stamped)[0])
        return tuple(rows)

    def find(self, plan: Plan, keys: Sequence[tuple[bytes, ...]], now_us: int, *, stamped: bool) -> list[Found]:
        """The same of several entities, with where it came from."""
        stamped = stamped or plan.stamped
        if len(keys) == 1:
            return [Found(self.find_one(plan, keys[0], now_us, stamped=stamped), self._origins)]
        by_source = [
            guard.fetch(source, [each[i] for each in keys], now_us, stamped=stamped)
            for i, (guard, source) in enumerate(zip(plan.guards, plan.sources, strict=True))
        ]
        return [Found(rows, self._origins) for rows in zip(*by_source, strict=True)]


class StoredView:
    """Reads a view. Blocks while a store answers, an embedded one for microseconds; thread-safe."""

    def __init__(self, view: View, relation_of: Callable[[str], StoredRelation], guards: Guards, clock: Clock) -> None:
        self._view = view
        self._relation_of = relation_of
        self._guards = guards
        self._time_ns = clock.time_ns
        self._whole = Part(self, None)

    @property
    def view(self) -> View:
        """What it reads."""
        return self._view

    def follow(self, view: View) -> None:
        """From now on read what `view` says."""
        self._view = view

    def prepare(self) -> None:
        """Open what it reads of. Raises what is wrong with a relation or its store."""
        self._whole.plan()

    def compiled(self, names: Sequence[str] | None) -> Plan:
        """The plan of some columns, or of all. Raises as `prepare` does."""
        return Plan(self._view, self._relation_of, self._guards, names)

    def part(self, names: Sequence[str]) -> Part:
        """Reads only these columns, and what they need."""
        return Part(self, names)

    @overload
    def read(self, entities: Mapping[str, Any], /) -> dict[str, Any]: ...
    @overload
    def read(self, entities: Sequence[Row], /) -> list[dict[str, Any]]: ...
    def read(self, entities: Mapping[str, Any] | Sequence[Row], /) -> dict[str, Any] | list[dict[str, Any]]:
        """The columns of the view, as of now, for one entity or for several in their order.

        Raises InvalidInput for keys that are not those of the view. A value without a default raises it, too, when it
        is missing, Unavailable when it is too old, and what a store raises that does not answer.
        """
        if isinstance(entities, Mapping):
            return self._read([entities], stamped=False)[0][0]
        return [row for row, _ in self._read(entities, stamped=False)]

    def explain(self, entity: Mapping[str, Any]) -> dict[str, Used]:
        """The same of one entity, each value with its age and where it came from."""
        now_us = self._time_ns() // 1000
        [(row, found)] = self._read([entity], stamped=True, now_us=now_us)
        return self._whole.plan().explain(row, found, now_us)

    def _read(
        self, entities: Sequence[Row], *, stamped: bool, now_us: int | None = None
    ) -> list[tuple[dict[str, Any], Found]]:
        if now_us is None:
            now_us = self._time_ns() // 1000
        plan = self._whole.plan()
        keys = [plan.keys(entity) for entity in entities]
        found = self._whole.find(plan, keys, now_us, stamped=stamped)
        rows = [plan.settle(each.rows, now_us) for each in found]
        plan.compute(entities, rows, now_us)
        return list(zip(rows, found, strict=True))
