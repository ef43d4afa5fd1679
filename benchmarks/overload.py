"""What a server does with more requests than it can answer: goodput and latency over the offered load.

Run `python benchmarks/overload.py` (`make bench-overload`). One contestant at a time on one core, an open loop on
another: requests leave at their time, however late the answers are. The model takes some milliseconds per request and
gains nothing from batches, so capacity is a property of the machine. Loads are multiples of what Kaname answers in a
closed loop. Writes a table into `docs/benchmarks.md` and the curve into `docs/overload.svg`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import contestants, load, machine, openloop, process, subject
from benchmarks.contestants import OUT, PEERS
from benchmarks.lineup import API, install, started
from benchmarks.models import BenchModel, slow
from benchmarks.overload_report import write
from benchmarks.rounds import Entry

LOADS = (0.3, 0.6, 0.9, 1.2, 1.5, 2.0, 3.0, 5.0)
CONNECTIONS = 64
WARM_S = 1.5
IN_TIME_MS = 100.0
"""An answer that comes later is of no use to its caller."""
NAMES = (API, "fastapi", "mlserver0")
RESULTS = contestants.HERE / "results" / "overload.json"


@dataclass(frozen=True, slots=True)
class Point:
    """One contestant at one load."""

    name: str
    load: float
    offered_per_s: float
    good_per_s: float
    """Answers with status 200 within `IN_TIME_MS` of the moment at which they were meant to be asked."""
    refused_per_s: float
    p50_ms: float
    p99_ms: float
    """Of the answers with status 200."""
    refusal_ms: float
    """Median time to a refusal; 0 without one."""


class Results(NamedTuple):
    """What all runs found."""

    points: list[dict[str, float | str]]
    refusal_us: float
    """CPU of a refusal; 0: not measured."""


def capacity(entry: Entry, seconds: float) -> float:
    """Answers per second in a closed loop."""
    load.run(entry.server.port, entry.request, connections=4, seconds=1)
    return load.run(entry.server.port, entry.request, connections=4, seconds=int(seconds)).per_s


def measure(entry: Entry, times: float, rate_per_s: float, seconds: float) -> Point:
    """One window of the open loop."""
    found = drive(entry, rate_per_s, seconds)
    return Point(name=entry.name, load=times, offered_per_s=rate_per_s, **found)


def drive(entry: Entry, rate_per_s: float, seconds: float) -> dict[str, float]:
    """The figures of a window from the load generator's process."""
    wire = openloop.encode(entry.server.port, entry.request).decode("latin-1")
    plan = {
        "port": entry.server.port, "wire": wire, "rate_per_s": rate_per_s, "seconds": seconds,
        "connections": CONNECTIONS, "warm_s": WARM_S, "in_time_ms": IN_TIME_MS,
    }  # fmt: skip
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(plan, file)
        file.flush()
        command = process.pinned(process.CLIENT_CORE, [sys.executable, "-m", "benchmarks.pressure", file.name])
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=contestants.HERE.parent)
    if done.returncode:
        raise SystemExit(f"the load generator failed against {entry.name}:\n{done.stderr}")
    return dict(json.loads(done.stdout))


def settle(entry: Entry) -> None:
    """Wait until the server has worked off what it was sent: its answers are quick again."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        began = time.monotonic()
        process.send(entry.server.port, entry.request, 30)
        if time.monotonic() - began < IN_TIME_MS / 2000:
            return


def contest(name: str, model: BenchModel, per_s: float | None, seconds: float, loads: tuple[float, ...]) -> list[Point]:
    """All loads of one contestant; `per_s` is what a load of 1 is, None: what it answers itself in a closed loop."""
    peers = [peer for peer in PEERS if peer.name == name]
    install(peers, print)
    points = []
    with started(model, peers, with_kaname=name == API, say=print) as lineup:
        entry = next((one for one in lineup.entries if one.name == name), None)
        if entry is None:
            raise SystemExit(f"{name} did not start: {lineup.absent}")
        unit = capacity(entry, 3) if per_s is None else per_s
        for times in loads:
            points.append(measure(entry, times, unit * times, seconds))
            print(json.dumps(asdict(points[-1])), flush=True)
            settle(entry)
    return points


SLEEPER = """
import time

class Model:
    def predict(self, batch):
        time.sleep(0.01)
        return {"y": batch["x"]}
"""


def refusal_us() -> float:
    """CPU of a refusal: of a model that only sleeps nearly all requests are refused, and answers cost nothing."""
    project = subject.Project.make("refusal", {})
    (project.folder / "sleeper.py").write_text(SLEEPER)
    (project.folder / "sample.json").write_text('{"features": {"x": 1.0}}')
    folder = ("-C", str(project.folder), "model")
    subject.kaname(
        *folder, "add", "sleeper", str(project.folder / "sleeper.py"), "--sample", str(project.folder / "sample.json")
    )
    subject.kaname(*folder, "set", "sleeper", "max_batch_rows=1", "limits.patience_ms=20")
    server = project.start()
    try:
        subject.wait_ready(server)
        entry = Entry(API, "", server, project.predict_request(server, "sleeper"))
        drive(entry, 3000, 1)
        before = server.cpu_s()
        found = drive(entry, 3000, 4)
        return (server.cpu_s() - before) / (3000 * (4 + WARM_S)) * 1e6 if found["refused_per_s"] > 2000 else 0.0
    finally:
        server.stop()


def results(points: list[Point], *, only: str | None) -> Results:
    """What was measured so far, the points of one contestant replaced by the new ones; kept in a file."""
    found = _read() if only and RESULTS.exists() else Results([], 0.0)
    kept = [one for one in found.points if one["name"] != only] if only else []
    kept += [asdict(point) for point in points]
    kept.sort(key=lambda one: (NAMES.index(str(one["name"])), one["load"]))
    cost = refusal_us() if only in (None, API) else found.refusal_us
    RESULTS.write_text(json.dumps({"points": kept, "refusal_us": cost}, indent=1) + "\n")
    return Results(kept, cost)


def _read() -> Results:
    return Results(**json.loads(RESULTS.read_text()))


def setup(unit: float, seconds: float, cost_us: float) -> str:
    """How it was measured, and what a refusal costs."""
    facts = ", ".join(f"{name} {value}" for name, value in machine.describe().items())
    return (
        f"Written by `make bench-overload`. Machine: {facts}. A model of some milliseconds that gains nothing from "
        f"batches, four numbers of JSON per request, an open loop over {CONNECTIONS} connections for {seconds:g} s "
        f"per point. Servers on core 0, the load on core 1. A load of 1 is {unit:,.0f} requests/s: what Kaname answers "
        f"in a closed loop. An answer counts as in time within {IN_TIME_MS:g} ms of the moment at which its request "
        "was meant to leave; p50 and p99 are of all answers with 200 that came at all.\n\n"
        f"A refusal costs the server {cost_us:.0f} µs of CPU, reading its request and writing the answer included."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=NAMES, help="one contestant; Kaname has to be measured before the others")
    parser.add_argument("--short", action="store_true", help="3 seconds per point in the place of 10")
    parser.add_argument("--loads", type=float, nargs="*", default=LOADS)
    asked = parser.parse_args()
    model, seconds = slow(OUT / "models"), 3.0 if asked.short else 10.0
    unit = None if asked.only in (None, API) else _unit()
    points: list[Point] = []
    for name in NAMES if asked.only is None else (asked.only,):
        points += contest(name, model, unit, seconds, tuple(asked.loads))
        unit = points[0].offered_per_s / points[0].load
    found = results(points, only=asked.only)
    write(found.points, setup(_unit(), seconds, found.refusal_us))


def _unit() -> float:
    """A load of 1, as it was measured last."""
    one = next(one for one in _read().points if one["name"] == API)
    return float(one["offered_per_s"]) / float(one["load"])


if __name__ == "__main__":
    main()
