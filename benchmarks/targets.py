"""What Kaname must reach and aims at, and whether a run reached it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.contestants import FLOOR
from benchmarks.extras import LARGE_ROWS
from benchmarks.lineup import API, INFER
from benchmarks.results import Results
from benchmarks.rounds import cpu_ratio, figures
from benchmarks.stats import dollars_per_million, spread

FLOOR_TIMES = (3.2, 2.2)
PEER_TIMES = {"fastapi": (5, 7), "mlserver0": (15, 22), "kserve": (30, 40), "litserve": (35, 50), "bentoml": (50, 80)}
OPEN_P99_MS = (1.0, 0.5)
LARGE_SHARE = (0.60, 0.85)
CNN_SHARE = (0.92, 0.96)
MEMORY_MB = (150, 110)
WIDTHS = (16, 64)
JUDGED = "iris"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One target, what was measured, and in a word how it stands."""

    what: str
    must: str
    aim: str
    measured: str
    word: str


def judge(what: str, value: float, must: float, aim: float, *, least: bool, form: str) -> Verdict:
    """`least`: larger is better, the bounds are lower bounds."""
    sign = "≥" if least else "≤"
    reached = [value >= bound if least else value <= bound for bound in (must, aim)]
    word = "aim" if reached[1] else "must" if reached[0] else "**missed**"
    return Verdict(what, f"{sign} {must:{form}}", f"{sign} {aim:{form}}", f"{value:{form}}", word)


def verdicts(results: Results) -> Iterator[Verdict]:
    """A verdict for every target whose figures this run has."""
    yield from _cpu(results)
    yield from _others(results)


def _cpu(results: Results) -> Iterator[Verdict]:
    for entry in (API, INFER):
        for width in WIDTHS:
            ratio = cpu_ratio(results.samples, JUDGED, entry, FLOOR, width)
            if ratio:
                what = f"CPU of `{entry}`, {width} connections, × echo floor"
                yield judge(what, ratio.median, *FLOOR_TIMES, least=False, form=".2f")
    for peer, (must, aim) in PEER_TIMES.items():
        for width in WIDTHS:
            ratio = cpu_ratio(results.samples, JUDGED, peer, API, width)
            if ratio:
                what = f"CPU of {results.titles[peer]}, {width} connections, × Kaname"
                yield judge(what, ratio.median, must, aim, least=True, form=".1f")


def _others(results: Results) -> Iterator[Verdict]:
    tails = [float(run["p99_ms"]) for run in results.open_loop if (run["entry"], run["model"]) == (API, JUDGED)]
    if tails:
        yield judge(
            "p99 at 1,000 requests/s, open loop, ms", spread(tails).median, *OPEN_P99_MS, least=False, form=".2f"
        )
    for model, measured in results.large_rows_per_s.items():
        call = results.raw_call_us(model, LARGE_ROWS)
        if call is not None:
            share = spread(measured).median / (LARGE_ROWS / call * 1e6)
            yield judge(
                f"{LARGE_ROWS:,}-row binary request, `{model}`, of raw", share, *LARGE_SHARE, least=True, form=".0%"
            )
    call, served = results.raw_call_us("cnn", 1), figures(results.samples, "cnn", INFER, 16)
    if call is not None and served is not None:
        share = served.per_s.median / (1e6 / call)
        yield judge("`cnn` requests/s, 16 connections, of raw", share, *CNN_SHARE, least=True, form=".0%")
    if results.memory_mb is not None:
        yield judge(
            "memory of a worker with 10 small models, MiB", results.memory_mb, *MEMORY_MB, least=False, form=".0f"
        )
    if found := figures(results.samples, JUDGED, API, 16):
        cost = dollars_per_million(found.cpu_us.median)
        word = "aim" if cost <= 0.001 else "stated"
        yield Verdict("dollars per million predictions", "stated", "≤ 0.001", f"{cost:.5f}", word)
