"""Kaname beside other Python model servers, on the same files with the same client: `make bench`.

    python benchmarks/serving.py                          everything, interleaved rounds; writes docs and README
    python benchmarks/serving.py --short                  three shorter rounds, about a quarter of the time
    python benchmarks/serving.py --quick                  a few minutes, one round
    python benchmarks/serving.py --only iris --peers floor,fastapi

Servers run on core 0, the client on core 1. Quick and partial runs write only below `benchmarks/out`.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich.console import Console

from benchmarks import extras, lineup, machine, models, report, subject
from benchmarks.contestants import BY_HAND, OUT, PEERS, Peer, version
from benchmarks.load import LoadFailed
from benchmarks.results import Results
from benchmarks.rounds import Entry, Sample, interleave

RESULTS = Path(__file__).resolve().parent / "results" / "serving.json"


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how often."""

    rounds: int
    seconds: float
    connections: tuple[int, ...]
    open_seconds: float


FULL = Plan(rounds=3, seconds=6.0, connections=(1, 16, 64), open_seconds=10.0)
SHORT = Plan(rounds=3, seconds=2.0, connections=(16, 64), open_seconds=4.0)
QUICK = Plan(rounds=1, seconds=2.0, connections=(16,), open_seconds=3.0)


def measure_model(
    model: models.BenchModel, peers: list[Peer], plan: Plan, results: Results, console: Console, *, with_kaname: bool
) -> None:
    """All rounds of one model, then what is measured beside the rounds, into `results`."""

    def said(sample: Sample) -> None:
        failed = f"  [red]{sample.failed} failed[/red]" if sample.failed else ""
        console.print(
            f"{model.name:5} {sample.connections:3} connections  {sample.entry:11} {sample.per_s:9,.0f}/s"
            f"  p99 {sample.p99_ms:8.2f} ms  {sample.cpu_us:8.1f} µs{failed}",
            highlight=False,
        )

    def lost(entry: Entry, error: LoadFailed) -> None:
        results.absent[model.name][entry.name] = f"stopped answering: {error}"
        everyone.entries.remove(entry)

    with lineup.started(model, peers, with_kaname=with_kaname, say=console.print) as everyone:
        results.absent[model.name] = everyone.absent
        results.titles |= {entry.name: entry.title for entry in everyone.entries}
        results.raw_us.setdefault(model.name, []).append(extras.raw_us(model))
        results.samples += interleave(
            model.name,
            everyone.entries,
            rounds=plan.rounds,
            connections=plan.connections,
            seconds=plan.seconds,
            said=said,
            lost=lost,
        )
        results.raw_us[model.name].append(extras.raw_us(model))
        if not model.binary:
            _beside(model, everyone, plan, results)


def _beside(model: models.BenchModel, everyone: lineup.Lineup, plan: Plan, results: Results) -> None:
    """Open loop and large requests, as often as there are rounds; only for small models."""
    for entry in everyone.entries:
        if entry.name in {lineup.API, lineup.INFER, BY_HAND}:
            for _ in range(plan.rounds):
                results.open_loop.append(
                    {"model": model.name, "entry": entry.name, **extras.open_loop(entry, plan.open_seconds)}
                )
    if everyone.project is not None and everyone.kaname is not None:
        for _ in range(plan.rounds):
            rows = extras.large_request_rows_per_s(everyone.project, everyone.kaname, model, plan.seconds)
            results.large_rows_per_s.setdefault(model.name, []).append(rows)
        results.record[model.name] = everyone.project.record_lines(everyone.kaname)


def run(asked: argparse.Namespace, console: Console) -> Results:
    """Install, measure, and return everything that was found."""
    plan = QUICK if asked.quick else SHORT if asked.short else FULL
    chosen = [peer for peer in PEERS if asked.peers is None or peer.name in asked.peers]
    missing = lineup.install(chosen, console.print)
    present = [peer for peer in chosen if peer.name not in missing]
    with_kaname = asked.peers is None or lineup.API in asked.peers
    versions = {peer.name: version(peer) for peer in present}
    if with_kaname:
        versions[lineup.API] = subject.version()
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    results = Results(taken=now, machine=machine.describe(), versions=versions, not_installed=missing)
    built = models.build(OUT / "models")
    for name in asked.only or models.FILES:
        measure_model(built[name], present, plan, results, console, with_kaname=with_kaname)
    if with_kaname and asked.only is None:
        results.memory_mb = extras.memory_mb(built)
    return results


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def arguments(argv: list[str]) -> argparse.Namespace:
    """The command line; unknown models and peers are refused."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one round of two seconds at 16 connections")
    parser.add_argument("--short", action="store_true", help="three rounds of two seconds at 16 and 64 connections")
    parser.add_argument("--only", type=_names, help=f"models: {','.join(models.FILES)}")
    known = [*(peer.name for peer in PEERS), lineup.API]
    parser.add_argument("--peers", type=_names, help=f"who takes part: {','.join(known)}")
    parser.add_argument("--write", action="store_true", help="write docs and README after a quick or partial run too")
    asked = parser.parse_args(argv)
    for given, allowed in ((asked.only, models.FILES), (asked.peers, known)):
        if unknown := [name for name in given or () if name not in allowed]:
            parser.error(f"unknown: {', '.join(unknown)}; known: {', '.join(allowed)}")
    return asked


def main(argv: list[str] | None = None) -> int:
    asked = arguments(sys.argv[1:] if argv is None else argv)
    console = Console()
    try:
        results = run(asked, console)
    except (LoadFailed, subject.SubjectFailed) as error:
        console.print(f"[red]{error}[/red]")
        return 1
    whole = not (asked.quick or asked.short or asked.only or asked.peers)
    target = RESULTS if whole or asked.write else OUT / "serving.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(results.as_dict(), indent=1) + "\n")
    page = report.page(results)
    if whole or asked.write:
        report.write(page, report.summary(results))
    else:
        (OUT / "benchmarks.md").write_text(page)
    console.print(page, markup=False, highlight=False, soft_wrap=True)
    console.print(f"Figures: {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
