"""The numbers of the request path, per model and version."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence

from kaname.call import Answer, Call, Observer, Outcome, Outputs
from kaname.clock import Clock
from kaname.errors import KanameError
from kaname.inference.lane import Ran, Run
from kaname.inference.room import Room
from kaname.models.types import VersionInfo
from kaname.serving.snapshot import Snapshot
from kaname.telemetry.metrics import LATENCY_S, ROWS, Counter, Metrics

LATENCY = "kaname_request_seconds"


class VersionMeters:
    """Counts one version's requests, rows, errors, latencies and runs."""

    def __init__(self, metrics: Metrics, model: str, version: str) -> None:
        self._metrics = metrics
        self._labels = {"model": model, "version": version}
        self._errors: dict[str, Counter] = {}
        self.requests = metrics.counter("kaname_requests_total", "Requests, by outcome.", code="ok", **self._labels)
        self.rows = metrics.counter("kaname_rows_total", "Rows predicted.", **self._labels)
        self.latency = metrics.histogram(LATENCY, "From the whole request to its answer.", LATENCY_S, **self._labels)
        self.batches = metrics.histogram("kaname_batch_rows", "Rows per run of the runtime.", ROWS, **self._labels)
        self.compute = metrics.counter("kaname_run_seconds_total", "Time in the runtime.", **self._labels)
        self.queued = metrics.counter(
            "kaname_queue_seconds_total", "Time from whole requests to their runs.", **self._labels
        )
        self.gathered = metrics.counter(
            "kaname_input_seconds_total", "Time to build the inputs of runs.", **self._labels
        )
        self.last = metrics.gauge(
            "kaname_last_run_seconds", "When the last run ended, since the Unix epoch.", policy="max", **self._labels
        )
        self.failed_s = metrics.counter("kaname_failed_seconds_total", "Time of requests that failed.", **self._labels)
        self.loads = metrics.counter("kaname_loads_total", "Times the version was loaded.", **self._labels)

    def refused(self, error: KanameError) -> None:
        """Count a request that was refused before it became a call."""
        self._failed(error.code).add()

    def errors(self) -> float:
        """Requests that failed, by this worker's count."""
        return sum(counter.value for counter in self._errors.values())

    def meter(self, clock: Clock) -> Observer:
        """What counts every ended call; about 0.5 µs for one that was answered, half of it among others of a run."""
        ok, rows, latency = self.requests.cell, self.rows.cell, self.latency.cells
        bounds, sum_at = self.latency.bounds, self.latency.sum_at
        bounds_ns = [int(bound * 1e9) for bound in bounds]
        monotonic_ns = clock.monotonic_ns

        def meter(call: Call, outcome: Outcome) -> Outcome:
            ended = call.ended_ns
            if not ended:
                ended = call.ended_ns = monotonic_ns()
            seconds = (ended - call.started_ns) / 1e9
            if type(outcome) is Answer:
                ok[0] += 1
                rows[0] += call.rows
                latency[bisect_left(bounds, seconds)] += 1
                latency[sum_at] += seconds
            else:
                assert isinstance(outcome, KanameError)
                self._failed(outcome.code).add()
                self.failed_s.add(seconds)
            return outcome

        def together(calls: Sequence[Call], _: Outputs) -> None:
            total = counted = 0
            for call in calls:
                took = call.ended_ns - call.started_ns
                latency[bisect_left(bounds_ns, took)] += 1
                total += took
                counted += call.rows
            ok[0] += len(calls)
            rows[0] += counted
            latency[sum_at] += total / 1e9

        return Observer(meter, together)

    def ran(self, clock: Clock) -> Ran:
        """What the lane tells of every run."""
        batches, queued, gathered, compute = self.batches.observe, self.queued.add, self.gathered.add, self.compute.add
        last, time_ns = self.last.set, clock.time_ns

        def ran(run: Run) -> None:
            batches(run.rows)
            queued(run.waited_ns / 1e9)
            gathered(run.input_ns / 1e9)
            compute(run.compute_ns / 1e9)
            last(time_ns() / 1e9)

        return ran

    def _failed(self, code: str) -> Counter:
        counter = self._errors.get(code)
        if counter is None:
            counter = self._metrics.counter("kaname_requests_total", "Requests, by outcome.", code=code, **self._labels)
            self._errors[code] = counter
        return counter


class Meters:
    """The numbers of all versions that were asked for or loaded, until they are archived or deleted."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._of: dict[int, VersionMeters] = {}

    def of(self, info: VersionInfo) -> VersionMeters:
        """The numbers of a version."""
        meters = self._of.get(info.id)
        if meters is None:
            meters = self._of[info.id] = VersionMeters(self._metrics, info.model, info.version)
        return meters

    def keep(self, snapshot: Snapshot) -> None:
        """Forget every version that is not in `snapshot`."""
        there = {version.id: (version.model, version.version) for each in snapshot.models for version in each.versions}
        for number in self._of.keys() - there:
            del self._of[number]
        self._metrics.keep({*there.values(), *((each.info.name, "") for each in snapshot.models)})


class ResidencyMeters:
    """What is in memory, as of the last load."""

    def __init__(self, metrics: Metrics) -> None:
        self._bytes = metrics.gauge("kaname_resident_bytes", "Memory of the versions that are loaded.")
        self._versions = metrics.gauge("kaname_resident_versions", "Versions that are loaded.")
        self._evictions = metrics.counter("kaname_evictions_total", "Versions that made room for others.")
        self._seconds = metrics.histogram("kaname_load_seconds", "Time to load a version.", LATENCY_S)
        self._evicted = 0

    def loaded(self, room: Room, seconds: float) -> None:
        """Count a load."""
        self._seconds.observe(seconds)
        self._bytes.set(room.used)
        self._versions.set(len(room.inside))
        self._evictions.add(room.evictions - self._evicted)
        self._evicted = room.evictions


class DoorMeters:
    """Counts what never reached a version: refused credentials, unknown models, unreadable requests."""

    def __init__(self, metrics: Metrics) -> None:
        self._of: Callable[[str], Counter] = lambda code: metrics.counter(
            "kaname_refused_total", "Requests refused before they reached a version.", code=code
        )
        self._counters: dict[str, Counter] = {}

    def count(self, code: str) -> None:
        """One more request refused with error `code`."""
        counter = self._counters.get(code)
        if counter is None:
            counter = self._counters[code] = self._of(code)
        counter.add()
