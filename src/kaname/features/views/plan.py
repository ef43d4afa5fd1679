"""What must be done to read a view, compiled once: sources to ask, defaults, derived columns to compute."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from typing import Any, NamedTuple, TypeAlias

import msgspec

from kaname.errors import InvalidInput, KanameError, Unavailable
from kaname.features.placement import Placement
from kaname.features.stored import StoredRelation
from kaname.features.types import Row, Type
from kaname.features.views.checking import ordered
from kaname.features.views.columns import column_of, values_of
from kaname.features.views.deriving import MISSING, derive, needed, settled
from kaname.features.views.guard import FoundRow, Origin
from kaname.features.views.guarded import Guards
from kaname.features.views.sources import Fetched, Source
from kaname.features.views.types import NOW, Column, Feature, Read, View, moments

Keys: TypeAlias = tuple[bytes, ...]
"""The keys of one entity, by source."""
FoundRows: TypeAlias = tuple[FoundRow, ...]


class Found(NamedTuple):
    """What was found for one entity, by source: a row, None where there is none, an error where nobody answers."""

    rows: FoundRows
    origins: tuple[Origin, ...]


Pick: TypeAlias = Callable[[FoundRows], Sequence[Any] | None]
"""The values of a row; None: they must be had by `settle`."""


class Used(msgspec.Struct, frozen=True, kw_only=True):
    """One value of a view, for people."""

    value: Any
    origin: Origin
    age_s: float | None = None
    """Since it was true; None: it has no time."""


class Plan:
    """Some columns of a view, and what they need. Its functions are pure; `sources` read."""

    def __init__(
        self,
        view: View,
        relation_of: Callable[[str], StoredRelation],
        guards: Guards,
        wanted: Sequence[str] | None = None,
    ) -> None:
        """`wanted`: columns of the view (None: all). Raises what `relation_of` raises, InvalidInput."""
        names = tuple(view.types) if wanted is None else tuple(name for name in view.types if name in wanted)
        features, self.derived = needed(view, names)
        self.view = view
        self.names = names
        relations = {read.relation: relation_of(read.relation) for read in view.reads}
        self._placed = [(relation, relation.placement) for relation in relations.values()]
        placements = {placement.relation.name: placement for _, placement in self._placed}
        self.sources = tuple(
            source for read in view.reads for source in _sources(read, features, placements[read.relation])
        )
        self.guarded = tuple(guards.of(source) for source in self.sources)
        self.direct = all(each.direct for each in self.guarded)
        """Whether all stores are at hand."""
        self._entity = view.entity.keys()
        self._hidden = tuple(name for source in self.sources for name in source.names if name not in names)
        inputs = dict.fromkeys(name for column in self.derived for name in column.inputs)
        types: dict[str, Type] = {**view.entity, **{feature.name: feature.type for feature in features}}
        self._inputs = {name: types[name] for name in inputs if name in types}
        self._timed = NOW in inputs
        self.stamped = any(source.aged for source in self.sources)
        """Whether times must be read with the values."""
        self._simple = [not source.aged for source in self.sources]

    @property
    def holds(self) -> bool:
        """Whether all relations are still where they were when it was compiled."""
        for relation, placement in self._placed:  # noqa: SIM110  (a generator costs as much as a look-up)
            if relation.placement is not placement:
                return False
        return True

    def keys(self, entity: Row) -> Keys:
        """The key of an entity for each source. Raises InvalidInput with `entity.NAME` as `where`."""
        if entity.keys() != self._entity:
            self._refuse(entity)
        return tuple([source.key(entity) for source in self.sources])

    def settle(self, found: FoundRows, now_us: int, given: Row | None = None) -> dict[str, Any]:
        """The values read for one entity, those in `given` in their place.

        For one without a default it raises InvalidInput when it is missing, Unavailable when it is too old, and the
        error of a store that does not answer.
        """
        values: dict[str, Any] = {}
        for source, fetched, simple in zip(self.sources, found, self._simple, strict=True):
            if simple and type(fetched) is Fetched and None not in fetched.values:
                values.update(zip(source.names, fetched.values, strict=True))
            else:
                for feature, found_value, age_us in _aged(source, fetched, now_us):
                    value, _ = settled(feature, found_value, age_us)
                    if value is MISSING and (given is None or feature.name not in given):
                        if isinstance(fetched, KanameError):
                            raise fetched
                        raise _missing(source, feature, found_value, age_us)
                    values[feature.name] = value
        if given is not None:
            values.update({name: value for name, value in given.items() if name in values})
        return values

    def picker(self, names: Sequence[str]) -> Pick:
        """A short way to the values of some columns, in this order, where nothing is missing, old or derived."""
        held = [name for source in self.sources for name in source.names]
        if self.derived or not all(self._simple) or not names or not set(names).issubset(held):
            return _nothing
        pick: Any = itemgetter(*[held.index(name) for name in names])

        def picked(found: FoundRows) -> Sequence[Any] | None:
            values: tuple[Any, ...] = ()
            for fetched in found:
                if type(fetched) is not Fetched:
                    return None
                values += fetched.values
            if None in values:
                return None
            return pick(values) if len(names) > 1 else (pick(values),)

        return picked

    def compute(
        self, entities: Sequence[Row], rows: Sequence[dict[str, Any]], now_us: int, given: Sequence[Row] | None = None
    ) -> None:
        """Add the derived columns to rows that `settle` made, and take out what was only needed for these.

        Columns in `given` are not those computed. Raises ModelFailed.
        """
        if self.derived:
            columns = derive(self.derived, self._columns(entities, rows, now_us))
            for name, column in columns.items():
                for i, value in enumerate(values_of(column)):
                    rows[i][name] = given[i][name] if given is not None and name in given[i] else value
        for name in self._hidden:
            for row in rows:
                row.pop(name, None)

    def rows(self, entities: Sequence[Row], found: Sequence[Found], now_us: int) -> list[dict[str, Any]]:
        """The finished rows of entities. Raises what `settle` and `compute` raise."""
        rows = [self.settle(each.rows, now_us) for each in found]
        self.compute(entities, rows, now_us)
        return rows

    def explain(
        self,
        row: Row,
        found: Found,
        now_us: int,
        given: Row | None = None,
    ) -> dict[str, Used]:
        """Where each value of a finished row came from."""
        used: dict[str, Used] = {}
        for source, fetched, origin in zip(self.sources, *found, strict=True):
            for feature, value, age_us in _aged(source, fetched, now_us):
                default = settled(feature, value, age_us)[1]
                age_s = None if default or age_us is None else age_us / 1e6
                used[feature.name] = Used(value=None, origin="default" if default else origin, age_s=age_s)
        used |= {column.name: Used(value=None, origin="derived") for column in self.derived}
        for name in given or ():
            used[name] = Used(value=None, origin="request")
        return {name: msgspec.structs.replace(used[name], value=row[name]) for name in self.names}

    def _columns(self, entities: Sequence[Row], rows: Sequence[Row], now_us: int) -> dict[str, Column]:
        columns: dict[str, Column] = {}
        for name, of in self._inputs.items():
            whose = entities if name in self._entity else rows
            columns[name] = column_of([row[name] for row in whose], of)
        if self._timed:
            columns[NOW] = moments([now_us] * len(rows))
        return columns

    def _refuse(self, entity: Row) -> None:
        for name in entity:
            if name not in self._entity:
                expected = f"one of {', '.join(self._entity)}"
                raise InvalidInput("not an entity key of this view", where=f"entity.{name}", expected=expected)
        missing = next(name for name in self._entity if name not in entity)
        expected = str(self.view.entity[missing])
        raise InvalidInput("an entity key is missing", where=f"entity.{missing}", expected=expected)


def _sources(read: Read, needed: Sequence[Feature], placement: Placement) -> Iterator[Source]:
    """The layouts to ask for one read: one, unless none holds all."""
    features = [feature for feature in read.features if feature in needed]
    if not features:
        return
    if read.latest is not None:
        layout = ordered(placement.layouts, read)
        if layout is None:
            raise InvalidInput("no schema keeps the rows of one entity in the order of time", where=read.relation)
        yield Source(read, features, layout, placement.stores[layout.store])
        return
    for layout in placement.holding([feature.attribute for feature in features]):
        held = [feature for feature in features if feature.attribute in layout.attributes]
        features = [feature for feature in features if feature not in held]
        if held:
            yield Source(read, held, layout, placement.stores[layout.store])


def _aged(
    source: Source, fetched: Fetched | KanameError | None, now_us: int
) -> Iterator[tuple[Feature, Any, int | None]]:
    """The features of a source with their values and ages (None: there is no row, or nobody asked for its time)."""
    if fetched is None or isinstance(fetched, KanameError):
        yield from ((feature, None, None) for feature in source.features)
        return
    stamps: Sequence[int] = fetched.stamps or (now_us,) * len(fetched.values)
    for feature, value, stamp in zip(source.features, fetched.values, stamps, strict=True):
        yield feature, value, max(0, now_us - stamp)


def _nothing(_: FoundRows) -> None:
    return None


def _missing(source: Source, feature: Feature, value: object, age_us: int | None) -> KanameError:
    relation, where = source.read_of.relation, f"features.{feature.name}"
    if age_us is None:
        return InvalidInput(f"no row of `{relation}` for this entity", where=where, expected="a row, or a default")
    if value is None or feature.max_age_us is None:
        return InvalidInput(f"null in `{relation}`", where=where, expected="a value, or a default")
    return Unavailable(
        f"too old in `{relation}`",
        where=where,
        found=f"{age_us / 1e6:.0f} s",
        expected=f"at most {feature.max_age_us / 1e6:.0f} s, or a default",
    )
