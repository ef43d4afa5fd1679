"""The registry: models, their versions, and which version answers."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, Row, delete, select

from kaname.clock import Clock
from kaname.errors import Conflict
from kaname.models import config as settings
from kaname.models import store
from kaname.models.adding import Wanted, check_tags, register
from kaname.models.edit import Edit, editing, etag_of
from kaname.models.importing.remote_url import local
from kaname.models.importing.types import MAX_SHARE, TOLERANCE, Imported, ImportRequest
from kaname.models.types import ModelInfo, RuntimeChoice, VersionInfo
from kaname.runtimes.types import PLAIN, Profile, SessionOptions
from kaname.settings import ModelConfig
from kaname.storage.blobs.types import Artefacts
from kaname.storage.sql import journal
from kaname.storage.sql.database import Database

Ref = str | int
"""A model's name or number (a string of digits is a number)."""
Importer = Callable[[ImportRequest, Path], Imported]
"""Reads a model file with the given empty folder as its workplace."""
Profiled = tuple[Profile, str, tuple[RuntimeChoice, ...]]
"""A fresh profile, the runtime chosen, and what was measured of each."""
Profiler = Callable[[VersionInfo, Path], Profiled]
"""Measures a version anew from its artefact's folder."""
Make = Callable[[VersionInfo, Path, Path], tuple[Imported, Mapping[str, float]]]
"""Makes another version of one from its artefact's folder, in an empty folder; returns its metrics with it."""
ModelList = list[ModelInfo]
VersionList = list[VersionInfo]
ChangeList = list[journal.Change]
SnapshotRows = tuple[int, list[tuple[ModelInfo, VersionList]]]
FEW = 200
"""Changed models that are read one by one; of more, everything is read at once."""


class Difference(NamedTuple):
    """What has changed in the registry: the journal's number, all models' numbers by name, and those that are new or
    other than they were."""

    seq: int
    order: list[int]
    changed: list[tuple[ModelInfo, VersionList]]


_UNUSED_S = 3600.0
_IMPORTS = "import-"


class Models:
    """Every change is one transaction with its row in the change journal; changes are serialised over all processes.

    A version's content never changes; its status does. `training`: never promoted yet. `deployed`: promoted now or
    before. `archived`: put away; not loaded, and out of the promotion history. Promotions form a stack: `promote`
    pushes, `rollback` pops, so repeated rollbacks walk back through what answered before, never forward again.

    Where a method takes `if_match` it raises Conflict when that is not the model's present `etag`. Methods that name
    a model or version raise NotFound when there is none.
    """

    def __init__(
        self,
        database: Database,
        artefacts: Artefacts,
        clock: Clock,
        importer: Importer,
        workdir: Path,
        profiler: Profiler,
        *,
        defaults: ModelConfig | None = None,
        options: SessionOptions = PLAIN,
    ) -> None:
        """`workdir`: where imports work. `defaults`: what holds for the fields that a model's owner has not set."""
        self._database = database
        self._artefacts = artefacts
        self._clock = clock
        self._importer = importer
        self._workdir = workdir
        self._profiler = profiler
        self._defaults, self.options = defaults or ModelConfig(), options

    # --- read ---------------------------------------------------------------------------------------------

    def list(self) -> ModelList:
        """All models, by name."""
        with self._database.read() as conn:
            return self._all(conn)

    def get(self, ref: Ref) -> ModelInfo:
        """One model."""
        with self._database.read() as conn:
            row = store.model_row(conn, ref)
            return self._info(row, store.answers(conn, row.id))

    def versions(self, ref: Ref) -> VersionList:
        """All versions of a model, archived ones too, oldest first."""
        with self._database.read() as conn:
            model = store.model_row(conn, ref)
            return store.versions_of(conn, model)

    def version_counts(self) -> dict[int, int]:
        """How many versions each model has, by its number."""
        with self._database.read() as conn:
            return store.version_counts(conn)

    def version(self, ref: Ref, version: str) -> VersionInfo:
        """One version."""
        with self._database.read() as conn:
            model = store.model_row(conn, ref)
            return store.version_info(store.version_row(conn, model, version), model.name)

    def changes(self, after: int = 0, limit: int = 100) -> ChangeList:
        """Up to `limit` changes of the control plane (not of models alone) after number `after`, oldest first."""
        with self._database.read() as conn:
            return journal.changes(conn, after, limit)

    def seq(self) -> int:
        """The number of the last change; cheap to ask often."""
        return self._database.journal_number()

    def snapshot_rows(self, number: int | None = None) -> SnapshotRows:
        """One consistent state: the journal's number and every model with its versions that are not archived.

        `number`: a change that it must have; then it may come from a replica."""
        with self._database.read_from(number) as conn:
            seq = journal.latest(conn)
            versions = store.running_versions(conn)
            return seq, [(model, versions[model.id]) for model in self._all(conn)]

    def difference(self, known: Mapping[int, str], number: int | None = None) -> Difference:
        """The same, but only of models whose etag is not the one in `known`, by their numbers."""
        with self._database.read_from(number) as conn:
            seq = journal.latest(conn)
            rows = list(conn.execute(select(store.models).order_by(store.models.c.name)))
            changed = [row for row in rows if known.get(row.id) != etag_of(row)]
            if len(changed) > FEW:
                answers, versions = store.answers(conn), store.running_versions(conn)
            else:
                answers, versions = {}, {}
                for row in changed:
                    answers |= store.answers(conn, row.id)
                    versions[row.id] = [v for v in store.versions_of(conn, row) if v.status != "archived"]
            read = [(self._info(row, answers), versions[row.id]) for row in changed]
            return Difference(seq, [row.id for row in rows], read)

    # --- versions come -------------------------------------------------------------------------------------

    def add(
        self,
        name: str,
        path: str | Path,
        *,
        who: str,
        sample: str | Path | None = None,
        metrics: Mapping[str, float] | None = None,
        version: str | None = None,
        tags: Sequence[str] = (),
        trust_pickle: bool = False,
        promote: bool | None = None,
        tolerance: float = TOLERANCE,
        max_share: float = MAX_SHARE,
        labels: Mapping[str, tuple[str, ...]] | None = None,
    ) -> tuple[VersionInfo, tuple[str, ...]]:
        """Import a file, or a URL (`remote_url`), as a new version, of a new model if need be; returns it and notes.

        `version` None: the next number. `promote` None: only if nothing answers yet. A version that exists is
        returned as it is when its artefact is the same, else Conflict: versions never change. The artefact is
        published before the transaction; a crash in between leaves it without a version, for `collect_garbage`.
        `tolerance`, `max_share`, `labels`: see ImportRequest. Raises what the importer raises.
        """
        wanted = Wanted.checked(name, version, metrics or {}, tags, promote)
        with self._workplace() as workplace:
            request = ImportRequest(
                path=local(path, workplace),
                sample=None if sample is None else Path(sample),
                trust_pickle=trust_pickle,
                name=name,
                tolerance=tolerance,
                max_share=max_share,
                labels=dict(labels or {}),
            )
            imported = self._importer(request, workplace)
            artefact = self._artefacts.publish(imported.files)
        with self._database.write() as conn:
            return register(conn, wanted, imported, artefact, at_us=self._clock.time_ns() // 1000, who=who)

    def derive(
        self, ref: Ref, version: str, make: Make, *, who: str, name: str | None = None, tags: Sequence[str] = ()
    ) -> VersionInfo:
        """Register what `make` makes of a version as another one (`name` None: the next number), which does not answer
        until it is promoted. Raises what `make` raises, and as `add` does."""
        known = self.version(ref, version)
        wanted = Wanted.checked(known.model, name, {}, tags, False)
        with self._workplace() as workplace, self._artefacts.hold(known.artefact) as folder:
            imported, metrics = make(known, folder, workplace)
            artefact = self._artefacts.publish(imported.files)
        wanted = msgspec.structs.replace(wanted, metrics=dict(metrics))
        with self._database.write() as conn:
            at_us = self._clock.time_ns() // 1000
            return register(conn, wanted, imported, artefact, at_us=at_us, who=who)[0]

    @contextmanager
    def _workplace(self) -> Iterator[Path]:
        self._workdir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=_IMPORTS, dir=self._workdir) as folder:
            yield Path(folder)

    def reprofile(self, ref: Ref, version: str, *, who: str) -> VersionInfo:
        """Measure a version anew on this machine; it may then run on another runtime. Raises what the profiler does."""
        known = self.version(ref, version)
        with self._artefacts.hold(known.artefact) as folder:
            profile, runtime, choices = self._profiler(known, folder)
        with editing(self._database, self._clock, ref, who) as edit:
            row = edit.version(version)
            if row.id != known.id:
                raise Conflict("the version was replaced meanwhile", where=f"{known.model}/{version}")
            edit.update_version(row, profile=store.encode(profile), runtime=runtime, choices=store.encode(choices))
            edit.log("version.reprofile", version, runtime=runtime, best_rows=profile.best_rows)
        return self.version(ref, version)

    # --- which one answers ---------------------------------------------------------------------------------

    def promote(self, ref: Ref, version: str, *, who: str, if_match: str | None = None) -> ModelInfo:
        """Let `version` answer, also an archived one; it becomes `deployed`. No change when it answers already."""
        with editing(self._database, self._clock, ref, who, if_match) as edit:
            edit.promote(edit.version(version))
            edit.finish()
            return self._reread(edit)

    def rollback(self, ref: Ref, *, who: str, if_match: str | None = None) -> ModelInfo:
        """Let the previously promoted version answer again. Raises Conflict when there is none."""
        with editing(self._database, self._clock, ref, who, if_match) as edit:
            promotions = store.history(edit.conn, edit.model.id)
            if len(promotions) < 2:
                raise Conflict("nothing was promoted before: there is no version to go back to", where=edit.model.name)
            last, before = promotions[:2]
            edit.conn.execute(delete(store.promotions).where(store.promotions.c.id == last.id))
            edit.log("model.rollback", to=before.version, previous=last.version)
            edit.finish()
            return self._reread(edit)

    def set_loaded(self, ref: Ref, loaded: bool, *, who: str) -> ModelInfo:
        """Let the model answer (True), or refuse requests and free its memory (False)."""
        with editing(self._database, self._clock, ref, who) as edit:
            if edit.model.loaded != loaded:
                edit.update(loaded=loaded)
                edit.log("model.load" if loaded else "model.unload")
            edit.finish()
            return self._reread(edit)

    # --- settings and tags ---------------------------------------------------------------------------------

    def configure(self, ref: Ref, config: ModelConfig, *, who: str, if_match: str | None = None) -> ModelInfo:
        """Replace the settings; a field that equals the default goes on following it."""
        return self._override(ref, lambda _: settings.differences(config, self._defaults), who, if_match)

    def override(
        self,
        ref: Ref,
        fields: Mapping[str, Any],
        *,
        unset: Sequence[str] = (),
        who: str,
        if_match: str | None = None,
    ) -> ModelInfo:
        """Set single settings by dotted name (`limits.queue`), and return those in `unset` to their defaults."""
        gone = set(unset)
        settings.check_names(gone)
        return self._override(
            ref, lambda old: {k: v for k, v in {**old, **fields}.items() if k not in gone}, who, if_match
        )

    def overrides(self, ref: Ref) -> settings.Leaves:
        """The settings that the model's owner has set, by dotted name."""
        with self._database.read() as conn:
            return store.decode(store.model_row(conn, ref).overrides, dict[str, Any])

    def _override(
        self, ref: Ref, change: Callable[[settings.Leaves], settings.Leaves], who: str, if_match: str | None
    ) -> ModelInfo:
        with editing(self._database, self._clock, ref, who, if_match) as edit:
            old = store.decode(edit.model.overrides, dict[str, Any])
            new = change(old)
            settings.overlay(self._defaults, {k: v for k, v in new.items() if k not in old or v != old[k]})
            if new != old:
                edit.update(overrides=store.encode(new))
                edit.log("model.configure", set=new, before=old)
            edit.finish()
            return self._reread(edit)

    def tag(
        self, ref: Ref, version: str, *, add: Sequence[str] = (), remove: Sequence[str] = (), who: str
    ) -> VersionInfo:
        """Add and remove tags of a version; a tag in both is removed."""
        added, removed = check_tags(add), set(remove)
        with editing(self._database, self._clock, ref, who) as edit:
            row = edit.version(version)
            old = store.decode(row.tags, tuple[str, ...])
            new = tuple(sorted({*old, *added} - removed))
            if new != old:
                edit.update_version(row, tags=store.encode(new))
                edit.log("version.tag", version, tags=new, before=old)
            return store.version_info(edit.version(version), edit.model.name)

    # --- versions go ---------------------------------------------------------------------------------------

    def archive(self, ref: Ref, version: str, *, who: str) -> VersionInfo:
        """Put a version away: it is not loaded, and no rollback returns to it. Raises Conflict while it answers."""
        with editing(self._database, self._clock, ref, who) as edit:
            row = edit.version(version)
            edit.refuse_answering(version, "archived")
            if row.status != "archived":
                store.forget(edit.conn, edit.model.id, row.id)
                edit.update_version(row, status="archived")
                edit.log("version.archive", version, before=row.status)
            return store.version_info(edit.version(version), edit.model.name)

    def delete(self, ref: Ref, version: str | None = None, *, who: str) -> None:
        """Delete a version, or with None the model and all its versions; artefacts stay until `collect_garbage`.

        Raises Conflict while the version answers; for a whole model while one of its versions does and the model is
        not unloaded.
        """
        with editing(self._database, self._clock, ref, who) as edit:
            if version is None:
                self._delete_model(edit)
            else:
                row = edit.version(version)
                edit.refuse_answering(version, "deleted")
                store.forget(edit.conn, edit.model.id, row.id)
                self._delete_version(edit, row)

    def _delete_model(self, edit: Edit) -> None:
        answering = edit.answering()
        if answering is not None and edit.model.loaded:
            raise Conflict(
                "the model answers requests and cannot be deleted: unload it first",
                where=edit.model.name,
                found=f"version {answering} promoted and loaded",
            )
        edit.conn.execute(delete(store.promotions).where(store.promotions.c.model_id == edit.model.id))
        rows = edit.conn.execute(select(store.versions).where(store.versions.c.model_id == edit.model.id)).all()
        for row in rows:
            self._delete_version(edit, row)
        edit.log("model.delete", id=edit.model.id)
        edit.conn.execute(delete(store.models).where(store.models.c.id == edit.model.id))

    def _delete_version(self, edit: Edit, row: Row[Any]) -> None:
        # A worker may be loading it this moment: the artefact counts as new once more before it may be collected.
        self._artefacts.touch(row.artefact)
        edit.conn.execute(delete(store.versions).where(store.versions.c.id == row.id))
        edit.log("version.delete", row.version, artefact=row.artefact)

    def collect_garbage(self, older_than_s: float = _UNUSED_S) -> tuple[str, ...]:
        """Delete artefacts that belong to no version, and what killed imports left, when older than that."""
        before_ns = self._clock.time_ns() - int(older_than_s * 1e9)
        for folder in self._workdir.glob(f"{_IMPORTS}*"):
            if folder.stat().st_mtime_ns < before_ns:
                shutil.rmtree(folder, ignore_errors=True)
        old = self._artefacts.artefacts(before_ns)
        with self._database.write() as conn:  # so that no version is registered meanwhile
            used = {str(artefact) for artefact in conn.execute(select(store.versions.c.artefact)).scalars()}
            gone = tuple(each for each in old if each not in used and self._artefacts.delete(each, before_ns))
        self._artefacts.clean(before_ns)
        return gone

    # --- inside --------------------------------------------------------------------------------------------

    def _reread(self, edit: Edit) -> ModelInfo:
        row = store.model_row(edit.conn, edit.model.id)
        return self._info(row, store.answers(edit.conn, row.id))

    def _all(self, conn: Connection) -> ModelList:
        answers = store.answers(conn)
        rows = conn.execute(select(store.models)).all()  # sorted here: each database has an order of its own
        return [self._info(row, answers) for row in sorted(rows, key=lambda row: str(row.name))]

    def _info(self, row: Row[Any], answers: Mapping[int, Sequence[str]]) -> ModelInfo:
        promoted, previous = (*answers.get(row.id, ()), None, None)[:2]
        return ModelInfo(
            id=row.id,
            name=row.name,
            promoted=promoted,
            previous=previous,
            loaded=row.loaded,
            config=settings.overlay(self._defaults, settings.known(store.decode(row.overrides, dict[str, Any]))),
            created_us=row.created_us,
            etag=etag_of(row),
        )
