"""Lanes, case by case: the published failures of other servers' batchers, and the promises of this one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from onnx import TensorProto, helper

from kaname.call import Answer, Call, Outcome
from kaname.clock import ManualClock
from kaname.errors import DeadlineExceeded, InvalidInput, ModelFailed, Overloaded
from kaname.inference.crew import Crew
from kaname.inference.lane import Lane
from kaname.resilience.deadlines import Deadlines
from kaname.runtimes.catalog import open_session
from kaname.runtimes.types import Session, SessionOptions
from kaname.signature import Signature
from kaname.tensors import Tensor
from tests.runtimes.graphs import ROWS as NUMBERS
from tests.runtimes.graphs import doubled, graph, signature_of, summed, summed_columns

from .runtime import POISON, ROWS, TOO_LARGE, WHO, Asked, RowRuntime, close


class Bench:
    """A lane with its loop and clock; inline or on threads."""

    def __init__(self, threads: int) -> None:
        self.loop = asyncio.new_event_loop()
        self.clock = ManualClock()
        self.deadlines = Deadlines(self.clock, self.loop)
        self.crew = Crew(threads, self.loop) if threads else None
        self.runtime = RowRuntime()
        self.told: list[int] = []

    def lane(
        self,
        session: Session | None = None,
        signature: Signature = ROWS,
        best_rows: int = 8,
        queue: int = 100,
        max_delay_ms: float = 0,
    ) -> Lane:
        return Lane(
            session or self.runtime,
            signature,
            best_rows=best_rows,
            loop=self.loop,
            clock=self.clock,
            deadlines=self.deadlines,
            crew=self.crew,
            queue=queue,
            max_delay_ms=max_delay_ms,
            ran=lambda run: self.told.append(run.rows),
        )

    def ask(self, *rows: list[float], as_table: bool = True, ms: float = 0) -> Asked:
        return Asked(rows, as_table=as_table, clock=self.clock, ms=ms)

    def until(self, look: Callable[[], object]) -> None:
        end = time.monotonic() + 20
        while not look():
            assert time.monotonic() < end, "waited in vain"
            self.loop.run_until_complete(asyncio.sleep(0.0005))

    def finish(self, *asked: Asked) -> None:
        self.until(lambda: all(one.call.done for one in asked))

    def busy(self) -> Asked:
        """A call that is in the runtime until `runtime.go` is set."""
        self.runtime.go.clear()
        return self.ask([0.0, 0, 0])

    def close(self) -> None:
        self.runtime.go.set()
        self.deadlines.close()
        if self.crew is not None:
            self.crew.close()
        self.loop.close()


@pytest.fixture(params=[0, 2], ids=["inline", "threads"])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    made = Bench(request.param)
    yield made
    made.close()


@pytest.fixture
def threaded() -> Iterator[Bench]:
    made = Bench(2)
    yield made
    made.close()


# --- published failures of peers ------------------------------------------------------------------------


@pytest.mark.parametrize("as_table", [True, False], ids=["tables", "tensors"])
def test_rows_are_given_to_the_wrong_caller(bench: Bench, as_table: bool) -> None:
    """Requests of different sizes in one batch: each gets its own rows, and they ran together."""
    lane = bench.lane()
    asked = [bench.ask(*[[float(n), r, 1] for r in range(n)], as_table=as_table) for n in (1, 3, 2)]
    for one in asked:
        lane.submit(one.call)
    bench.finish(*asked)
    for one in asked:
        one.check_answer()
    assert [len(run) for run in bench.runtime.runs] == [6]


def test_requested_outputs_are_dropped(bench: Bench) -> None:
    """Every member of a batch gets every output of the model, whatever its mates look at."""
    lane = bench.lane()
    asked = [bench.ask([float(n), 0, 0]) for n in range(4)]
    for one in asked:
        lane.submit(one.call)
    bench.finish(*asked)
    for one in asked:
        (outcome,) = one.outcomes
        assert isinstance(outcome, Answer)
        assert [len(t) for t in outcome.tensors()] == [1, 1]
        assert [t.shape[1:] for t in outcome.tensors()] == [(), (3,)]


def test_a_cancelled_member_wedges_the_queue(threaded: Bench) -> None:
    """Callers that leave while they wait are skipped: nothing is computed for them, those behind them go on."""
    bench = threaded
    lane = bench.lane(best_rows=2)
    first = bench.busy()
    lane.submit(first.call)
    bench.until(bench.runtime.running.is_set)
    waiting = [bench.ask([float(n), 0, 0]) for n in range(1, 7)]
    for one in waiting:
        lane.submit(one.call)
    for one in waiting[:3]:
        one.call.gone = True
    first.call.gone = True
    bench.runtime.go.set()
    bench.finish(first, *waiting)
    assert bench.runtime.runs == [[0.0], [4.0, 5.0], [6.0]]
    for one in waiting[3:]:
        one.check_answer()
    for one in waiting[:3]:
        assert "left" in one.error.message


def test_the_batch_size_is_exceeded(threaded: Bench) -> None:
    """Calls of several rows never add up to more than the best batch; a larger call runs alone."""
    bench = threaded
    lane = bench.lane(best_rows=4)
    first = bench.busy()
    lane.submit(first.call)
    bench.until(bench.runtime.running.is_set)
    asked = [bench.ask(*[[float(i), r, 0] for r in range(n)]) for i, n in enumerate((3, 2, 2, 9, 1, 3, 1), 1)]
    for one in asked:
        lane.submit(one.call)
    bench.runtime.go.set()
    bench.finish(*asked)
    assert [len(run) for run in bench.runtime.runs] == [1, 3, 4, 9, 4, 1]
    for one in asked:
        one.check_answer()


def test_an_exception_fails_the_whole_batch(bench: Bench) -> None:
    """An exception in the runtime fails only the request that causes it; its mates get their own bits."""
    lane = bench.lane()
    asked = [bench.ask([float(n), POISON if n == 2 else 1.0, 0]) for n in range(5)]
    for one in asked:
        lane.submit(one.call)
    bench.finish(*asked)
    for one in asked:
        if one.poisoned:
            assert type(one.error) is ModelFailed
            assert one.error.message == "the model raised RuntimeError: cannot compute with this"
        else:
            one.check_answer()


def test_a_value_that_does_not_fit_fails_its_batch_mates(bench: Bench) -> None:
    """A number beyond the input's datatype is its request's fault, and the error names its place."""
    lane = bench.lane()
    bad = bench.ask([1.0, 0, 0], [1.0, TOO_LARGE, 0])
    asked = [bench.ask([0.0, 0, 0]), bad, bench.ask([2.0, 0, 0], as_table=False)]
    for one in asked:
        lane.submit(one.call)
    bench.finish(*asked)
    asked[0].check_answer()
    asked[2].check_answer()
    assert type(bad.error) is InvalidInput
    assert (bad.error.where, bad.error.found) == ("instances[1].f1", "1e+300")
    assert "FP32" in str(bad.error.expected)


def test_outputs_that_do_not_split_are_given_to_somebody(bench: Bench, tmp_path: Path) -> None:
    """A model whose output has no rows (a sum over the batch) answers each caller for itself, and batches no more."""
    path = summed(tmp_path / "m.onnx")
    lane = bench.lane(open_session("onnx", path, signature_of(path), SessionOptions()), signature_of(path))
    rows = [NUMBERS[i : i + 2] for i in range(0, 6, 2)]
    for _ in range(2):
        outcomes = ask_tensors(bench, lane, rows)
        for row, outcome in zip(rows, outcomes, strict=True):
            assert isinstance(outcome, Answer)
            assert np.allclose(outcome.tensors()[0], row.sum(axis=0))
    assert bench.told == [6, 2, 2, 2]
    lane.release_when_idle(close)


def test_tables_and_tensors_share_a_batch(bench: Bench) -> None:
    """Both protocols' requests for one model run together and get the same bits as alone."""
    lane = bench.lane()
    asked = [bench.ask([float(n), n / 3, 0.1], as_table=n % 2 == 0) for n in range(6)]
    for one in asked:
        lane.submit(one.call)
    bench.finish(*asked)
    assert len(bench.runtime.runs) == 1
    for one in asked:
        one.check_answer()


# --- promises -------------------------------------------------------------------------------------------


def ask_tensors(bench: Bench, lane: Lane, inputs: list[Tensor]) -> list[Outcome]:
    outcomes: dict[int, Outcome] = {}
    for i, rows in enumerate(inputs):

        def door(_: Call, outcome: Outcome, i: int = i) -> None:
            outcomes[i] = outcome

        lane.submit(Call(str(i), WHO, door, len(rows), tensors=(rows,)))
    bench.until(lambda: len(outcomes) == len(inputs))
    return [outcomes[i] for i in range(len(inputs))]


@pytest.mark.parametrize("make", [doubled, summed_columns])
def test_real_models_give_the_same_bits_in_a_batch_as_alone(
    bench: Bench, tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    """ONNX Runtime with one thread: batches of any split equal the rows alone, bit for bit."""
    path = make(tmp_path / "m.onnx")
    signature = signature_of(path)
    session = open_session("onnx", path, signature, SessionOptions())
    alone = [session.run((NUMBERS[i : i + 1],))[0].tobytes() for i in range(64)]
    lane = bench.lane(session, signature, best_rows=16)
    inputs, at = list[Tensor](), 0
    for size in np.random.default_rng(3).integers(1, 7, 40):
        inputs.append(NUMBERS[at % 56 : at % 56 + int(size)])
        at += int(size)
    for rows, outcome in zip(inputs, ask_tensors(bench, lane, inputs), strict=True):
        assert isinstance(outcome, Answer)
        start = next(i for i in range(64) if NUMBERS[i].tobytes() == rows[0].tobytes())
        assert outcome.tensors()[0].tobytes() == b"".join(alone[start : start + len(rows)])
    assert max(bench.told) > 1
    assert max(bench.told) <= 16
    lane.release_when_idle(close)


def test_a_full_queue_refuses_at_once_and_recovers(threaded: Bench) -> None:
    """One call more than the queue holds is refused with a time to come back; those inside are answered."""
    bench = threaded
    lane = bench.lane(queue=3)
    first = bench.busy()
    lane.submit(first.call)
    bench.until(bench.runtime.running.is_set)
    inside = [bench.ask([float(n), 0, 0]) for n in range(1, 4)]
    for one in inside:
        lane.submit(one.call)
    late = bench.ask([9.0, 0, 0])
    lane.submit(late.call)
    assert type(late.error) is Overloaded
    assert late.error.retry_after_s
    bench.runtime.go.set()
    bench.finish(first, *inside)
    again = bench.ask([10.0, 0, 0])
    lane.submit(again.call)
    bench.finish(again)
    again.check_answer()


def test_calls_that_have_ended_leave_their_place_in_the_queue(threaded: Bench) -> None:
    """A queue full of calls whose deadline has passed or whose callers have left takes new ones."""
    bench = threaded
    lane = bench.lane(queue=3)
    first = bench.busy()
    lane.submit(first.call)
    bench.until(bench.runtime.running.is_set)
    stale = [bench.ask([float(n), 0, 0], ms=5) for n in range(1, 4)]
    for one in stale:
        lane.submit(one.call)
    bench.clock.advance(ms=50)
    bench.deadlines.sweep()
    assert all(type(one.error) is DeadlineExceeded for one in stale)
    fresh = bench.ask([9.0, 0, 0])
    lane.submit(fresh.call)
    bench.runtime.go.set()
    bench.finish(first, fresh)
    fresh.check_answer()


def test_nothing_is_computed_after_a_deadline(bench: Bench) -> None:
    """A call whose deadline passes before its turn is refused without a run; one in time is not."""
    lane = bench.lane()
    late, good = bench.ask([1.0, 0, 0], ms=5), bench.ask([2.0, 0, 0], ms=5000)
    lane.submit(late.call)
    lane.submit(good.call)
    bench.clock.advance(ms=6)
    bench.finish(late, good)
    assert type(late.error) is DeadlineExceeded
    good.check_answer()
    assert bench.runtime.runs == [[2.0]]
    assert not bench.deadlines._buckets


def test_a_deadline_passes_while_the_runtime_is_busy(threaded: Bench) -> None:
    """The caller hears of it in time; the late result is dropped and harms nobody."""
    bench = threaded
    lane = bench.lane()
    slow = bench.ask([1.0, 0, 0], ms=20)
    bench.runtime.go.clear()
    lane.submit(slow.call)
    bench.until(bench.runtime.running.is_set)
    bench.clock.advance(ms=100)
    bench.deadlines.sweep()
    assert type(slow.error) is DeadlineExceeded
    bench.runtime.go.set()
    after = bench.ask([2.0, 0, 0])
    lane.submit(after.call)
    bench.finish(after)
    after.check_answer()
    assert len(slow.outcomes) == 1


def test_a_lone_call_waits_for_company_only_as_long_as_its_owner_says(bench: Bench) -> None:
    """`max_delay_ms`: two calls a moment apart share a run; a full batch does not wait."""
    lane = bench.lane(best_rows=2, max_delay_ms=10_000)
    first = bench.ask([1.0, 0, 0])
    lane.submit(first.call)
    bench.loop.run_until_complete(asyncio.sleep(0))
    assert not first.call.done
    second = bench.ask([2.0, 0, 0])
    lane.submit(second.call)
    bench.finish(first, second)
    assert bench.runtime.runs == [[1.0, 2.0]]
    short = bench.lane(best_rows=2, max_delay_ms=1)
    lone = bench.ask([3.0, 0, 0])
    short.submit(lone.call)
    bench.finish(lone)
    lone.check_answer()


def test_a_session_is_released_after_its_last_call(threaded: Bench) -> None:
    """A counted lease: calls in the runtime and in the queue are answered first."""
    bench = threaded
    lane = bench.lane(best_rows=1)
    first = bench.busy()
    lane.submit(first.call)
    bench.until(bench.runtime.running.is_set)
    second = bench.ask([2.0, 0, 0])
    lane.submit(second.call)
    closed: list[bool] = []
    lane.release_when_idle(lambda _: closed.append(second.call.done))
    assert not closed
    bench.runtime.go.set()
    bench.until(lambda: closed)
    assert closed == [True]
    second.check_answer()


def test_a_session_stays_until_the_answers_of_its_last_run_are_given(threaded: Bench) -> None:
    """Also when whoever waits behind that run has left: nothing is closed between a run and its answers."""
    lane, first = threaded.lane(), threaded.busy()
    lane.submit(first.call)
    threaded.until(threaded.runtime.running.is_set)
    gone = threaded.ask([1.0, 0, 0])
    lane.submit(gone.call)
    gone.call.gone = True
    answered: list[bool] = []
    lane.release_when_idle(lambda _: answered.append(first.call.done))
    threaded.runtime.go.set()
    threaded.finish(first, gone)
    threaded.until(lambda: answered)
    assert answered == [True]
    assert isinstance(first.outcomes[0], Answer)


def test_a_model_without_rows_is_never_batched(bench: Bench) -> None:
    """Whatever the best size says: a signature that is not batched runs request by request."""
    lane = bench.lane(signature=msgspec.structs.replace(ROWS, batched=False), best_rows=64)
    asked = [bench.ask([float(n), 0, 0], as_table=False) for n in range(3)]
    for one in asked:
        lane.submit(one.call)
    bench.finish(*asked)
    assert bench.runtime.runs == [[0.0], [1.0], [2.0]]


def test_tensors_of_different_shapes_do_not_share_a_run(bench: Bench, tmp_path: Path) -> None:
    """Where a dimension is open, only requests of equal trailing shapes run together."""
    spec = (("x", TensorProto.FLOAT, ["n", "m"]),)
    path = graph(
        tmp_path / "m.onnx",
        [helper.make_node("Add", ["x", "x"], ["y"])],
        inputs=spec,
        outputs=[("y", TensorProto.FLOAT, ["n", "m"])],
    )
    lane = bench.lane(open_session("onnx", path, signature_of(path), SessionOptions()), signature_of(path))
    inputs = [np.ones((1, width), np.float32) for width in (2, 2, 3, 2)]
    outcomes = ask_tensors(bench, lane, inputs)
    assert [o.tensors()[0].shape for o in outcomes if isinstance(o, Answer)] == [(1, 2), (1, 2), (1, 3), (1, 2)]
    assert bench.told == [2, 1, 1]
    lane.release_when_idle(close)


def test_one_slow_model_leaves_a_thread_for_another() -> None:
    """Lanes take turns on the crew: a run that hangs holds one thread, not the other lane."""
    bench = Bench(2)
    other = RowRuntime()
    slow, quick = bench.lane(), bench.lane(other)
    first = bench.busy()
    slow.submit(first.call)
    bench.until(bench.runtime.running.is_set)
    behind = bench.ask([1.0, 0, 0])
    slow.submit(behind.call)
    asked = bench.ask([5.0, 0, 0])
    quick.submit(asked.call)
    bench.finish(asked)
    asked.check_answer()
    assert not behind.call.done
    bench.runtime.go.set()
    bench.finish(first, behind)
    bench.close()
