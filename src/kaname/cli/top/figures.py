"""What happened between two looks at a server: figures of each model, of each worker, and of all together."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from kaname.cli.top.counts import Counts, Numbers, buckets, by_label, quantile, since, summed
from kaname.serving.residency.account import ORDER, State, VersionAccount, WorkerAccount


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """What a server said at one moment."""

    server: str
    """Its address."""
    at_us: int
    """Since the Unix epoch."""
    at_ns: int
    """The same moment on the looker's monotonic clock."""
    counts: Counts
    workers: list[WorkerAccount]
    versions: list[VersionAccount]
    silent: list[int] = []
    """Slots of workers that did not give their account."""


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    """Requests of one time: of a version, a model or a server. Times are from the whole request to its answer, of those
    that were answered; null where there were none."""

    requests: int
    requests_total: int
    """Since the server's project began."""
    requests_per_s: float
    rows_per_s: float
    failed_share: float
    failed: dict[str, int]
    """Requests by the code of their error."""
    mean_ms: float | None
    p50_ms: float | None
    p99_ms: float | None
    batch_rows: float | None
    """Rows per run of the runtime."""
    waiting: float
    """Requests that waited for their run, on average."""
    busy: float
    """Time in the runtime per second: 1 is one core."""
    cached_share: float | None
    """Answered by the result cache, of those that it was asked for."""
    loads: int


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One model, or one version of it."""

    model: str
    version: str
    """The one that had most requests, or is in memory; "" for none."""
    others: int
    """Further versions that are in memory or had requests."""
    state: State
    pinned: bool
    resident_bytes: int
    traffic: Traffic


class Worker(msgspec.Struct, frozen=True, kw_only=True):
    """One worker process."""

    slot: int
    pid: int
    cpu: float | None
    """Of one core; null in its first moments."""
    resident_bytes: int
    budget_bytes: int
    models_bytes: int
    versions: int


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """A server between two moments."""

    server: str
    at_us: int
    seconds: float
    total: Traffic
    refused: dict[str, int]
    """Requests that never reached a version, by the code of their error."""
    workers: list[Worker]
    silent: list[int]
    models: list[Line]


def between(before: Sample, after: Sample, *, versions: bool = False, model: str | None = None) -> Window:
    """What happened from `before` to `after`; with a line for each of the models (None: all), or for each version."""
    seconds = max(after.at_ns - before.at_ns, 1) / 1e9
    grown = since(before.counts, after.counts)
    accounts = {(account.model, account.version): account for account in after.versions}
    alive = {whose for whose, numbers in grown.items() if whose[0] and (whose in accounts or _requests(numbers))}
    groups: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for whose in sorted(alive | accounts.keys()):
        if model in (None, whose[0]):
            groups.setdefault(whose if versions else (whose[0], ""), []).append(whose)
    return Window(
        server=after.server,
        at_us=after.at_us,
        seconds=seconds,
        total=_traffic(grown, after.counts, grown.keys(), seconds),
        refused=_counted(grown.get(("", ""), {}), "kaname_refused_total"),
        workers=_workers(before, after),
        silent=after.silent,
        models=[_line(group, grown, after.counts, accounts, seconds) for group in groups.values()],
    )


def _line(
    group: list[tuple[str, str]],
    grown: Counts,
    counts: Counts,
    accounts: dict[tuple[str, str], VersionAccount],
    seconds: float,
) -> Line:
    known = [accounts[whose] for whose in group if whose in accounts]
    asked = [whose for whose in group if _requests(grown.get(whose, {}))]
    seen = {*asked, *(whose for whose in group if whose in accounts and accounts[whose].resident_bytes)}
    first = max(seen or group, key=lambda whose: (_requests(grown.get(whose, {})), whose))
    return Line(
        model=first[0],
        version=first[1],
        others=max(len(seen) - 1, 0),
        state=min((account.state for account in known), key=ORDER.index, default="absent"),
        pinned=any(account.pinned for account in known),
        resident_bytes=sum(account.resident_bytes for account in known),
        traffic=_traffic(grown, counts, group, seconds),
    )


def _traffic(grown: Counts, counts: Counts, whose: Iterable[tuple[str, str]], seconds: float) -> Traffic:
    mine = list(whose)
    numbers = summed(grown.get(each, {}) for each in mine)
    outcomes = _counted(numbers, "kaname_requests_total")
    requests = sum(outcomes.values())
    answered = numbers.get(("kaname_request_seconds_count", ""), 0.0)
    latency = buckets(numbers, "kaname_request_seconds")
    runs = numbers.get(("kaname_batch_rows_count", ""), 0.0)
    cache = by_label(numbers, "kaname_cache_requests_total")
    asked = sum(cache.values())
    return Traffic(
        requests=requests,
        requests_total=int(sum(_requests(counts.get(each, {})) for each in mine)),
        requests_per_s=requests / seconds,
        rows_per_s=numbers.get(("kaname_rows_total", ""), 0.0) / seconds,
        failed_share=1 - outcomes.get("ok", 0) / requests if requests else 0.0,
        failed={code: count for code, count in outcomes.items() if code != "ok"},
        mean_ms=1000 * numbers[("kaname_request_seconds_sum", "")] / answered if answered else None,
        p50_ms=_ms(quantile(0.5, latency)),
        p99_ms=_ms(quantile(0.99, latency)),
        batch_rows=numbers[("kaname_batch_rows_sum", "")] / runs if runs else None,
        waiting=numbers.get(("kaname_queue_seconds_total", ""), 0.0) / seconds,
        busy=numbers.get(("kaname_run_seconds_total", ""), 0.0) / seconds,
        cached_share=1 - cache.get("miss", 0.0) / asked if asked else None,
        loads=int(numbers.get(("kaname_loads_total", ""), 0.0)),
    )


def _workers(before: Sample, after: Sample) -> list[Worker]:
    earlier = {worker.pid: worker for worker in before.workers}
    return [
        Worker(
            slot=worker.slot,
            pid=worker.pid,
            cpu=_cpu(earlier.get(worker.pid), worker),
            resident_bytes=worker.memory.resident,
            budget_bytes=worker.budget,
            models_bytes=worker.memory.sessions,
            versions=worker.resident,
        )
        for worker in after.workers
    ]


def _cpu(before: WorkerAccount | None, after: WorkerAccount) -> float | None:
    if before is None or after.at_us <= before.at_us:
        return None
    return max(0.0, (after.cpu_s - before.cpu_s) / (after.at_us - before.at_us) * 1e6)


def _requests(numbers: Numbers) -> float:
    return sum(by_label(numbers, "kaname_requests_total").values())


def _counted(numbers: Numbers, metric: str) -> dict[str, int]:
    return {label: int(value) for label, value in by_label(numbers, metric).items() if value}


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000
