"""One model of a repository on its way into the registry."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import msgspec

from kaname.errors import KanameError
from kaname.models.config import overlay
from kaname.models.declared import Desired, DesiredVersion
from kaname.models.importing import trust
from kaname.models.importing.detect import detect
from kaname.models.importing.types import ImportRequest
from kaname.models.names import check_model, check_version
from kaname.models.plan import Plan, compare
from kaname.models.registry import Models
from kaname.models.steps import actual, make
from kaname.models.types import VersionInfo
from kaname.repositories.content import digest_of
from kaname.repositories.types import FoundModel, FoundVersion, How, ModelReport, Remark, TensorName, VersionReport
from kaname.settings import ModelConfig
from kaname.storage.sql.database import Database

CHANGED = "its files changed after it was taken over, and versions never change: give the new content a new version"
DELETED = "taken before, and deleted here since"
GONE = "no longer in the repository"


class OneModel:
    """A model that can be read, against what was taken of it before."""

    def __init__(
        self,
        models: Models,
        database: Database,
        found: FoundModel,
        applied: Desired | None,
        how: How,
        remember: Callable[[Desired], None],
    ) -> None:
        """`remember` is told of each version as it has come: who is interrupted then need not import it again."""
        self._models = models
        self._database = database
        self._found = found
        self._how = how
        self._remember = remember
        self._applied = applied
        self._before = {version.version: version for version in applied.versions} if applied else {}
        self._there = self._registered()
        self._now: dict[str, DesiredVersion] = {}
        self._reports: list[VersionReport] = []
        self._added: list[DesiredVersion] = []

    def take(self) -> tuple[ModelReport, Desired | None]:
        check_model(self._found.name)
        overlay(ModelConfig(), self._found.config)  # before anything is taken
        for version in self._found.versions:
            self._reports.append(self._version(version))
        self._keep()
        if self._how.dry_run or not self._now:
            return self._report(Plan(steps=(), drift=()), None), self._applied
        desired = self._desired()
        plan = self._compare(desired)
        for step in plan.steps:
            make(self._models, step, self._how.who)
        return self._report(plan, desired), desired

    # --- versions ---------------------------------------------------------------------------------------

    def _version(self, found: FoundVersion) -> VersionReport:
        try:
            return self._offered(found) if found.offer == "offered" else self._other(found)
        except (KanameError, OSError) as error:
            return VersionReport(version=found.version or found.path.name, outcome="refused", reason=str(error))

    def _other(self, found: FoundVersion) -> VersionReport:
        """A version that is not offered now; one that was taken before stays."""
        before = self._before.get(found.version)
        if before is not None:
            self._now[found.version] = before
        assert found.offer != "offered"
        return VersionReport(version=found.version or found.path.name, outcome=found.offer, reason=found.reason)

    def _offered(self, found: FoundVersion) -> VersionReport:
        beside = [*([found.sample] if found.sample else []), *found.labels.values()]
        content = digest_of(found.content or found.path, *beside)
        name = check_version(found.version or self._counted(content))
        before = self._before.get(name)
        if before is None or (before.content != content and name not in self._there):
            return self._add(found, name, content)
        self._now[name] = DesiredVersion(version=name, content=before.content, tags=found.tags)
        if name not in self._there:
            return VersionReport(version=name, outcome="skipped", reason=DELETED)
        if before.content != content:
            return VersionReport(version=name, outcome="refused", reason=CHANGED)
        return VersionReport(version=name, outcome="there")

    def _counted(self, content: str) -> str:
        """The name of a version that has none: that of the same content, or the next number."""
        same = next((each.version for each in self._before.values() if each.content == content), None)
        numbers = [int(name) for name in (*self._before, *self._there) if name.isdecimal()]
        return same or str(max(numbers, default=0) + 1)

    def _add(self, found: FoundVersion, name: str, content: str) -> VersionReport:
        if self._how.dry_run:
            asked = ImportRequest(path=found.path, trust_pickle=self._how.trust_pickle)
            trust.demand(detect(found.path), asked)
            self._now[name] = DesiredVersion(version=name, content=content, tags=found.tags)
            return VersionReport(version=name, outcome="possible")
        with self._how.doing(f"importing {self._found.name}/{name}: converting, comparing, measuring"):
            info, notes = self._models.add(
                self._found.name,
                found.path,
                who=self._how.who,
                sample=found.sample,
                metrics=found.metrics,
                version=name,
                tags=found.tags,
                trust_pickle=self._how.trust_pickle,
                promote=False,
                labels={output: _lines(file) for output, file in found.labels.items()},
            )
        self._there[name] = info
        self._now[name] = DesiredVersion(version=name, content=content, tags=tuple(sorted({*found.tags})))
        self._added.append(msgspec.structs.replace(self._now[name], tags=info.tags))
        self._remember(self._so_far())
        return VersionReport(version=name, outcome="taken", notes=notes)

    def _so_far(self) -> Desired:
        """What was taken before, and the versions that have come since."""
        before = self._applied or Desired(name=self._found.name, versions=(), promoted=None, config={})
        return msgspec.structs.replace(before, versions=(*before.versions, *self._added))

    def _keep(self) -> None:
        """Versions that are gone from the repository stay, unless that is what archives them; those that were counted
        stay in any case, for a rollback."""
        counted = any(not version.version for version in self._found.versions)
        for name, before in self._before.items():
            if name in self._now:
                continue
            if counted or not self._how.withdraw:
                self._now[name] = before
            if not counted:
                self._reports.append(VersionReport(version=name, outcome="gone", reason=GONE))

    # --- the model --------------------------------------------------------------------------------------

    def _desired(self) -> Desired:
        return Desired(
            name=self._found.name,
            versions=tuple(self._now.values()),
            promoted=self._promoted(),
            config=self._found.config,
        )

    def _promoted(self) -> str | None:
        """The first of those preferred that has come, also when its files cannot be used any more; else what answered
        before, if it is still there."""
        pairs = zip(self._found.versions, self._reports, strict=False)  # reports of versions that are gone come last
        names = {found.version: report.version for found, report in pairs if found.offer != "skipped"}
        preferred = (names.get(name) for name in self._found.preferred)
        before = self._applied.promoted if self._applied else None
        able = self._now.keys() & self._there.keys()
        return next((name for name in preferred if name in able), before if before in self._now else None)

    def _compare(self, desired: Desired) -> Plan:
        """The steps that are left when the versions have come."""
        before = self._applied and self._so_far()
        plan = compare(desired.name, before, desired, actual(self._database, desired.name))
        return msgspec.structs.replace(plan, steps=tuple(step for step in plan.steps if step.action != "add"))

    def _registered(self) -> dict[str, VersionInfo]:
        if actual(self._database, self._found.name) is None:
            return {}
        return {version.version: version for version in self._models.versions(self._found.name)}

    def _report(self, plan: Plan, desired: Desired | None) -> ModelReport:
        taken = desired is not None
        refused = "" if self._now else "none of its versions could be taken over"
        return ModelReport(
            model=self._found.name,
            place=self._found.place,
            versions=tuple(self._reports),
            answers=self._models.get(self._found.name).promoted if taken else None,
            config=self._found.config if taken or self._how.dry_run else {},
            changes=tuple(str(step) for step in plan.steps),
            drift=tuple(map(str, plan.drift)),
            not_taken=(*self._found.remarks, *self._undeclared(desired)),
            refused=refused,
        )

    def _undeclared(self, desired: Desired | None) -> Iterable[Remark]:
        """Inputs and outputs that the repository declares and that the model itself does not have."""
        info = self._there.get(desired.promoted or "") if desired else None
        if info is None:
            return
        specs = {spec.name: spec.datatype for spec in (*info.signature.inputs, *info.signature.outputs)}
        for tensor in self._found.tensors:
            if reason := _difference(tensor, specs):
                yield Remark(what=tensor.name, reason=reason, where=tensor.where)


def _lines(file: Path) -> tuple[str, ...]:
    """The lines of a file of labels, but for empty ones at its end."""
    return tuple(line.strip() for line in file.read_text(errors="replace").rstrip().splitlines())


def _difference(tensor: TensorName, specs: Mapping[str, str]) -> str:
    if not tensor.name:
        return ""
    if tensor.name not in specs:
        return f"the model has no such input or output; it has {', '.join(specs)}"
    if tensor.datatype and tensor.datatype != specs[tensor.name]:
        return f"the model itself says {specs[tensor.name]}, not {tensor.datatype}"
    return ""
