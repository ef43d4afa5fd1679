"""A view with its stores: reads the values of entities."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any, overload

from kaname.clock import Clock
from kaname.features.stored import StoredRelation
from kaname.features.types import Row
from kaname.features.views.guard import Told
from kaname.features.views.guarded import Guards
from kaname.features.views.plan import Found, FoundRows, Keys, Plan, Used
from kaname.features.views.types import View


class Part:
    """Some columns of a view, with the plan by which they are read now."""

    def __init__(self, stored: StoredView, names: Sequence[str] | None) -> None:
        self._stored = stored
        self._names = names
        self._plan: Plan | None = None

    def plan(self) -> Plan:
        """The plan; another one when a relation or the view has changed. Raises what is wrong with a relation."""
        plan = self._plan
        if plan is None or not plan.holds or plan.view is not self._stored.view:
            plan = self._plan = self._stored.compiled(self._names)
        return plan


def find_one(plan: Plan, keys: Keys, now_us: int) -> FoundRows:
    """What the stores have for the keys of one entity. Blocks unless all are at hand; raises nothing."""
    rows = []
    for guarded, key in zip(plan.guarded, keys, strict=True):
        rows.append(guarded.fetch_one(key, now_us, stamped=plan.stamped))
    return tuple(rows)


def find(plan: Plan, keys: Sequence[Keys], now_us: int, *, stamped: bool) -> list[Found]:
    """The same of several entities; `stamped`: with times, and with where it came from."""
    if len(keys) == 1 and not stamped:
        return [Found(find_one(plan, keys[0], now_us), ())]
    by_source = [
        guarded.tell([each[i] for each in keys], now_us, stamped=stamped or plan.stamped)
        for i, guarded in enumerate(plan.guarded)
    ]
    return _by_entity(by_source, len(keys))


def ask(
    plan: Plan, keys: Sequence[Keys], now_us: int, timeout_s: float, then: Callable[[list[Found]], None]
) -> list[Found] | None:
    """The same on a loop: at once, or None and told to `then` later, after `timeout_s` at the latest."""
    asked = _Asked(len(plan.guarded), len(keys), then)
    for i, guarded in enumerate(plan.guarded):
        found = guarded.ask([each[i] for each in keys], now_us, timeout_s, partial(asked.answer, i))
        if found is not None:
            asked.by_source[i] = found
    return asked.begin()


class _Asked:
    """Sources that were asked together."""

    def __init__(self, sources: int, entities: int, then: Callable[[list[Found]], None]) -> None:
        self.by_source: list[list[Told] | None] = [None] * sources
        self._entities = entities
        self._then = then
        self._begun = False

    def answer(self, at: int, told: list[Told]) -> None:
        self.by_source[at] = told
        if self._begun:
            found = self._whole()
            if found is not None:
                self._then(found)

    def begin(self) -> list[Found] | None:
        """What is known when all have been asked; None: others will answer."""
        self._begun = True
        return self._whole()

    def _whole(self) -> list[Found] | None:
        known = [each for each in self.by_source if each is not None]
        return _by_entity(known, self._entities) if len(known) == len(self.by_source) else None


def _by_entity(by_source: Sequence[Sequence[Told]], entities: int) -> list[Found]:
    if not by_source:
        return [Found((), ())] * entities
    return [
        Found(tuple(row for row, _ in told), tuple(origin for _, origin in told))
        for told in zip(*by_source, strict=True)
    ]


def _load(view: View) -> None:
    for column in view.derived:
        column.load()


class StoredView:
    """Reads a view. Blocks while a store answers, an embedded one for microseconds; thread-safe."""

    def __init__(self, view: View, relation_of: Callable[[str], StoredRelation], guards: Guards, clock: Clock) -> None:
        self._view = view
        self._relation_of = cache(relation_of)  # the same object each time; to open it may wait for a store
        self._guards = guards
        self._time_ns = clock.time_ns
        self._whole = Part(self, None)

    @property
    def view(self) -> View:
        """What it reads."""
        return self._view

    def follow(self, view: View) -> None:
        """From now on read what `view` says. Raises what is wrong with its code."""
        _load(view)
        self._view = view

    def prepare(self) -> None:
        """Open what it reads of, and load its code. Raises what is wrong with that, a relation or its store."""
        _load(self._view)
        self._whole.plan()

    def plan(self) -> Plan:
        """The plan by which all columns are read now. Raises as `prepare` does."""
        return self._whole.plan()

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
        if type(entities) is dict or isinstance(entities, Mapping):  # the second is dear
            plan, now_us = self._whole.plan(), self._time_ns() // 1000
            row = plan.settle(find_one(plan, plan.keys(entities), now_us), now_us)
            plan.compute((entities,), (row,), now_us)
            return row
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
        found = find(plan, keys, now_us, stamped=stamped)
        return list(zip(plan.rows(entities, found, now_us), found, strict=True))
