"""Opens the stores of a project: what the command line, a worker and a Python program all need."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import msgspec

from kaname.access.answers import KeptAnswers
from kaname.access.buckets import node_cells
from kaname.access.keys import Keys
from kaname.access.levels import NodeLevels
from kaname.access.spending import Spending
from kaname.access.tenants import Tenants
from kaname.access.usage import Usage
from kaname.batch.jobs import Jobs
from kaname.clock import Clock, SystemClock
from kaname.errors import Conflict
from kaname.features.files import stamp_of
from kaname.features.layout import StoreName
from kaname.features.opened import Features
from kaname.features.relayout.running import Relayouts
from kaname.features.turns import Note
from kaname.features.views.readers import Readers
from kaname.inference.residency import artefact_file
from kaname.models.importing.process import reprofile, run_import
from kaname.models.reconcile import Declarations
from kaname.models.registry import Models
from kaname.models.rows import model_rows
from kaname.models.types import VersionInfo
from kaname.predictions.erasure import erase_everywhere
from kaname.predictions.reader import PredictionReader
from kaname.predictions.shards.log import Registry, SqlLog
from kaname.predictions.shards.shard import Shards
from kaname.predictions.types import Subject
from kaname.project import Files, Project
from kaname.repositories.known import Repositories
from kaname.repositories.source import FolderSource
from kaname.repositories.types import How
from kaname.repositories.watch import Watch, Watcher
from kaname.runtimes.catalog import open_session
from kaname.runtimes.held import held_by
from kaname.runtimes.types import Session, session_options
from kaname.serving.nodes.identity import node_id
from kaname.serving.nodes.registry import Nodes
from kaname.serving.snapshot import ModelEntry, Snapshot
from kaname.serving.workers.board import running_board
from kaname.settings import RemoteSettings
from kaname.storage.blobs.file import ArtefactStore
from kaname.storage.blobs.opening import folder_artefacts, open_artefacts
from kaname.storage.cells.opening import cell_settings, located, open_cells
from kaname.storage.cells.types import CellStore
from kaname.storage.events.lmdb.reader import LmdbReader
from kaname.storage.events.lmdb.writer import LmdbWriter
from kaname.storage.sealing.keys import Keyring
from kaname.storage.sealing.rotation import Encryption
from kaname.storage.sealing.segments import BlockOpener, BlockSealer, SegmentKeys
from kaname.storage.shared.opened import open_store
from kaname.storage.sole import Sole
from kaname.storage.sql import journal
from kaname.storage.sql.database import Database

if TYPE_CHECKING:
    from kaname.features.schemas import Schemas
    from kaname.features.views.loading import Declared


class Stores:
    """The control plane of one project, opened. Closing it leaves nothing running."""

    def __init__(self, project: Project, clock: Clock | None = None, *, patient: bool = False) -> None:
        """`patient`: a database that cannot be opened now raises only when it is used."""
        self.project = project
        self.clock = clock or SystemClock()
        data = project.data
        data.mkdir(mode=0o700, exist_ok=True)
        self.database = database_of(project, patient=patient)
        self.database.on_change = self._changed
        self._number = 0
        self.node = node_id(data)
        self.nodes = Nodes(self.database, self.clock)
        self.keyring = Keyring.of(project.settings.encryption)
        self.artefacts = open_artefacts(project.settings.artefacts, data, self.clock, self.keyring)
        self.session_options = session_options(project.settings.inference, remote_settings(project))
        self.models = Models(
            self.database,
            self.artefacts,
            self.clock,
            partial(run_import, options=self.session_options),
            folder_at(data / "work"),
            partial(reprofile, options=self.session_options),
            defaults=project.settings.models,
            options=self.session_options,
        )
        self.repositories = Repositories(self.models, self.database, self.clock)
        self.tenants = Tenants(self.database, self.clock, project.settings.tenants)
        self.keys = Keys(self.database, self.clock, tenants=self.tenants)
        self.answers = KeptAnswers(self.database, self.clock)
        self.jobs = Jobs(
            self.database, self.clock, data / "batch", project.root / "data", project.settings.batch, self.node
        )
        self.events = data / "events"
        self.log = LmdbReader(folder_at(self.events), BlockOpener(self.events, self.keyring))
        self.deferred = data / "deferred"
        logs = SegmentKeys(self.events, "prediction record"), SegmentKeys(self.deferred, "deferred requests")
        self.encryption = Encryption(self.keyring, (self.artefacts, *logs))
        self.sql_log = self._sql_log()
        self.predictions = PredictionReader(self.log, self._erase)
        self.readers = self._readers()
        self.features = Features(
            self._schemas,
            self._cells,
            self.clock,
            self._views,
            stamp=partial(stamp_of, project.root),
            adopts=project.settings.profile == "local",
            turn=self._recording,
            is_quick=self._is_quick,
            known=self._known_cells,
            readers=self.readers,
        )

    def declarations(self) -> Declarations:
        """What `models/*.yaml` declare, read anew."""
        root = self.project.root
        files = Files(root)
        return Declarations(self.models, self.database, self.clock, root, files.read, files.locate)

    def watcher(self, on_change: Callable[[], None]) -> Watcher | None:
        """Follows the repository that the settings name; None: they name none."""
        settings, root = self.project.settings.repository, self.project.root
        if settings.path is None:
            return None
        source = FolderSource(root / settings.path, self.clock)
        how = How(who="repository", trust_pickle=settings.trust_pickle)
        kind = None if settings.kind == "auto" else settings.kind
        watch = Watch(source, self.repositories, self.clock, kind, how)
        lock = self.project.data / "repository.lock"
        return Watcher(watch, lock, settings.poll_ms / 1000, self.clock, on_change)

    def snapshot(self, before: Snapshot | None = None) -> Snapshot:
        """What a worker answers from, as of now; read from a replica that has all of it, where there is one. What is as
        it was `before` is neither read nor made anew."""
        kept = {} if before is None else {entry.info.id: entry for entry in before.models}
        known = {number: entry.info.etag for number, entry in kept.items()}
        found = self.models.difference(known, self.models.seq())
        kept |= {info.id: ModelEntry(info=info, versions=tuple(versions)) for info, versions in found.changed}
        models = tuple(kept[number] for number in found.order)
        keys, tenants = tuple(self.keys.rows(found.seq)), tuple(self.tenants.rows(found.seq))
        return Snapshot(number=found.seq, models=models, keys=keys, tenants=tenants)

    def snapshot_after(self, before: Snapshot) -> Snapshot:
        """The same; where only batch jobs were made or cancelled since `before`, that costs nothing."""
        with self.database.read() as conn:
            number = journal.latest(conn)
            if not journal.touched(conn, before.number, but="batch."):
                return msgspec.structs.replace(before, number=number)
        return self.snapshot(before)

    def usage(self) -> Usage:
        """What tenants have used: of the whole fleet where one shares its limits."""
        levels = NodeLevels(self.project.data)
        return Usage(self.clock, node_cells(levels), open_store(self.project.settings.shared))

    def spending(self) -> Spending:
        """Counts what is computed beside requests."""
        cells, store = node_cells(NodeLevels(self.project.data)), open_store(self.project.settings.shared)
        return Spending(self.clock, cells, store, self.keys.get, self.tenants.get)

    def open_version(self, version: VersionInfo) -> Session:
        """A session of a version, its artefact verified: for a run of its own, outside the server."""
        held = self.artefacts.hold(version.artefact)
        options = msgspec.structs.replace(self.session_options, threads=1)
        session = open_session(version.runtime, artefact_file(held.folder, version), version.signature, options)
        return held_by(session, held)

    def local_artefacts(self) -> ArtefactStore:
        """The artefacts in the project's own folder, whatever store the settings name."""
        return folder_artefacts(self.project.settings.artefacts, self.project.data, self.keyring)

    def writer(self, slot: int) -> LmdbWriter:
        """The writer of one slot of the event log. Raises Conflict when a live process has it."""
        record = self.project.settings.record
        sealer = None if self.keyring.active is None else BlockSealer(self.events / str(slot), self.keyring, self.clock)
        return LmdbWriter(
            self.events,
            slot,
            self.clock,
            retain_bytes=record.retain_bytes,
            retain_days=record.retain_days,
            sealer=sealer,
        )

    @contextmanager
    def _recording(self) -> Iterator[Note]:
        """While it is open no other process changes what is recorded of relations; the journal tells all of it."""
        with self.database.write() as conn:

            def note(relation: str, what: str) -> None:
                at_us, detail = self.clock.time_ns() // 1000, {"changes": what}
                journal.append(
                    conn, at_us=at_us, who="features", action="features.record", subject=relation, detail=detail
                )

            yield note

    def relayouts(self) -> Relayouts:
        """Changes of the layouts of relations."""
        random = Random()  # noqa: S311  (which rows are compared is no secret)
        return Relayouts(self.features, self.clock, f"{self.node}:{os.getpid()}", self._alone, random)

    @contextmanager
    def _alone(self, relation: str) -> Iterator[None]:
        claim = Sole(folder_at(self.project.data / "work") / f"relayout-{relation}.lock")
        if not claim.held():
            raise Conflict("another process changes layouts of this relation", where=relation, expected="one at a time")
        try:
            yield
        finally:
            claim.release()

    def _known_cells(self) -> list[StoreName]:
        """The stores of cells that there are, whatever the schemas name."""
        folder = self.project.data / "cells"
        there = {path.name for path in folder.iterdir()} if folder.exists() else set()
        return [StoreName("cells", name) for name in sorted(there | set(self.project.settings.cells))]

    def _schemas(self) -> Schemas:
        from kaname.features.schemas import load  # with the parser of the language, which few processes need

        return load(self.project.root, Files(self.project.root).text)

    def _views(self, schemas: Schemas) -> Declared:
        from kaname.features.views.loading import examine  # with numpy and a compiler of expressions

        return examine(self.project.root, schemas, Files(self.project.root).examined)

    def _is_quick(self, store: StoreName) -> bool:
        """Whether reads of a store take microseconds."""
        return cell_settings(self.project.settings.cells, store.kind, store.name).kind == "lmdb"

    def _readers(self) -> Readers:
        """What views read through."""
        settings = self.project.settings
        shared = msgspec.structs.replace(settings.shared, timeout_ms=settings.features.shared_ms)
        stamps = self.project.data / "feature-stamps"
        return Readers(settings.features, self.clock, self._is_quick, stamps, lambda: open_store(shared))

    def _cells(self, store: StoreName) -> CellStore:
        settings = located(cell_settings(self.project.settings.cells, store.kind, store.name), self.project.root)
        folder = self.project.data / "cells" / store.name
        return open_cells(settings, folder, self.clock, called=f"cells.{store.name}")

    def _erase(self, subject: Subject) -> int:
        gone = erase_everywhere(subject, self.events, self.log, self.writer)
        if self.sql_log is not None:
            self.sql_log.erase(subject)
        return gone

    def _sql_log(self) -> SqlLog | None:
        """The prediction log in SQL, where the settings name one."""
        settings = self.project.settings.record.sql
        if not settings.urls:
            return None
        return SqlLog(
            Shards(settings.urls, None if settings.password is None else settings.password.reveal()),
            self.log,
            Registry(self.models.seq, lambda: model_rows(self.models), lambda ref: self.models.get(ref).id),
            source=self.node,
            lock=self.project.data / "sink.lock",
            clock=self.clock,
            retain_days=settings.retain_days,
        )

    def _changed(self, number: int) -> None:
        """Tell the workers of this node, who then need not wait for their next question to a database server."""
        self._number = number
        board = running_board(self.project.root) if self.database.is_server else None
        if board is not None:
            board.saw(number)
            board.close()

    def settle(self, timeout_s: float) -> None:
        """Wait until the workers of this node answer as of the last change that was made here."""
        board = running_board(self.project.root) if self._number else None
        if board is not None:
            board.wait_applied(self._number, timeout_s)
            board.close()

    def close(self) -> None:
        """Let go of the database, the log and the cells."""
        self.features.close()
        self.readers.close()
        if self.sql_log is not None:
            self.sql_log.close()
        self.log.close()
        self.artefacts.close()
        self.database.close()


def database_of(project: Project, *, patient: bool) -> Database:
    """The control plane's database; `patient`: not opened before its first use."""
    settings = project.settings.database
    return (Database.later if patient else Database.open)(
        settings.url or f"sqlite:///{project.data / 'control.db'}",
        replicas=settings.replica_urls,
        password=None if settings.password is None else settings.password.reveal(),
        timeout_s=settings.timeout_ms / 1000,
    )


def remote_settings(project: Project) -> tuple[RemoteSettings, ...]:
    """What the servers of remote models are shown; files are found from the project's folder."""
    replace = msgspec.structs.replace
    return tuple(
        one if one.ca_file is None else replace(one, ca_file=str(project.root / one.ca_file))
        for one in project.settings.remotes.values()
    )


def snapshot_file(project: Project) -> Path:
    """Where what the workers answer from is kept for the time when the database cannot be read."""
    return project.data / "snapshot"


def folder_at(path: Path) -> Path:
    """`path`, made if need be."""
    path.mkdir(parents=True, exist_ok=True)
    return path
