"""Where the rows of a relation are kept at one time: what is written, what is read."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from kaname.errors import InvalidInput
from kaname.features.history.recording import Recorder
from kaname.features.layout import Layout, StoreName
from kaname.features.records import Record
from kaname.features.types import Relation
from kaname.storage.cells.types import CellStore


class Placement:
    """A relation with its layouts and their stores. Never changed, but replaced by another one as a whole: whoever
    plans or caches by a placement compares `generation` with that of the present one."""

    __slots__ = (
        "generation",
        "home",
        "layouts",
        "origin",
        "recorder",
        "relation",
        "statements",
        "stores",
        "whole",
        "written",
    )

    def __init__(
        self,
        relation: Relation,
        layouts: Sequence[Layout],
        stores: Mapping[StoreName, CellStore],
        *,
        generation: int,
        filling: Sequence[Layout] = (),
        home: StoreName | None = None,
        origin: int = 0,
    ) -> None:
        """`layouts`: at least one; with `filling` they are written, their stores in `stores`. `home`: that of the
        history; None: that of the first layout. `origin`: see `Record`."""
        self.origin = origin
        self.relation = relation
        self.layouts = tuple(layouts)
        """Those that hold every row, and may be read."""
        self.written = (*self.layouts, *filling)
        """Those that every write goes to, in this order."""
        self.stores = dict(stores)
        self.recorder = None if relation.history is None else Recorder(relation, relation.history)
        """What keeps every write, in the store `home`; None: the relation has no history."""
        self.home = home or self.layouts[0].store
        self.generation = generation
        """Another one than that of any placement before, of this relation and of others, in this process."""
        self.statements: dict[str, object] = {}
        """What `sql.prepared` keeps of statements, by their texts."""
        self.whole = self.holding(relation.names)
        """The layouts to read for whole rows."""

    def holding(self, attributes: Collection[str]) -> list[Layout]:
        """The first layout that holds them all, or the first ones that do together. Raises InvalidInput for others."""
        for name in attributes:
            if name not in self.relation.names:
                expected = f"one of {', '.join(self.relation.names)}"
                raise InvalidInput(f"no such attribute of `{self.relation.name}`", where=name, expected=expected)
        missing, chosen = set(attributes), list[Layout]()
        for layout in sorted(self.layouts, key=lambda layout: not missing.issubset(layout.attributes)):
            if missing.intersection(layout.attributes) or not chosen:
                chosen.append(layout)
                missing.difference_update(layout.attributes)
            if not missing:
                break
        return chosen

    def define(self) -> None:
        """Make the tables and families that are not there; those that are stay as they are."""
        for layout in self.written:
            wanted, store = layout.definition(), self.stores[layout.store]
            there = next((table.families for table in store.tables() if table.name == wanted.name), None)
            if there is None or not there.keys() >= wanted.families.keys():
                store.define(wanted)
        if self.recorder is not None:
            self.recorder.define(self.stores[self.home])


def placed(record: Record, store_of: Callable[[StoreName], CellStore], generation: int) -> Placement:
    """The placement that a record describes, its tables made. Raises what the stores raise."""
    from kaname.features.schemas import schemas_in  # with the parser of the language

    layouts = schemas_in(record.text()).layouts[record.relation.name]
    pairs = list(zip(record.layouts, layouts, strict=True))
    for kept, layout in pairs:
        layout.later = frozenset(kept.later)
    placement = Placement(
        record.relation,
        [layout for kept, layout in pairs if kept.role == "kept"],
        {store: store_of(store) for store in record.stores},
        generation=generation,
        filling=[layout for kept, layout in pairs if kept.role != "kept"],
        home=record.home,
        origin=record.origin,
    )
    placement.define()
    return placement
