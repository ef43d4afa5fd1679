"""The three-way comparison: what was applied last, what is declared, what is; pure, and so easy to test whole.

Only what the declaration changed since it was last applied becomes a step. What differs otherwise was changed by
someone else (a rollback at night): it stands, and is reported as drift.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from kaname.errors import Conflict
from kaname.models.config import Leaves
from kaname.models.declared import Desired, DesiredVersion

Action = Literal["add", "tag", "configure", "load", "promote", "archive", "unload"]


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One change that applying would make."""

    model: str
    action: Action
    version: str | None = None
    give: tuple[str, ...] = ()
    """Tags to add, or settings to return to their defaults (`configure`: in `take`)."""
    take: tuple[str, ...] = ()
    """Tags to remove, or settings to return to their defaults."""
    config: Leaves = {}

    def __str__(self) -> str:
        subject = self.model if self.version is None else f"{self.model}/{self.version}"
        changes = [f"+{name}" for name in self.give]
        changes += [f"{name}={msgspec.json.encode(value).decode()}" for name, value in self.config.items()]
        changes += [f"-{name}" for name in self.take]
        return " ".join([self.action, subject, *changes])


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """A difference that someone else made and that applying leaves alone."""

    model: str
    what: str
    declared: str
    actual: str

    def __str__(self) -> str:
        return f"{self.model}: {self.what} is {self.actual}, declared {self.declared}"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """All steps, in the order in which they are made, and all drift."""

    steps: tuple[Step, ...] = ()
    drift: tuple[Drift, ...] = ()


class ActualVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A version as the registry has it."""

    archived: bool
    tags: tuple[str, ...]


class Actual(msgspec.Struct, frozen=True, kw_only=True):
    """A model as the registry has it; `config` holds what departs from the defaults by someone's wish."""

    loaded: bool
    promoted: str | None
    config: Leaves
    versions: Mapping[str, ActualVersion]


def compare(name: str, applied: Desired | None, declared: Desired | None, actual: Actual | None) -> Plan:
    """The plan for one model; each side may be missing.

    A declaration that is gone unloads its model and deletes nothing. A version that is gone from its declaration is
    archived, unless it answers. Raises Conflict when a declared version has other content than when it was applied.
    """
    plan = _Comparison(name, applied, declared, actual)
    if declared is None:
        plan.withdraw()
    else:
        plan.compare(declared)
    return Plan(steps=tuple(plan.steps), drift=tuple(plan.drift))


class _Comparison:
    """One model's comparison in progress."""

    def __init__(self, name: str, applied: Desired | None, declared: Desired | None, actual: Actual | None) -> None:
        self.steps: list[Step] = []
        self.drift: list[Drift] = []
        self._name = name
        self._applied = applied
        self._deleted = actual is None and applied is not None
        self._actual = actual or Actual(loaded=True, promoted=None, config={}, versions={})
        self._before = {version.version: version for version in applied.versions} if applied else {}

    def withdraw(self) -> None:
        if self._applied is not None and not self._deleted and self._actual.loaded:
            self._step("unload")

    def compare(self, declared: Desired) -> None:
        adds = [version for version in declared.versions if self._is_new(version)]
        for version in adds:
            self._step("add", version.version, give=version.tags)
        if self._deleted and not adds:
            self._differs("model", "present", "deleted")
            return
        for version in declared.versions:
            if version not in adds:
                self._existing(version)
        self._config(declared.config)
        self._loaded()
        self._removed(declared, answering=self._promoted(declared))

    def _is_new(self, version: DesiredVersion) -> bool:
        before = self._before.get(version.version)
        if before is None or before.content == version.content:
            return before is None
        if version.version in self._actual.versions:
            raise Conflict(
                "the files of a version changed after it was applied, and versions never change: "
                "declare a new version, or delete this one first",
                where=f"{self._name}/{version.version}",
                found=f"content {version.content[:12]}…",
                expected=f"content {before.content[:12]}…",
            )
        return True

    def _existing(self, version: DesiredVersion) -> None:
        actual = self._actual.versions.get(version.version)
        what = f"version {version.version}"
        if actual is None:
            self._differs(what, "present", "deleted")
            return
        if actual.archived:
            self._differs(what, "present", "archived")
        before, now, there = set(self._before[version.version].tags), set(version.tags), set(actual.tags)
        give, take = sorted((now - before) - there), sorted((before - now) & there)
        if give or take:
            self._step("tag", version.version, give=tuple(give), take=tuple(take))
        after = (there | set(give)) - set(take)
        if after != now:
            self._differs(f"tags of {what}", _shown(sorted(now)), _shown(sorted(after)))

    def _config(self, declared: Leaves) -> None:
        before = self._applied.config if self._applied else {}
        there = self._actual.config
        give: Leaves = {}
        take: list[str] = []
        for name in sorted({*before, *declared}):
            changed = _leaf(before, name) != _leaf(declared, name)
            if _leaf(declared, name) == _leaf(there, name):
                continue
            if not changed:
                self._differs(name, _shown_leaf(declared, name), _shown_leaf(there, name))
            elif name in declared:
                give[name] = declared[name]
            else:
                take.append(name)
        for name in sorted(there.keys() - before.keys() - declared.keys()):
            self._differs(name, _shown_leaf(declared, name), _shown_leaf(there, name))
        if give or take:
            self._step("configure", config=give, take=tuple(take))

    def _loaded(self) -> None:
        if self._actual.loaded:
            return
        if self._applied is None:
            self._step("load")
        else:
            self._differs("model", "loaded", "unloaded")

    def _promoted(self, declared: Desired) -> str | None:
        """Plan the promotion; returns what answers afterwards, as far as it is known now."""
        wanted, there = declared.promoted, self._actual.promoted
        if wanted is None or wanted == there:
            return there
        if self._applied is not None and self._applied.promoted == wanted:
            self._differs("promoted", wanted, there or "nothing")
            return there
        self._step("promote", wanted)
        return wanted

    def _removed(self, declared: Desired, answering: str | None) -> None:
        names = {version.version for version in declared.versions}
        for name, version in self._actual.versions.items():
            if name in names or version.archived:
                continue
            if name in self._before and name != answering:
                self._step("archive", name)
            else:
                self._differs(f"version {name}", "absent", "answering" if name == answering else "present")

    def _step(self, action: Action, version: str | None = None, **more: Any) -> None:
        self.steps.append(Step(model=self._name, action=action, version=version, **more))

    def _differs(self, what: str, declared: str, actual: str) -> None:
        self.drift.append(Drift(model=self._name, what=what, declared=declared, actual=actual))


def _leaf(config: Leaves, name: str) -> tuple[bool, object]:
    return name in config, config.get(name)


def _shown_leaf(config: Leaves, name: str) -> str:
    return _shown(config[name]) if name in config else "the default"


def _shown(value: object) -> str:
    return msgspec.json.encode(value).decode()
