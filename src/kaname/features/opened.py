"""The relations of a project with their stores, each opened when it is first used, and kept as files and stores say."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import msgspec
import structlog

from kaname.clock import Clock
from kaname.errors import InvalidInput, KanameError
from kaname.features.following import Follower, Marks
from kaname.features.layout import StoreName
from kaname.features.placement import Placement, placed
from kaname.features.records import Record, Records
from kaname.features.refusing import check_named
from kaname.features.stored import StoredRelation
from kaname.features.there import RowsThere
from kaname.features.turns import Locks, Note, alone
from kaname.storage.cells.types import CellStore
from kaname.telemetry.logs import Throttle

if TYPE_CHECKING:
    from kaname.features.bulk.loading import Columns
    from kaname.features.comparing import Verdict  # brings the parser of the language, which is not always needed
    from kaname.features.history.moments import Known
    from kaname.features.schemas import Schemas
    from kaname.features.sql.query import Answer
    from kaname.features.sql.values import Parameters
    from kaname.features.training.types import How, Summary
    from kaname.features.views.loading import Declared
    from kaname.features.views.opened import OpenViews
    from kaname.features.views.readers import Readers
    from kaname.features.views.reading import StoredView
    from kaname.features.views.types import View
    from kaname.features.wanted import Wanted

log = structlog.get_logger(__name__)


class Features:
    """What `features/*.schema` declare, with rows. Thread-safe.

    What is in force is what the stores have recorded (`records`). Files change it where they leave every stored byte
    its meaning (`comparing`); else they are refused and all stays as it is.
    """

    def __init__(
        self,
        schemas: Callable[[], Schemas],
        open_store: Callable[[StoreName], CellStore],
        clock: Clock,
        views: Callable[[Schemas], Declared] | None = None,
        *,
        stamp: Callable[[], object] = lambda: True,
        adopts: bool = True,
        turn: Callable[[], AbstractContextManager[Note]] = alone,
        is_quick: Callable[[StoreName], bool] = lambda name: name.kind == "cells",
        known: Callable[[], list[StoreName]] = list,
        readers: Readers | None = None,
    ) -> None:
        """`schemas` and `views` read the files and `open_store` opens a store; `schemas` and `open_store` raise a
        KanameError. All are called late. `stamp` differs when the files have changed, and is false when there are none;
        `adopts`: changed ones are brought into force. `turn`: while it is open no other process of the project changes
        a record. `is_quick`: whether a read of a store takes microseconds. `known`: stores that the files need not name
        any more. `readers`: through what views read; None: without caches."""
        self._read = schemas
        self._read_views = views
        self._open_store = open_store
        self._clock = clock
        self._stamp = stamp
        self._adopts = adopts
        self._turn = turn
        self._known_stores = known
        self._lock = threading.Lock()  # held for moments, never while a store is asked
        self._locks = Locks()  # of a relation or a store, while it is opened
        self._reading, self._changing = threading.Lock(), threading.RLock()  # files again; records
        self._schemas: Schemas | None = None
        self._stamped: object = None
        self._stores: dict[StoreName, CellStore] = {}
        self._relations: dict[str, StoredRelation] = {}
        self._views: OpenViews | None = None
        self._readers = readers
        self._in_force: dict[str, Record] = {}
        self.records = Records(self.store, clock)
        self.there = RowsThere(self.records, self.store)
        self._is_quick = is_quick
        self._marks = Marks(self.records, clock, lambda store: self._is_quick(store))
        self._follower = Follower(self.follow)
        self._generation = itertools.count(1)
        self._throttle = Throttle(clock)

    def relation(self, name: str) -> StoredRelation:
        """The relation called so: the same object each time, which follows changes of the files.

        Raises NotFound, and what is wrong with the files or the store.
        """
        found = self._relations.get(name)
        if found is None:
            with self._locks.of(name):
                if name not in self._relations:
                    self._open(name)
                found = self._relations[name]
        return found

    def placed(self) -> list[str]:
        """The relations that have a place for rows. Raises what is wrong with the files."""
        schemas = self._known()
        return sorted(name for name in schemas.relations if schemas.layouts[name])

    def query(self, sql: str, parameters: Parameters | None = None, *, plain: bool = False) -> Answer:
        """Answer SELECT, INSERT, DELETE or EXPLAIN of one; `parameters` are the values of `?` or of `:name`, with
        `plain` as JSON has them.

        Raises InvalidInput with the place in the text, and what a store raises.
        """
        from kaname.features.sql.query import query

        return query(sql, lambda statement: self.relation(statement.relation), parameters, plain=plain)

    def load(self, relation: str, data: Columns, *, at: Known | None = None) -> int:
        """Write whole rows from Arrow: a Table, a RecordBatch, or batches; see `bulk.loading.load`."""
        from kaname.features.bulk.loading import load

        return load(self.relation(relation), data, at=at)

    def views(self) -> dict[str, View]:
        """What `features/*.view.yaml` declare, by name, without what cannot be used. Raises what is wrong with the
        schemas."""
        return self._opened_views().in_use(self._known()).views

    def declared(self, view: str) -> View:
        """The view called so, without its stores. Raises NotFound, and what is wrong with the files."""
        return self._opened_views().in_use(self._known()).view(view)

    def view(self, name: str) -> StoredView:
        """The view called so, with its stores: the same object each time. Raises NotFound, and what is wrong with the
        files or a store."""
        return self._opened_views().view(name, self._known())

    def names(self) -> list[str]:
        """The relations that the files declare."""
        return sorted(self._known().relations)

    def store(self, name: StoreName) -> CellStore:
        """A store, opened at its first use."""
        if name in self._stores:
            return self._stores[name]
        with self._locks.of(name):
            if name not in self._stores:
                store = self._open_store(name)
                self._stores[name] = store if self._readers is None else self._readers.opened(name, store)
            return self._stores[name]

    def record(self, name: str) -> Record:
        """What is in force of a relation, without a word about files that say otherwise. Raises as `relation` does."""
        with self._locks.of(name):
            if name not in self._relations:
                self._open(name, said=True)
            return self._in_force[name]

    def training_set(self, view: str, labels: Path, output: Path, **how: Unpack[How]) -> Summary:
        """What the view called so would have said at the moment of each label: see `training.building.build`."""
        from kaname.features.training.building import build

        return build(self.declared(view), self.relation, labels, output, self._clock, **how)

    def close(self) -> None:
        """Let go of the stores; of one that does not answer after a moment, too."""
        self._follower.close()
        with self._lock:
            for store in self._stores.values():
                store.close()
            self._stores.clear()
            self._relations.clear()
            self._views = None

    # --- what files want --------------------------------------------------------------------------------

    def verdicts(self) -> dict[str, Verdict]:
        """What would become of each relation that the files declare. Raises what is wrong with them."""
        stamp = self._stamp()
        if not stamp:
            return {}
        schemas = self._read()
        self._stamped, self._schemas = stamp, schemas
        return {name: self._verdict(name) for name in sorted(schemas.relations)}

    def apply(self) -> list[str]:
        """Bring the files into force, all of them or none; returns a line per change.

        Raises what is wrong with them, and Conflict for a change that would misread stored rows.
        """
        from kaname.features.comparing import check

        with self._changing:
            verdicts = self.verdicts()
            check(verdicts)
            return self._adopt(_changed(verdicts))

    def follow(self) -> None:
        """The same as `look`, for who cannot do anything about what is wrong: it is said in the log. A store that does
        not answer keeps no other one from being looked at."""
        looks: dict[str, Callable[[], None]] = {"files": self._look_at_files}
        looks |= {str(store): partial(self._look_at, store) for store in self._marks.stores()}
        for what, look in looks.items():
            if self._follower.leaving:
                return
            try:
                look()
            except Exception as error:  # noqa: BLE001  (it goes on with what it has, and looks again)
                if self._throttle.due(what) is not None:
                    log.error("cannot see whether relations have changed; they stay as they are", error=str(error))

    def look(self) -> None:
        """Follow what files and stores say now. Raises what a store does that does not answer."""
        self._look_at_files()
        for store in self._marks.stores():
            self._look_at(store)

    def settle_s(self, record: Record) -> float:
        """So long after it is published every process uses a record: its reads, and the writes that are confirmed."""
        return self._marks.settle_s(record.stores)

    def wanted(self, name: str) -> Wanted:
        """What the files want of a relation, whether it can be so or not. Raises what is wrong with them."""
        from kaname.features.wanted import wanted_of

        schemas = self._read()
        check_named(schemas.relations, name)
        return wanted_of(schemas, name)

    def publish(self, record: Record, what: str) -> None:
        """Bring a record into force, for all processes."""
        with self._changing, self._turn() as note:
            name = record.relation.name
            self.records.publish(record, self._in_force[name].stores)
            note(name, what)
            self._put_in_force(record)

    def _look_at_files(self) -> None:
        if self._schemas is not None and self._stamp() != self._stamped:
            with self._reading:
                self._read_again()

    def _read_again(self) -> None:
        from kaname.features.comparing import check

        self._stamped = self._stamp()
        before = self._schemas
        try:
            self._schemas = self._read()
            opened = [name for name in list(self._relations) if name in self._schemas.relations]
            verdicts = {name: self._verdict(name) for name in opened}
            check(verdicts)
            if self._adopts:
                self._adopt(_changed(verdicts))
            if self._views is not None:
                self._views.follow(self._schemas)
        except KanameError as error:
            self._schemas = before
            log.error("the schema files have changed but cannot be used; relations stay as they are", error=str(error))

    def _look_at(self, store: StoreName) -> None:
        self._marks.look(store, partial(self._reload, store))

    def _reload(self, store: StoreName) -> None:
        """Bring into force what a store has recorded since."""
        for record in list(self._in_force.values()):
            found = self.records.newer(record) if store in record.stores else None
            if found is not None:
                self._put_in_force(found)

    def _confirm(self, placement: Placement, exact: bool) -> None:
        """A write to these stores has happened: was it to all layouts that were in use then?"""
        for store in placement.stores:
            if not self._marks.confirms(store, exact=exact):
                self._look_at(store)

    # --- opening ----------------------------------------------------------------------------------------

    def _known(self) -> Schemas:
        schemas = self._schemas
        if schemas is None:
            with self._lock:
                if self._schemas is None:
                    self._stamped = self._stamp()
                    self._schemas = self._read()
                    self._follower.start()
                schemas = self._schemas
        return schemas

    def _opened_views(self) -> OpenViews:
        from kaname.features.views.guarded import Guards  # with numpy and a compiler of expressions
        from kaname.features.views.loading import Declared
        from kaname.features.views.opened import OpenViews

        with self._lock:
            if self._views is None:
                guards = Guards(self._clock) if self._readers is None else self._readers.guards
                read = self._read_views or (lambda _: Declared())
                self._views = OpenViews(read, self.relation, guards, self._clock)
            return self._views

    def _open(self, name: str, *, said: bool = False) -> None:
        """`said`: a person is told already what is wrong with the files."""
        schemas = self._known()
        check_named(schemas.relations, name)
        if not schemas.layouts[name]:
            expected = f"`define schema … for {name}` in features/*.schema"
            raise InvalidInput("a relation without a schema has no place for rows", where=name, expected=expected)
        stores = [layout.store for layout in schemas.layouts[name]]
        for store in stores:
            self._marks.begin(store)
        record = self._find(name)
        verdict = self._verdict(name)
        if verdict.refused:
            if record is None:
                raise verdict.refused[0]
            if not said:
                log.error("a schema file cannot be used; the relation stays as stored", error=str(verdict.refused[0]))
        elif record is None or (self._adopts and verdict.record is not None):
            self._adopt([name])
            record = self._in_force.get(name) or self._find(name)
        assert record is not None
        self._put_in_force(record)

    def _verdict(self, name: str) -> Verdict:
        from kaname.features.comparing import compare
        from kaname.features.wanted import wanted_of

        return compare(self._find(name), wanted_of(self._known(), name), self.there)

    def _find(self, name: str) -> Record | None:
        """The record of a relation: in the stores that the files name, else wherever it was before."""
        stores = [layout.store for layout in self._known().layouts[name]]
        return self.records.find(name, stores) or self.records.find(name, self._known_stores())

    def _adopt(self, names: list[str]) -> list[str]:
        """Bring what the files want into force, as far as another process has not done so meanwhile."""
        lines: list[str] = []
        if not names:
            return lines
        with self._changing, self._turn() as note:
            for name in names:
                verdict = self._verdict(name)
                if verdict.refused:
                    raise verdict.refused[0]
                if verdict.record is not None:
                    before = self._in_force.get(name)
                    self.records.publish(verdict.record, () if before is None else before.stores)
                    note(name, "; ".join(verdict.changes))
                    self._check_empty(verdict, note)
                    self._put_in_force(verdict.record)
                    lines += verdict.changes
        return lines

    def _check_empty(self, verdict: Verdict, note: Note) -> None:
        """Take a change back, and raise why, if rows were written before it could be seen; who wrote some and sees it
        takes these back."""
        old, new = verdict.replaces, verdict.record
        if old is None or new is None or not any(self.there.has_rows(kept.facts) for kept in old.layouts):
            return
        old = msgspec.structs.replace(old, version=new.version + 1)
        self.records.publish(old, new.stores)
        note(old.relation.name, f"relation {old.relation.name} is as it was: it has rows by now")
        self._put_in_force(old)
        if refused := self._verdict(old.relation.name).refused:
            raise refused[0]

    def _put_in_force(self, record: Record) -> None:
        placement = self._placement(record)
        name = record.relation.name
        with self._lock:
            held = self._in_force.get(name)
            if held is not None and held.version > record.version:
                return  # somebody was faster
            self._in_force[name] = record
            if name in self._relations:
                self._relations[name].placement = placement
            else:
                self._relations[name] = StoredRelation(placement, self._clock, self._confirm)

    def _placement(self, record: Record) -> Placement:
        for store in record.stores:
            self._marks.begin(store)
        placement = placed(record, self.store, next(self._generation))
        if self._readers is not None:
            self._readers.placed(placement.written)
        return placement


def _changed(verdicts: dict[str, Verdict]) -> list[str]:
    return [name for name, verdict in verdicts.items() if verdict.record is not None]
