"""Takes the models of a repository into the registry: only what changed there since the last time.

As with declarations, three states are compared: what was taken last, what the repository holds, and what is. Versions
come first and answer nothing yet; settings, labels and the version that answers follow when all have come.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from kaname.clock import Clock
from kaname.errors import KanameError
from kaname.models.declared import Desired
from kaname.models.plan import compare
from kaname.models.registry import Models
from kaname.models.steps import actual, make
from kaname.repositories import store
from kaname.repositories.model import GONE, OneModel
from kaname.repositories.store import Kept
from kaname.repositories.types import Found, FoundModel, How, ModelReport, Report
from kaname.storage.sql.database import Database

BEGUN = "it is being taken over, or that was interrupted"


class Taking:
    """One repository on its way into a registry."""

    def __init__(self, models: Models, database: Database, clock: Clock, root: Path, kind: str, how: How) -> None:
        self._models = models
        self._database = database
        self._clock = clock
        self._how = how
        self._path = str(root.resolve())
        self._kind = kind

    def all(self, found: Found) -> Report:
        """Take every model over, and say of those that are gone what becomes of them."""
        reports = [self.take(model) for model in found.models]
        reports += [self.gone(name) for name in self.missing(found.models)]
        return Report(kind=found.kind, path=self._path, models=tuple(reports), not_taken=found.remarks)

    def take(self, found: FoundModel, *, seen: str = "") -> ModelReport:
        """Take one model over; whatever is wrong with it is said in the report. `seen` is kept with it."""
        report, applied = self._taken(found)
        report = msgspec.structs.replace(report, seen=seen)
        self._remember(report, applied)
        return report

    def _taken(self, found: FoundModel) -> tuple[ModelReport, Desired | None]:
        """What is said of a model, and what of it was taken by now."""
        refused = ModelReport(model=found.name, place=found.place, refused=found.refused)
        if found.refused:
            return refused, self._applied(found.name)
        begun = msgspec.structs.replace(refused, refused=BEGUN)
        try:
            applied = self._applied(found.name)
            one = OneModel(
                self._models, self._database, found, applied, self._how, lambda far: self._remember(begun, far)
            )
            return one.take()
        except Exception as error:  # noqa: BLE001  (a fault of one model stops no other)
            said = str(error) if isinstance(error, KanameError | OSError) else f"{type(error).__name__}: {error}"
            return msgspec.structs.replace(refused, refused=said), self._applied(found.name)

    def reports(self) -> dict[str, ModelReport]:
        """What was last said of each model, by its name."""
        return {name: each.report for name, each in self._kept().items()}

    def missing(self, found: Iterable[FoundModel]) -> list[str]:
        """Models that were taken before and are not in the repository any more.

        One whose place cannot be read now may be there under its name: it is not missing.
        """
        names = {model.name for model in found}
        unread = {model.place for model in found if model.refused}
        kept = self._kept()
        gone = [name for name, each in kept.items() if name not in names and each.report.place not in unread]
        for name in gone:
            if kept[name].applied is None:
                self._forget(name)
        return [name for name in gone if kept[name].applied is not None]

    def gone(self, name: str) -> ModelReport:
        """What becomes of a model that is missing: it is unloaded where that is wanted, else it stays."""
        before = self._kept()[name]
        report = ModelReport(model=name, place=before.report.place, refused=GONE)
        if not self._how.withdraw:
            return report
        try:
            plan = compare(name, before.applied, None, actual(self._database, name))
            for step in plan.steps:
                make(self._models, step, self._how.who)
            report = msgspec.structs.replace(report, changes=tuple(map(str, plan.steps)))
        except KanameError as error:
            report = msgspec.structs.replace(report, refused=f"{GONE}; {error}")
        self._remember(report, None)
        return report

    def entered(self, fault: str = "") -> None:
        """Write down that the repository was looked at; `fault`: why it could not be read."""
        with self._database.write() as conn:
            store.entered(conn, self._path, self._kind, self._now_us(), fault)

    # --- memory -----------------------------------------------------------------------------------------

    def _kept(self) -> dict[str, Kept]:
        with self._database.read() as conn:
            return store.kept(conn, self._path)

    def _applied(self, name: str) -> Desired | None:
        known = self._kept().get(name)
        return None if known is None else known.applied

    def _remember(self, report: ModelReport, applied: Desired | None) -> None:
        if self._how.dry_run:
            return
        with self._database.write() as conn:
            number = store.entered(conn, self._path, self._kind, self._now_us())
            store.remember(conn, number, report, applied, self._now_us())

    def _forget(self, name: str) -> None:
        with self._database.write() as conn:
            store.forget(conn, store.entered(conn, self._path, self._kind, self._now_us()), name)

    def _now_us(self) -> int:
        return self._clock.time_ns() // 1000
