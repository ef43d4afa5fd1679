"""What the prediction record costs: on the event loop, in the writer thread, and per commit.

    python benchmarks/event_log.py [--events 96000] [--folder DIR]

The loop side is the handler alone; the writer side is the CPU time of the writer thread (it shares the
interpreter with the loop, so this is time taken from answers); commits are timed with fsync on the disk of DIR.
The last lines compare the writer's time with and without encryption at rest, in turns.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from kaname.call import Answer, Call, Outcome, Outputs, Principal, Target
from kaname.clock import SystemClock
from kaname.predictions.encoding import encode
from kaname.predictions.items import Item, item_of
from kaname.predictions.recorder import Recorder
from kaname.predictions.source import Source
from kaname.settings import Recording
from kaname.signature import Feature, OutputSpec, Signature
from kaname.storage.events.lmdb.writer import LmdbWriter
from kaname.storage.sealing.keys import Keyring
from kaname.storage.sealing.segments import BlockSealer
from kaname.tensors import TensorSpec

GROUP = 16
"""Single-row requests that share a run, as with 16 connections."""

PER_SECOND = 60_000
ROUNDS = 9

IRIS = Signature(
    task="classification",
    inputs=(TensorSpec(name="input", datatype="FP32", shape=(-1, 4)),),
    outputs=(
        OutputSpec(name="label", datatype="INT64", shape=(-1,), role="label"),
        OutputSpec(name="probabilities", datatype="FP32", shape=(-1, 3), role="probabilities"),
    ),
    features=tuple(Feature(name=name, datatype="FP32") for name in ("sepal_l", "sepal_w", "petal_l", "petal_w")),
    labels=(0, 1, 2),
)
TARGET = Target(model="iris", model_id=1, version="1", version_id=1)
PRINCIPAL = Principal("key-1", "bench", may_predict=None, scopes=frozenset())


def _door(_: Call, __: Outcome) -> None:
    """Nobody waits."""


def requests(count: int, *, tensors: bool) -> list[tuple[Call, Answer]]:
    """Answered single-row calls, `GROUP` of them per run."""
    found: list[tuple[Call, Answer]] = []
    rng = np.random.default_rng(7)
    while len(found) < count:
        run = Outputs((np.arange(GROUP) % 3, rng.random((GROUP, 3), dtype=np.float32)))
        run.as_list(0), run.as_list(1)  # the answers' templates have done so already
        for row in range(GROUP):
            call = Call(
                f"{len(found):028x}",
                PRINCIPAL,
                _door,
                rows=1,
                table=None if tensors else [[5.1, 3.5, 1.4, 0.2]],
                tensors=(rng.random((1, 4), dtype=np.float32),) if tensors else None,
                started_ns=time.monotonic_ns(),
            )
            found.append((call, Answer(run, row, row + 1)))
    return found


def loop_side(folder: Path, traffic: list[tuple[Call, Answer]]) -> float:
    """µs per call of the handler alone (no thread runs)."""
    writer = LmdbWriter(folder, 0, SystemClock())
    recorder = Recorder(writer, SystemClock())
    handle = recorder.handler(TARGET, IRIS, Recording())
    lane = recorder._lanes[0]  # the thread would take the list as often; here it must not run beside the loop
    spent = 0.0
    for start in range(0, len(traffic), 600):
        part = traffic[start : start + 600]
        began = time.perf_counter()
        for call, answer in part:
            handle(call, answer)
        middle = time.perf_counter()
        for _call, _answer in part:
            pass
        spent += 2 * middle - began - time.perf_counter()
        lane.take()
        recorder._buffer.written = recorder._buffer.queued
    writer.close()
    return spent / len(traffic) * 1e6


def writer_side(
    folder: Path, slot: int, traffic: list[tuple[Call, Answer]], per_commit: int, *, encrypted: bool = False
) -> dict[str, float]:
    """CPU µs per event of encoding and of encoding + commit, and commit times, `per_commit` events in each."""
    source, clock = Source(TARGET, IRIS, Recording()), SystemClock()
    sealer = BlockSealer(folder / str(slot), Keyring({"bench": bytes(32)}), clock) if encrypted else None
    writer = LmdbWriter(folder, slot, clock, sealer=sealer)
    items: list[Item] = [item_of(call, answer, time.monotonic_ns()) for call, answer in traffic]
    encoding = 0
    size = 0
    commits: list[float] = []
    cpu = time.thread_time_ns()
    for start in range(0, len(items), per_commit):
        began = time.thread_time_ns()
        blocks = encode(source, items[start : start + per_commit], 0)
        encoding += time.thread_time_ns() - began
        for block in blocks:
            writer.append_block("predictions", "iris", *block)
            size += len(block.value)
        wall = time.perf_counter()
        writer.commit()
        commits.append(time.perf_counter() - wall)
    cpu = time.thread_time_ns() - cpu
    writer.close()
    commits.sort()
    return {
        "encode_us": encoding / len(items) / 1e3,
        "total_us": cpu / len(items) / 1e3,
        "bytes": size / len(items),
        "commit_p50_ms": statistics.median(commits) * 1e3,
        "commit_p99_ms": commits[int(len(commits) * 0.99)] * 1e3,
        "events_per_s": len(items) / sum(commits) if commits else 0.0,
    }


async def together(folder: Path, traffic: list[tuple[Call, Answer]]) -> dict[str, float]:
    """Loop and thread at once at `PER_SECOND`, as in a busy server: CPU of the process, and what commits took.

    The CPU holds the turns of the event loop too, which a server pays anyway.
    """
    commits: list[float] = []
    writer = LmdbWriter(folder, 0, SystemClock())
    recorder = Recorder(writer, SystemClock(), on_commit=lambda seconds, _events, _bytes: commits.append(seconds))
    handle = recorder.handler(TARGET, IRIS, Recording())
    recorder.start(asyncio.get_running_loop())
    cpu, began = time.process_time(), time.perf_counter()
    for start in range(0, len(traffic), GROUP):
        for call, answer in traffic[start : start + GROUP]:
            handle(call, answer)
        ahead = began + start / PER_SECOND - time.perf_counter()
        await asyncio.sleep(max(ahead, 0.0))
    recorder.stop()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - began
    writer.close()
    commits.sort()
    return {
        "events_per_s": len(traffic) / wall,
        "cpu_us": cpu / len(traffic) * 1e6,
        "commits": len(commits),
        "commit_p99_ms": commits[int(len(commits) * 0.99)] * 1e3,
        "dropped": recorder.counts.dropped,
    }


def encryption(folder: Path, traffic: list[tuple[Call, Answer]], per_commit: int) -> str:
    """The writer thread's CPU per event with and without encryption, medians of rounds in turns."""
    spent: dict[bool, list[float]] = {False: [], True: []}
    for number in range(ROUNDS * 2):
        encrypted = bool(number % 2)
        found = writer_side(folder / f"{per_commit}-{number}", 0, traffic, per_commit, encrypted=encrypted)
        spent[encrypted].append(found["total_us"])
    plain, sealed = statistics.median(spent[False]), statistics.median(spent[True])
    return f"{plain:.2f} µs per event, encrypted {sealed:.2f} µs: {sealed - plain:+.3f} µs"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--events", type=int, default=96_000)
    parser.add_argument("--folder", type=Path, default=None, help="where to write; its disk is what is measured")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        for slot, tensors in enumerate((False, True)):
            traffic = requests(options.events, tensors=tensors)
            gc.collect()
            gc.freeze()
            loop = min(loop_side(folder / f"loop{slot}{i}", traffic) for i in range(3))
            print(f"{'tensors' if tensors else 'table'}: loop {loop:.2f} µs per call")
            for per_commit in (10, 100, 600):
                share = traffic[: per_commit * 160]
                found = writer_side(folder, slot * 10 + per_commit, share, per_commit)
                print(f"  {per_commit:4d} per commit: " + ", ".join(f"{k} {v:.2f}" for k, v in found.items()))
            live = asyncio.run(together(folder / f"live{slot}", traffic))
            print("  loop and thread at once: " + ", ".join(f"{k} {v:.2f}" for k, v in live.items()))
        for per_commit in (10, 100, 600):
            share = requests(per_commit * 60, tensors=False)
            print(f"encryption, {per_commit} events per commit: {encryption(folder / 'sealed', share, per_commit)}")


if __name__ == "__main__":
    main()
