"""The cache's step in front of a real lane: asked once, answered many times, nobody harmed by another's fate."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import pytest

from kaname.call import Answer, enter
from kaname.clock import ManualClock
from kaname.errors import DeadlineExceeded, KanameError, ModelFailed
from kaname.inference.cache.meters import CacheMeters
from kaname.inference.cache.step import ResultCache
from kaname.inference.crew import Crew
from kaname.inference.lane import Lane
from kaname.models.types import VersionInfo
from kaname.resilience.deadlines import Deadlines
from kaname.runtimes.types import Profile
from kaname.settings import Caching
from kaname.telemetry.metrics import Metrics
from tests.inference.runtime import POISON, ROWS, TOO_LARGE, Asked, RowRuntime

INFO = VersionInfo(
    id=7,
    model_id=1,
    model="rows",
    version="1",
    status="deployed",
    artefact="a" * 64,
    source="onnx",
    runtime="onnx",
    signature=ROWS,
    profile=Profile(rows=(1,), us=(1.0,), best_rows=8, exact=True, splits=True),
    created_us=0,
)


class Bench:
    """A cache in front of a lane whose runs wait on a thread while `hold` says so."""

    def __init__(self, folder: Path, caching: Caching) -> None:
        self.loop = asyncio.new_event_loop()
        self.clock = ManualClock()
        self.deadlines = Deadlines(self.clock, self.loop)
        self.crew = Crew(1, self.loop)
        self.runtime = RowRuntime()
        self.lane = Lane(
            self.runtime, ROWS, best_rows=8, loop=self.loop, clock=self.clock, deadlines=self.deadlines, crew=self.crew
        )
        self.metrics = Metrics(folder, 0)
        self.cache = ResultCache(caching, self.deadlines, self.meters)
        self.step = self.cache.step(INFO, self.lane.submit)

    def meters(self, info: VersionInfo = INFO) -> CacheMeters:
        return CacheMeters(self.metrics, info.model, info.version)

    def counts(self) -> tuple[float, float, float]:
        """Hits, joined, misses."""
        meters = self.meters()
        return meters.hit.value, meters.joined.value, meters.miss.value

    def asked(self, rows: Sequence[Sequence[float]], *, ms: float = 0, as_table: bool = True) -> Asked:
        """Enter a call into the step."""
        asked = Asked(rows, as_table=as_table, clock=self.clock, ms=ms)
        enter(self.step, asked.call)
        return asked

    def until(self, ended: Callable[[], bool]) -> None:
        """Let the loop turn."""

        async def turn() -> None:
            async with asyncio.timeout(10):
                while not ended():
                    await asyncio.sleep(0.001)

        self.loop.run_until_complete(turn())

    def all_ended(self, *asked: Asked) -> None:
        self.until(lambda: all(one.outcomes for one in asked))

    def hold(self) -> threading.Event:
        """Runs wait from now on, until the event is set."""
        self.runtime.go.clear()
        return self.runtime.go

    def close(self) -> None:
        self.runtime.go.set()
        self.crew.close()
        self.metrics.close()
        self.deadlines.close()
        self.loop.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path, Caching(enabled=True, ttl_ms=1_000))
    yield made
    made.close()


ROW = [[1.0, 2.0, 3.0]]


def answered_from_cache(asked: Asked) -> bool:
    (outcome,) = asked.outcomes
    assert isinstance(outcome, Answer)
    return outcome.outputs.cached


def test_the_second_of_equal_requests_is_answered_at_once_from_what_was_kept(bench: Bench) -> None:
    """Without a run, from a table and from tensors, until its time is over."""
    first = bench.asked(ROW)
    bench.all_ended(first)
    again, binary = bench.asked(ROW), bench.asked(ROW, as_table=False)
    for asked in (first, again, binary):
        asked.check_answer()
    assert [answered_from_cache(asked) for asked in (first, again, binary)] == [False, True, True]
    assert len(bench.runtime.runs) == 1
    bench.clock.advance(ms=1_000)
    late = bench.asked(ROW)
    bench.all_ended(late)
    assert (len(bench.runtime.runs), bench.counts()) == (2, (2, 0, 2))


def test_equal_requests_at_once_are_one_run(bench: Bench) -> None:
    """Twenty callers, one row computed; others run beside them."""
    go = bench.hold()
    equal = [bench.asked(ROW) for _ in range(20)]
    other = bench.asked([[2.0, 2.0, 3.0]])
    go.set()
    bench.all_ended(*equal, other)
    for asked in (*equal, other):
        asked.check_answer()
    assert sorted(row for run in bench.runtime.runs for row in run) == [1.0, 2.0]
    assert [answered_from_cache(asked) for asked in equal] == [False] + [True] * 19
    assert bench.counts() == (0, 19, 2)


def test_a_leader_whose_time_is_over_hands_on_to_the_next(bench: Bench) -> None:
    """The followers get their answer; one more run, not one for each."""
    go = bench.hold()
    leader = bench.asked(ROW, ms=50)
    followers = [bench.asked(ROW, ms=60_000) for _ in range(5)]
    bench.until(bench.runtime.running.is_set)
    bench.clock.advance(ms=100)
    bench.deadlines.sweep()
    assert isinstance(leader.error, DeadlineExceeded)
    go.set()
    bench.all_ended(*followers)
    for asked in followers:
        asked.check_answer()
    assert len(bench.runtime.runs) == 2


def test_a_leader_whose_caller_left_before_the_run_harms_nobody(bench: Bench) -> None:
    """The next one leads; followers that have left, too, are not computed for."""
    go = bench.hold()
    blocker = bench.asked([[9.0, 9.0, 9.0]])
    bench.until(bench.runtime.running.is_set)
    leader, left, stays = bench.asked(ROW), bench.asked(ROW), bench.asked(ROW)
    leader.call.gone = left.call.gone = True
    go.set()
    bench.all_ended(blocker, leader, left, stays)
    stays.check_answer()
    assert "left" in str(leader.error)
    assert "left" in str(left.error)
    assert sum(run.count(1.0) for run in bench.runtime.runs) == 1


def test_a_follower_keeps_its_own_deadline(bench: Bench) -> None:
    """It is refused in time while the leader still waits, and is let go of."""
    go = bench.hold()
    leader, follower = bench.asked(ROW, ms=60_000), bench.asked(ROW, ms=50)
    bench.until(bench.runtime.running.is_set)
    bench.clock.advance(ms=100)
    bench.deadlines.sweep()
    assert isinstance(follower.error, DeadlineExceeded)
    go.set()
    bench.all_ended(leader)
    leader.check_answer()


def test_a_failure_is_no_answer_to_keep_and_no_follower_inherits_it(bench: Bench) -> None:
    """Each asks the model by itself; the next request asks it again."""
    row = [[1.0, POISON, 0.0]]
    go = bench.hold()
    failing = [bench.asked(row) for _ in range(4)]
    go.set()
    bench.all_ended(*failing)
    assert all(isinstance(asked.error, ModelFailed) for asked in failing)
    assert len({id(asked.error) for asked in failing}) == 4
    again = bench.asked(row)
    bench.all_ended(again)
    assert isinstance(again.error, ModelFailed)
    assert bench.counts() == (0, 0, 5)


def test_an_input_that_does_not_fit_is_refused_as_without_a_cache(bench: Bench) -> None:
    """The error is that of the run, not of the key."""
    unfit = bench.asked([[1.0, TOO_LARGE, 0.0]])
    bench.all_ended(unfit)
    assert unfit.error.code == "invalid_input"


def test_versions_never_share_answers(bench: Bench) -> None:
    """The same input for the next version is computed anew."""
    first = bench.asked(ROW)
    bench.all_ended(first)
    bench.step = bench.cache.step(msgspec.structs.replace(INFO, id=8, version="2"), bench.lane.submit)
    second = bench.asked(ROW)
    bench.all_ended(second)
    assert len(bench.runtime.runs) == 2


def test_rows_of_a_batch_are_kept_without_their_neighbours(bench: Bench) -> None:
    """What is kept owns its memory: one row, not the batch that it was computed in."""
    go = bench.hold()
    bench.asked([[5.0, 5.0, 5.0]])
    bench.until(bench.runtime.running.is_set)
    batch = [bench.asked([[float(i), 0.0, 0.0]]) for i in range(10, 15)]
    go.set()
    bench.all_ended(*batch)
    assert bench.runtime.runs[-1][1:3] == [11.0, 12.0]
    (again,) = bench.asked([[11.0, 0.0, 0.0]]).outcomes
    assert isinstance(again, Answer)
    assert all(tensor.base is None for tensor in again.tensors())


def test_a_path_that_fails_by_itself_ends_the_calls_and_leaves_nothing_behind(bench: Bench) -> None:
    """A step behind the cache that raises is asked anew by the next request."""

    def broken(_: object) -> None:
        raise RuntimeError("broken")

    bench.step = bench.cache.step(INFO, broken)
    for _ in range(2):
        assert isinstance(bench.asked(ROW).error, KanameError)
    assert bench.counts() == (0, 0, 2)
