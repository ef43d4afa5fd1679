"""Everything at once for a long time: `python -m benchmarks.soak [--minutes 30]`.

One worker on one core serves more models than fit in memory to clients of every protocol on the other core, while
versions are promoted, models unloaded and loaded, keys made and revoked, batch jobs run, clients leave in the middle
and others ask nonsense. At the end no request has failed that the server could have answered, no process has ended,
nothing was logged as an error, and the memory, files and threads of the lasting processes (children that import and
predict in batches come and go) have not grown over the second half of the time. Exits with 1 otherwise.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from random import Random

from benchmarks import machine, sections
from benchmarks.process import CLIENT_CORE
from benchmarks.report import table
from benchmarks.soak_clients import CLIENTS, Activity
from benchmarks.soak_control import CONTROLS
from benchmarks.soak_tally import Held, Tally, Watched, growth, second_half
from benchmarks.soak_world import MODEL_BYTES, World, logged, opened

MORE_FILES, MORE_THREADS = 16, 4
"""What may be open or running more at the end than in the middle: connections and jobs come and go."""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--models", type=int, default=60)
    parser.add_argument("--budget-share", type=float, default=0.4, help="of the models that fit in memory")
    parser.add_argument("--growth", type=float, default=0.03, help="of memory over the second half that is allowed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--print-only", action="store_true", help="do not write docs/benchmarks.md")
    asked = parser.parse_args()
    with opened(asked.models, asked.budget_share) as world:
        os.sched_setaffinity(0, {CLIENT_CORE})
        tally, samples, ended = soak(world, asked.minutes * 60, asked.seed)
        errors = logged(world.folder)
    faults = judged(tally, samples, ended, errors, asked.growth)
    text = report(tally, samples, faults, asked)
    print(text)
    print(*tally.complaints, *faults, sep="\n", file=sys.stderr)
    if not asked.print_only:
        sections.put("soak", text)
    return int(bool(faults))


def soak(world: World, seconds: float, seed: int) -> tuple[Tally, list[Held], bool]:
    """Let everybody at it; returns what became of it, what was held, and whether a process ended."""
    tally, over = Tally(), threading.Event()
    threads = [
        threading.Thread(target=_again, args=(kind, world, tally, over, Random(f"{seed} {kind.name}")), name=kind.name)
        for kind in (*CLIENTS, *CONTROLS)
    ]
    with Watched(world.pids()) as watched:
        for thread in threads:
            thread.start()
        try:
            time.sleep(seconds)
        finally:  # also when somebody presses Ctrl-C
            over.set()
            for thread in threads:
                thread.join()
    return tally, watched.samples, watched.ended


def _again(kind: type[Activity], world: World, tally: Tally, over: threading.Event, rng: Random) -> None:
    counted = tally.of(kind.name)
    activity = kind(world, rng, counted)
    while not over.is_set():
        began = time.monotonic()
        try:
            activity.once()
        except Exception as error:  # noqa: BLE001  (whatever a client raises is a finding)
            tally.complain(kind.name, error)
        else:
            counted.done += 1
            counted.seconds.append(time.monotonic() - began)
        over.wait(rng.expovariate(1 / kind.pause_s))
    activity.close()


# --- the verdict ----------------------------------------------------------------------------------------


def judged(tally: Tally, samples: list[Held], ended: bool, errors: list[str], most_growth: float) -> list[str]:
    """A sentence for each miss."""
    faults = [f"{tally.wrong} requests went wrong that no client caused"] if tally.wrong else []
    faults += ["a process of the server ended"] if ended else []
    faults += [f"the server logged: {line}" for line in errors[:5]]
    idle = [name for name, counted in tally.counted.items() if not counted.done]
    faults += [f"nothing was done: {', '.join(idle)}"] if idle else []
    half = second_half(samples)
    grown, mean = _grown(half)
    if grown > most_growth * mean:
        faults.append(f"memory grew by {grown / mean:.1%} over the second half, more than {most_growth:.1%}")
    files, threads = half[-1].files - half[0].files, half[-1].threads - half[0].threads
    faults += [f"{files} more open files"] if files > MORE_FILES else []
    faults += [f"{threads} more threads"] if threads > MORE_THREADS else []
    return faults


def _grown(half: list[Held]) -> tuple[float, float]:
    """By how many bytes the line through the samples rises, and their mean."""
    return growth([(held.at_s, held.resident) for held in half]), sum(held.resident for held in half) / len(half)


def report(tally: Tally, samples: list[Held], faults: list[str], asked: argparse.Namespace) -> str:
    """The part of the page."""
    rows = [
        [name, f"{c.done:,}", f"{c.refused:,}", f"{c.left:,}", f"{c.wrong:,}"]
        + [f"{c.quantile_ms(share):.1f}" for share in (0.5, 0.99)]
        for name, c in tally.counted.items()
    ]
    half = second_half(samples)
    grown, mean = _grown(half)
    at = [samples[min(len(samples) - 1, int(len(samples) * share))] for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
    held = [
        ["resident, MiB", *(f"{each.resident / 2**20:.1f}" for each in at)],
        ["of it no pages of files, MiB", *(f"{each.anonymous / 2**20:.1f}" for each in at)],
        ["open files", *(str(each.files) for each in at)],
        ["threads", *(str(each.threads) for each in at)],
    ]
    facts = ", ".join(f"{name} {value}" for name, value in machine.describe().items() if name != "wrk")
    return (
        f"## Everything at once\n\nWritten by `make soak`. Machine: {facts}. {asked.minutes:g} minutes; one worker on "
        f"one core, all clients on another; {asked.models} models of {MODEL_BYTES // 1000} KB and room for "
        f"{asked.budget_share:.0%} of them. A client does the next thing a random pause after the last; times are of "
        "the whole of what it does. Refused: what had to be. Left: clients that went away.\n\n"
        + table(["what", "done", "refused", "left", "wrong", "p50 ms", "p99 ms"], rows)
        + "\n\nThe supervisor and the worker together, at the start, after each quarter and at the end:\n\n"
        + table(["", "0", "¼", "½", "¾", "1"], held)
        + f"\n\nOver the second half the straight line through their memory rises by {grown / 2**20:+.1f} MiB "
        f"({grown / mean:+.1%}; allowed {asked.growth:.0%}). "
        + ("Nothing went wrong.\n" if not faults else f"**Missed**: {'; '.join(faults)}.\n")
    )


if __name__ == "__main__":
    sys.exit(main())
