"""The caches of a process, and who tells them what was written."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from typing import Any

from blake3 import blake3

from kaname.errors import KanameError
from kaname.features.layout import Layout, StoreName
from kaname.features.views.guard import FoundRow, Guard, Told
from kaname.features.views.kept import LocalRows, SharedRows, name_in_l2
from kaname.features.views.sources import Fetched, Source
from kaname.features.views.stamps import Place, Stamps, number_of, place_of
from kaname.features.views.types import Feature, Read
from kaname.storage.cells.types import Mutation, Row


class Keeping:
    """The kept rows of one layout, found by whole keys or as the newest of those that begin alike."""

    def __init__(self, whole: Source, guard: Guard, caches: Caches, number: int) -> None:
        """`whole` reads all attributes of the layout."""
        self.whole = whole
        self.at_once = whole.read_of.latest is None
        """Whether a row costs a store no more than one of many: the newest of some is a scan."""
        self.guard = guard
        self._local, self._shared, self._stamps = caches.local, caches.shared, caches.stamps
        self._number = number
        self._table = number_of(str(whole.layout.store), whole.layout.table)
        self._name = fingerprint(whole.layout, newest=whole.read_of.latest is not None)

    def look(self, key: bytes) -> Told | None:
        """What L1 has that is still good."""
        kept = self._local.find((self._number, key), self._stamps.at(place_of(self._table, key)))
        return Told(kept.row, "cache") if kept is not None and kept.fresh else None

    def instead(self, key: bytes, error: KanameError) -> Told:
        """What L1 has, good or not; else why there is nothing."""
        kept = self._local.find((self._number, key), 0)
        return Told(error, "store") if kept is None else Told(kept.row, "stale")

    def load(self, keys: Sequence[bytes], now_us: int) -> list[Told]:
        """What L2 has, else the store, else what L1 has. Blocks; raises nothing."""
        stamps = [self._stamps.at(place_of(self._table, key)) for key in keys]
        found = self._find_shared(keys)
        missing = [i for i, told in enumerate(found) if told is None]
        if missing:
            self._load(keys, missing, found, now_us)
        told = [each for each in found if each is not None]
        for key, one, stamp in zip(keys, told, stamps, strict=True):
            if one.origin != "stale" and not isinstance(one.row, KanameError):
                size = self.whole.size(one.row) if one.row else 0
                self._local.keep((self._number, key), one.row, size, stamp)
        return told

    def _find_shared(self, keys: Sequence[bytes]) -> list[Told | None]:
        if self._shared is None:
            return [None] * len(keys)
        rows = self._shared.find([name_in_l2(self._name, key) for key in keys])
        return [None if row is None else Told(self._decoded(row[0]), "shared") for row in rows]

    def _load(self, keys: Sequence[bytes], missing: Sequence[int], found: list[Told | None], now_us: int) -> None:
        some = [keys[i] for i in missing]
        rows = self.guard.exchange(lambda: self.whole.read(some, now_us))
        for at, i in enumerate(missing):
            if isinstance(rows, KanameError):
                found[i] = self.instead(keys[i], rows)
            else:
                found[i] = Told(self._decoded(rows[at]), "store")
        if self._shared is not None and not isinstance(rows, KanameError):
            names = [name_in_l2(self._name, key) for key in some]
            self._shared.keep(list(zip(names, rows, strict=True)))

    def _decoded(self, row: Row | None) -> FoundRow:
        try:
            return None if row is None else self.whole.decode(row, stamped=True)
        except KanameError as error:
            return error


class Caches:
    """L1, L2 and the stamps of a process; which layouts are kept there. Thread-safe."""

    def __init__(self, local: LocalRows, shared: SharedRows | None, stamps: Stamps) -> None:
        self.local = local
        self.shared = shared
        self.stamps = stamps
        self._lock = threading.Lock()
        self._keepings: dict[tuple[Layout, str | None], Keeping] = {}
        self._tables: dict[tuple[StoreName, str], Layout] = {}
        self._closing = threading.Event()
        self._hearing: threading.Thread | None = None
        if shared is not None:
            self._hearing = threading.Thread(target=self._hear, args=[shared], name="features hear", daemon=True)
            self._hearing.start()

    def keeping(self, source: Source, guard: Guard) -> Keeping:
        """Where the rows of a source are kept: the same for all sources that find rows of its layout like it."""
        layout, latest = source.layout, source.read_of.latest
        with self._lock:
            if (layout, latest) not in self._keepings:
                whole = whole_of(layout, source)
                self._keepings[layout, latest] = Keeping(whole, guard, self, len(self._keepings))
            return self._keepings[layout, latest]

    def watch(self, layout: Layout) -> None:
        """From now on writes of this layout's rows are told to all who keep them."""
        self._tables[layout.store, layout.table] = layout

    def written(self, store: StoreName, mutations: Sequence[Mutation]) -> None:
        """Rows of a store were written, or may have been: whoever keeps them forgets them."""
        names: list[str] = []
        places: list[Place] = []
        for table, key in {(each.table, each.row) for each in mutations}:
            layout = self._tables.get((store, table))
            if layout is None:
                continue
            number = number_of(str(store), table)
            places.append(place_of(number, key))
            names.append(name_in_l2(fingerprint(layout, newest=False), key))
            for begin in _beginnings(layout, key):
                places.append(place_of(number, begin))
                names.append(name_in_l2(fingerprint(layout, newest=True), begin))
        self._renew(places)
        if self.shared is not None and names:
            self.shared.forget(names, places)

    def _renew(self, places: Sequence[Place] | None) -> None:
        if places is None:
            self.stamps.renew_all()
        for place in places or ():
            self.stamps.renew(place)

    def _hear(self, shared: SharedRows) -> None:
        shared.hear(self._renew, self._closing.is_set)

    def close(self) -> None:
        """Let go of what was opened."""
        self._closing.set()
        if self._hearing is not None:
            self._hearing.join()
        self.stamps.close()
        if self.shared is not None:
            self.shared.close()


def whole_of(layout: Layout, like: Source) -> Source:
    """The source of all attributes of a layout that finds rows like another."""
    read = like.read_of
    key = {name: name for name in read.key}
    keys = {attribute.name for attribute in layout.relation.key} - {read.latest}
    features = tuple(
        Feature(name=attribute.name, attribute=attribute.name, type=attribute.type)
        for attribute in layout.relation.attributes
        if attribute.name in layout.attributes and attribute.name not in keys
    )
    return Source(
        Read(relation=read.relation, key=key, latest=read.latest, features=features), features, layout, like.store
    )


def picker(source: Source, whole: Source) -> Callable[[Fetched], Fetched]:
    """From a row with all attributes to one with those of a source."""
    at = [whole.names.index(feature.attribute) for feature in source.features]
    pick: Any = itemgetter(*at)
    if len(at) == 1:
        return lambda row: Fetched((pick(row.values),), (pick(row.stamps),))
    return lambda row: Fetched(pick(row.values), pick(row.stamps))


def fingerprint(layout: Layout, *, newest: bool) -> str:
    """A name of a layout that another one has if its rows mean something else."""
    said = [str(layout.store), layout.table, layout.name, *(f"{a.name} {a.type}" for a in layout.relation.attributes)]
    return blake3("\n".join([*said, str(newest)]).encode()).hexdigest(8)


def _beginnings(layout: Layout, key: bytes) -> Iterator[bytes]:
    """What this row and others begin with, by which the newest of them may be kept: all in front of a time."""
    times = {attribute.name for attribute in layout.relation.key if attribute.type.name == "timestamp"}
    at = 0
    for part in layout.row if times else ():
        if part.attribute in times:
            yield key[:at]
        _, at = part.take(key, at)
