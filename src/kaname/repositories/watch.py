"""Follows a repository: what others publish there is taken over, what they remove is put away.

Whichever worker of a server holds the lock does it, on a thread of its own. A model is acted upon when two looks in a
row saw the same files, so that nothing is taken in the middle of a change that takes moments; a version only when it is
published (`finished`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import structlog

from kaname.clock import Clock
from kaname.errors import KanameError
from kaname.repositories.detect import read
from kaname.repositories.known import Repositories
from kaname.repositories.source import Source, Stamps
from kaname.repositories.taking import Taking
from kaname.repositories.types import Found, FoundModel, How, Kind, ModelReport, published
from kaname.storage.sole import Sole
from kaname.telemetry.logs import Throttle

log = structlog.get_logger(__name__)

SHARE = 20
"""A look is followed by a pause at least so many times as long: a large repository is looked at less often."""
RETRY_S = 300.0
"""After this time what was refused is tried again: a library may have been installed, a disk may have room."""
Seen = tuple[str, tuple[tuple[str, str], ...]]
"""A model's files, and what its repository said of each version."""


class Watch:
    """What one process knows of the repository that it follows."""

    def __init__(self, source: Source, repositories: Repositories, clock: Clock, kind: Kind | None, how: How) -> None:
        self._source = source
        self._repositories = repositories
        self._clock = clock
        self._kind = kind
        self._how = msgspec.structs.replace(how, withdraw=True)
        self._before: Stamps | None = None
        self._seen: dict[str, Seen] = {}
        self._again_ns: dict[str, int] = {}
        self._absent: frozenset[str] = frozenset()
        self._idle = False
        self._fault: str | None = None

    def look(self) -> list[ModelReport]:
        """Look once, and act on what has settled; returns what was done."""
        try:
            stamps = self._source.look()
            if self._idle and stamps == self._before and not self._due():
                return []
            before, self._before = self._before, stamps
            return [] if before is None else self._act(self._read(), stamps, before)
        except (KanameError, OSError) as error:
            self._before, self._idle = None, False
            self._failed(str(error))
            return []

    def _read(self) -> Found:
        """The registry of MLflow says itself when a version is finished: it is entered last."""
        found = read(self._source.folder(), self._kind, self._source.unpublished)
        if found.kind == "mlflow":
            found = read(self._source.folder(), found.kind, published)
        return found

    def _act(self, found: Found, stamps: Stamps, before: Stamps) -> list[ModelReport]:
        taking = self._repositories.taking(self._source.folder(), found.kind, self._how)
        if self._fault != "":
            self._recall(taking)
            taking.entered()
            self._fault = ""
        reports = []
        settled = True
        for model in found.models:
            stamp = _stamp_of(model, found.kind, stamps)
            if stamp != _stamp_of(model, found.kind, before):
                settled = False
            elif self._is_new(model, stamp):
                reports.append(self._take(taking, model, stamp))
        reports += self._withdrawn(taking, found)
        waiting = any(version.offer == "pending" for model in found.models for version in model.versions)
        self._idle = settled and not waiting and not self._absent
        return reports

    def _recall(self, taking: Taking) -> None:
        """What was taken as a whole before this process began to look need not be taken again."""
        for name, report in taking.reports().items():
            if report.seen and report.whole and all(each.outcome != "pending" for each in report.versions):
                self._seen.setdefault(name, msgspec.json.decode(report.seen, type=Seen))

    def _is_new(self, model: FoundModel, stamp: str) -> bool:
        again = self._again_ns.get(model.name)
        if again is not None and self._clock.monotonic_ns() >= again:
            return True
        return self._seen.get(model.name) != _seen(model, stamp)

    def _due(self) -> bool:
        now = self._clock.monotonic_ns()
        return any(now >= again for again in self._again_ns.values())

    def _take(self, taking: Taking, model: FoundModel, stamp: str) -> ModelReport:
        seen = _seen(model, stamp)
        report = taking.take(model, seen=msgspec.json.encode(seen).decode())
        self._seen[model.name] = seen
        self._again_ns.pop(model.name, None)
        if not report.whole:
            self._again_ns[model.name] = self._clock.monotonic_ns() + int(RETRY_S * 1e9)
        _say(report)
        return report

    def _withdrawn(self, taking: Taking, found: Found) -> list[ModelReport]:
        """Models that two looks in a row did not see; never all of them at once, for that is a folder not mounted."""
        missing = frozenset(taking.missing(found.models))
        if missing and not found.models:
            raise KanameError("the repository is empty: its models stay until another model is there")
        gone, self._absent = missing & self._absent, missing - self._absent
        reports = [taking.gone(name) for name in sorted(gone)]
        for report in reports:
            self._seen.pop(report.model, None)
            _say(report)
        return reports

    def _failed(self, fault: str) -> None:
        if fault != self._fault:
            self._fault = fault
            log.error("the model repository cannot be read; its models stay as they are", error=fault)
            self._repositories.taking(self._source.folder(), self._kind or "", self._how).entered(fault)


def _stamp_of(model: FoundModel, kind: Kind, stamps: Stamps) -> str:
    """Of a model's own entry at the top; of everything where models share their files."""
    top = model.place.split("/")[0]
    if kind == "mlflow" or top not in stamps:
        return " ".join(f"{name} {stamp}" for name, stamp in sorted(stamps.items()))
    return stamps[top] + stamps.get("models.config", "")


def _seen(model: FoundModel, stamp: str) -> Seen:
    return stamp, tuple((version.version, version.offer) for version in model.versions)


def _say(report: ModelReport) -> None:
    taken = [each.version for each in report.versions if each.outcome == "taken"]
    refused = {each.version: each.reason for each in report.versions if each.outcome == "refused"}
    if taken or report.changes:
        log.info("model repository", model=report.model, taken=taken, changes=list(report.changes))
    if refused or report.refused:
        log.warning("model repository: not taken over", model=report.model, versions=refused, reason=report.refused)


class Watcher:
    """A thread that looks again and again while this process is the one that does."""

    def __init__(self, watch: Watch, lock: Path, poll_s: float, clock: Clock, on_change: Callable[[], None]) -> None:
        """`on_change` is told when the registry was changed."""
        self._watch = watch
        self._sole = Sole(lock)
        self._poll_s = poll_s
        self._clock = clock
        self._on_change = on_change
        self._throttle = Throttle(clock)
        self._leave = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kaname-repository", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """End; an import in progress is waited for, so that it is either there or not."""
        self._leave.set()
        self._thread.join()

    def _run(self) -> None:
        pause_s = 0.0
        try:
            while not self._leave.wait(pause_s):
                began = self._clock.monotonic_ns()
                acted = self._turn()
                looked_s = 0.0 if acted else (self._clock.monotonic_ns() - began) / 1e9
                pause_s = max(self._poll_s, SHARE * looked_s)
        finally:
            self._sole.release()

    def _turn(self) -> bool:
        """Look, where it is this process' turn; whether something was done."""
        try:
            if self._sole.held() and self._watch.look():
                self._on_change()
                return True
        except Exception as error:  # noqa: BLE001  (the database may be away for a while)
            if self._throttle.due("turn") is not None:
                log.warning("the model repository cannot be looked after now", error=f"{type(error).__name__}: {error}")
        return False
