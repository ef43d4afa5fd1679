"""The recorder: what each policy promises when the disk is slow, full, or gone."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
from structlog.testing import capture_logs

from kaname.call import DROPPED, Answer, Call, Outcome, Outputs, Row
from kaname.clock import Clock, ManualClock, SystemClock
from kaname.errors import Overloaded, RateLimited, Unavailable
from kaname.predictions.items import item_of
from kaname.predictions.recorder import Recorder
from kaname.settings import Recording
from kaname.storage.events.lmdb.writer import LmdbWriter
from kaname.storage.events.types import EventWriter
from tests.predictions.traffic import (
    FLOWERS,
    TARGET,
    answer,
    flower_run,
    no_door,
    open_reader,
    recording,
    table_call,
    until,
)

ROW: Row = [1.0, 2.0, "red"]


class Valve:
    """A writer on a disk that can be stopped (`gate`) and be made to refuse (`refuse`)."""

    def __init__(self, inner: LmdbWriter) -> None:
        self.inner = inner
        self.gate = threading.Event()
        self.gate.set()
        self.refuse = False
        self.attempts = 0
        self.waiting = threading.Event()

    def append(self, topic: str, shard: str, events: Sequence[tuple[int, bytes]]) -> int:
        return self.inner.append(topic, shard, events)

    def append_block(self, topic: str, shard: str, count: int, first_us: int, last_us: int, value: bytes) -> int:
        return self.inner.append_block(topic, shard, count, first_us, last_us, value)

    def rewrite(self, topic: str, shard: str, offset: int, value: bytes) -> bool:
        return self.inner.rewrite(topic, shard, offset, value)

    def commit(self) -> None:
        self.attempts += 1
        if not self.gate.is_set():
            self.waiting.set()
            assert self.gate.wait(20)
        if self.refuse:
            raise OSError(28, "No space left on device")
        self.inner.commit()

    def close(self) -> None:
        self.inner.close()


@pytest.fixture
def valve(tmp_path: Path) -> Valve:
    return Valve(LmdbWriter(tmp_path, 0, SystemClock()))


def start(valve: EventWriter, clock: Clock | None = None, buffer_bytes: int = 1_000_000) -> Recorder:
    recorder = Recorder(valve, clock or SystemClock(), commit_ms=2.0, buffer_bytes=buffer_bytes)
    recorder.start(asyncio.get_running_loop())
    return recorder


def recorded(folder: Path) -> list[str]:
    return sorted(event.request_id for event in open_reader(folder).scan())


def test_answers_refusals_and_the_end_of_the_process_are_recorded(tmp_path: Path) -> None:
    """What was handed over before `stop` is on disk after it, of several versions, with nothing dropped."""
    with recording(tmp_path) as recorder:
        handlers = [recorder.observer(TARGET, FLOWERS, Recording()).each for _ in range(3)]
        run = flower_run(300)
        for i in range(300):
            outcome: Outcome = RateLimited("no") if i % 10 == 9 else answer(1, i, run)
            assert handlers[i % 3](table_call(f"{i:03}", [ROW]), outcome) is outcome
    assert recorder.counts.recorded == 300
    assert recorder.counts.dropped == 0
    events = open_reader(tmp_path).tail(last=1000)
    assert sorted(event.request_id for event in events) == [f"{i:03}" for i in range(300)]
    assert sum(event.status == "error" for event in events) == 30
    assert all(event.outputs["label"] == [int(event.request_id)] for event in events if event.status == "ok")


def test_a_model_that_is_not_recorded_leaves_nothing(tmp_path: Path) -> None:
    """With `enabled: false` the handler returns the outcome and nothing reaches the log."""
    with recording(tmp_path) as recorder:
        outcome = answer()
        assert (
            recorder.observer(TARGET, FLOWERS, Recording(enabled=False)).each(table_call("x", [ROW]), outcome)
            is outcome
        )
    assert recorded(tmp_path) == []


def test_commits_are_reported_and_a_lonely_event_is_written_soon(tmp_path: Path) -> None:
    """An idle recorder wakes for one event and says how long the commit took."""
    commits: list[tuple[float, int, int]] = []

    async def scenario() -> None:
        with recording(tmp_path, on_commit=lambda *found: commits.append(found)) as recorder:
            handle = recorder.observer(TARGET, FLOWERS, Recording()).each
            for i in range(3):
                handle(table_call(str(i), [ROW]), answer())
                await until(lambda: recorder.counts.recorded == i + 1, 2.0)  # noqa: B023

    asyncio.run(scenario())
    assert len(commits) == 3
    assert all(seconds > 0 and events == 1 and size > 50 for seconds, events, size in commits)


def test_drop_counts_what_the_full_buffer_cannot_take(tmp_path: Path, valve: Valve) -> None:
    """While the disk stands still answers go on at once; what fits is recorded later, the rest is counted."""

    async def scenario() -> None:
        recorder = start(valve, buffer_bytes=50_000)
        handle = recorder.observer(TARGET, FLOWERS, Recording(policy="drop")).each
        valve.gate.clear()
        for i in range(500):
            outcome = answer()
            assert handle(table_call(f"{i:03}", [ROW]), outcome) is outcome
        kept = 500 - recorder.counts.dropped
        assert 30 < kept < 100
        valve.gate.set()
        await until(lambda: recorder.counts.recorded == kept)
        handle(table_call("later", [ROW]), answer())
        recorder.stop()
        assert recorder.counts.recorded == kept + 1
        valve.close()
        assert recorded(tmp_path) == [*(f"{i:03}" for i in range(kept)), "later"]

    asyncio.run(scenario())


def test_sample_keeps_its_share_once_the_buffer_is_half_full(tmp_path: Path, valve: Valve) -> None:
    """Below half everything is kept, above it every fourth event at a share of 0.25; all others are counted."""

    async def scenario() -> None:
        recorder = start(valve, buffer_bytes=200_000)
        handle = recorder.observer(TARGET, FLOWERS, Recording(policy="sample", sample=0.25)).each
        valve.gate.clear()
        half = 0
        while not recorder.counts.sampled_out:
            handle(table_call("a", [ROW]), answer())
            half += 1
        for _ in range(99):
            handle(table_call("b", [ROW]), answer())
        assert recorder.counts.sampled_out == 75
        valve.gate.set()
        recorder.stop()
        valve.close()
        assert recorded(tmp_path).count("a") == half - 1
        assert recorded(tmp_path).count("b") == 25

    asyncio.run(scenario())


def test_block_lets_no_answer_go_before_its_commit(tmp_path: Path, valve: Valve) -> None:
    """Answers wait while the commit waits, and all of one commit go on in one turn of the loop, in order."""

    async def scenario() -> None:
        recorder = start(valve)
        handle = recorder.observer(TARGET, FLOWERS, Recording(policy="block")).each
        answered: list[str] = []
        valve.gate.clear()
        for i in range(50):
            call = table_call(f"{i:02}", [ROW], door=lambda call, outcome: answered.append(call.request_id))
            call.back(handle)
            call.end(answer())
        await until(valve.waiting.is_set)
        assert answered == []
        valve.gate.set()
        await until(lambda: len(answered) == 50)
        assert answered == sorted(answered)
        assert recorded(tmp_path) == answered
        recorder.stop()
        valve.close()

    asyncio.run(scenario())


def test_block_fails_at_the_deadline_while_the_disk_refuses_and_recovers(tmp_path: Path, valve: Valve) -> None:
    """On a full disk a blocked answer becomes Unavailable at its deadline, others wait and then go on."""

    async def scenario() -> None:
        recorder = start(valve)
        handle = recorder.observer(TARGET, FLOWERS, Recording(policy="block")).each
        outcomes: dict[str, Outcome] = {}
        dropped = DROPPED.count

        def door(call: Call, outcome: Outcome) -> None:
            outcomes[call.request_id] = outcome

        valve.refuse = True
        now = SystemClock().monotonic_ns()
        for name, deadline in (("hurried", now + 150_000_000), ("patient", now + 60_000_000_000), ("endless", 0)):
            call = table_call(name, [ROW], door=door, deadline_ns=deadline)
            call.back(handle)
            call.end(answer())
        await until(lambda: "hurried" in outcomes)
        assert isinstance(outcomes["hurried"], Unavailable)
        assert list(outcomes) == ["hurried"]
        assert recorder.counts.failures >= 2
        valve.refuse = False
        await until(lambda: len(outcomes) == 3)
        assert isinstance(outcomes["patient"], Answer)
        assert isinstance(outcomes["endless"], Answer)
        recorder.stop()
        valve.close()
        assert recorded(tmp_path) == ["endless", "hurried", "patient"]
        assert dropped == DROPPED.count  # nobody was ended twice

    asyncio.run(scenario())


def test_block_refuses_at_once_when_the_buffer_is_full(valve: Valve) -> None:
    """The buffer is bounded under `block` too: one more answer is Overloaded, counted, and not held."""

    async def scenario() -> None:
        recorder = start(valve, buffer_bytes=10_000)
        handle = recorder.observer(TARGET, FLOWERS, Recording(policy="block")).each
        valve.gate.clear()
        found = [handle(table_call(str(i), [ROW]), answer()) for i in range(100)]
        held = found.count(None)
        assert 5 < held < 20
        assert all(isinstance(outcome, Overloaded) and outcome.retry_after_s for outcome in found[held:])
        assert recorder.counts.refused == 100 - held
        valve.gate.set()
        recorder.stop()
        valve.close()

    asyncio.run(scenario())


def test_other_policies_answer_while_the_disk_refuses_and_it_is_said_once_a_minute(valve: Valve) -> None:
    """Under `drop` a refusing disk delays nobody; the log says it once, and again a minute later."""

    async def scenario() -> None:
        clock = ManualClock()
        recorder = start(valve, clock)
        handle = recorder.observer(TARGET, FLOWERS, Recording()).each
        valve.refuse = True
        with capture_logs() as lines:
            outcome = answer()
            assert handle(table_call("a", [ROW]), outcome) is outcome
            await until(lambda: recorder.counts.failures >= 3)
            assert handle(table_call("b", [ROW]), outcome) is outcome
            assert len(lines) == 1
            assert "cannot be written" in lines[0]["event"]
            clock.advance(ms=61_000)
            await until(lambda: len(lines) == 2)
        valve.refuse = False
        recorder.stop()
        assert recorder.counts.recorded == 2
        valve.close()

    asyncio.run(scenario())


def test_stop_gives_up_on_a_dead_disk_and_fails_who_waits(valve: Valve) -> None:
    """With a disk that never comes back `stop` returns after its time; the lost events are counted."""

    async def scenario() -> None:
        recorder = start(valve)
        outcomes: list[Outcome] = []
        call = table_call("x", [ROW], door=lambda _, outcome: outcomes.append(outcome))
        call.back(recorder.observer(TARGET, FLOWERS, Recording(policy="block")).each)
        valve.refuse = True
        call.end(answer())
        await until(lambda: recorder.counts.failures >= 1)
        recorder.stop(timeout_s=0.2)
        await until(lambda: len(outcomes) == 1)
        assert isinstance(outcomes[0], Unavailable)
        assert recorder.counts.lost == 1
        valve.refuse = False
        valve.close()

    asyncio.run(scenario())


def test_what_no_log_can_hold_is_counted_and_does_not_end_the_thread(tmp_path: Path) -> None:
    """A model name longer than a key: its events are lost and counted, blocked answers fail, others are recorded."""

    async def scenario() -> None:
        with recording(tmp_path) as recorder:
            endless = msgspec.structs.replace(TARGET, model="m" * 600)
            outcomes: list[Outcome] = []
            call = table_call("x", [ROW], door=lambda _, outcome: outcomes.append(outcome))
            call.back(recorder.observer(endless, FLOWERS, Recording(policy="block")).each)
            with capture_logs() as lines:
                call.end(answer())
                await until(lambda: len(outcomes) == 1)
            assert isinstance(outcomes[0], Unavailable)
            assert lines[0]["model"] == "m" * 600
            assert recorder.counts.lost == 1
            recorder.observer(TARGET, FLOWERS, Recording()).each(table_call("good", [ROW]), answer())
        assert recorded(tmp_path) == ["good"]

    asyncio.run(scenario())


def test_lanes_of_retired_versions_go_after_their_events(tmp_path: Path) -> None:
    """A handler that no snapshot holds any more is forgotten once its last event is on disk."""

    async def scenario() -> None:
        with recording(tmp_path) as recorder:
            kept = recorder.observer(TARGET, FLOWERS, Recording()).each
            for i in range(20):
                recorder.observer(TARGET, FLOWERS, Recording()).each(table_call(f"{i:02}", [ROW]), answer())
            gc.collect()
            await until(lambda: recorder.counts.recorded == 20)
            await until(lambda: len(recorder._lanes) == 1)
            kept(table_call("20", [ROW]), answer())
        assert recorded(tmp_path) == [f"{i:02}" for i in range(21)]

    asyncio.run(scenario())


def test_a_fault_of_a_door_stays_with_its_call(tmp_path: Path) -> None:
    """Under `block` an exception in one door does not keep the next call of the commit from its answer."""

    async def scenario() -> None:
        with recording(tmp_path) as recorder:
            handle = recorder.observer(TARGET, FLOWERS, Recording(policy="block")).each
            answered: list[str] = []

            def broken(_: Call, __: Outcome) -> None:
                raise RuntimeError("broken door")

            for name, door in (("a", broken), ("b", lambda call, _: answered.append(call.request_id))):
                call = table_call(name, [ROW], door=door)
                call.back(handle)
                call.end(answer())
            await until(lambda: answered == ["b"])

    asyncio.run(scenario())


def test_handlers_below_the_recorder_run_when_a_held_call_goes_on(tmp_path: Path) -> None:
    """A handler pushed before the recorder's sees the outcome after the commit, once."""

    async def scenario() -> None:
        seen: list[Outcome] = []
        with recording(tmp_path) as recorder:
            call = table_call("a", [ROW], door=no_door)

            def below(_: Call, outcome: Outcome) -> Outcome:
                seen.append(outcome)
                return outcome

            call.back(below)
            call.back(recorder.observer(TARGET, FLOWERS, Recording(policy="block")).each)
            call.end(answer())
            assert seen == []
            await until(lambda: call.done)
        assert len(seen) == 1

    asyncio.run(scenario())


@pytest.mark.parametrize("celled", [True, False], ids=["cells", "tables"])
def test_calls_of_a_run_are_recorded_together_as_they_are_alone(tmp_path: Path, *, celled: bool) -> None:
    """Rows, values, ends and order are the same, in one call of the recorder."""
    tables = [[[1.0, 2.0, 0.0]], [[3.0, 4.0, 1.0], [5.0, 6.0, 0.0]], [[7.0, 8.0, 1.0]]]
    outputs = flower_run(4)
    if celled:
        outputs = Outputs(outputs.tensors, np.array([row for table in tables for row in table]))
    for folder in ("together", "alone"):
        calls = [table_call(f"r{i}", table, started_ns=1_000 * i) for i, table in enumerate(tables)]
        with recording(tmp_path / folder) as recorder:
            observer = recorder.observer(TARGET, FLOWERS, Recording())
            for call in calls:
                call.ended_ns = call.started_ns + 500_000
            if folder == "together":
                assert observer.together is not None
                observer.together(calls, outputs)
            else:
                for call, start, stop in zip(calls, (0, 1, 3), (1, 3, 4), strict=True):
                    observer.each(call, Answer(outputs, start, stop))
        assert recorder.counts.recorded == 3
    together, alone = (
        [msgspec.structs.replace(one, latency_us=0, time_us=0) for one in open_reader(tmp_path / folder).tail()]
        for folder in ("together", "alone")
    )
    assert together == alone
    assert [len(one.inputs["length"]) for one in together] == [1, 2, 1]


def test_what_needs_a_look_at_each_call_is_not_recorded_together(tmp_path: Path) -> None:
    """A blocking record holds each call, a sampling one chooses among them."""
    with recording(tmp_path) as recorder:
        for how in (Recording(policy="block"), Recording(policy="sample")):
            assert recorder.observer(TARGET, FLOWERS, how).together is None


def test_a_run_is_dropped_whole_when_the_buffer_is_full(tmp_path: Path) -> None:
    """Each of its calls is counted."""
    with recording(tmp_path, buffer_bytes=1) as recorder:
        together = recorder.observer(TARGET, FLOWERS, Recording(policy="drop")).together
        assert together is not None
        for _ in range(2):  # the second comes before the thread has written the first, or after: both are accounted for
            together([table_call(f"r{i}", [ROW]) for i in range(3)], flower_run(3))
    counts = recorder.counts
    assert counts.recorded + counts.dropped == 6


def test_of_thousands_of_models_only_those_that_were_asked_are_looked_at(tmp_path: Path) -> None:
    """What comes while the writer takes a lane is not left behind; a quiet lane costs nothing."""
    with recording(tmp_path, commit_ms=1.0) as recorder:
        handlers = [recorder.observer(TARGET, FLOWERS, Recording()).each for _ in range(2_000)]
        quiet = recorder._lanes[1]
        quiet.pending.append(item_of(table_call("nobody said so", [ROW]), answer(), 0))
        for i in range(20_000):
            handlers[0](table_call(f"r{i}", [ROW]), answer())
        handlers[7](table_call("once", [ROW]), answer())
    assert recorder.counts.recorded == 20_001
    assert len(quiet.pending) == 1
