"""The profile: which batch is best, and whether batching is safe."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaname.clock import ManualClock
from kaname.runtimes.catalog import open_session
from kaname.runtimes.profile import profile
from kaname.runtimes.types import Profile, SessionOptions
from kaname.signature import OutputSpec, Signature
from kaname.tensors import Tensor, TensorSpec
from tests.runtimes import graphs
from tests.runtimes.graphs import ROWS, signature_of

SIGNATURE = Signature(
    task="other",
    inputs=(TensorSpec(name="x", datatype="FP32", shape=(-1, 4)),),
    outputs=(OutputSpec(name="y", datatype="FP32", shape=(-1, 4)),),
)


class Timed:
    """A model that takes `fixed_us` plus `row_us` per row of a clock that only it moves."""

    def __init__(self, clock: ManualClock, fixed_us: float, row_us: float) -> None:
        self.clock = clock
        self.fixed_us = fixed_us
        self.row_us = row_us

    def run(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        self.clock.advance(ms=(self.fixed_us + self.row_us * len(inputs[0])) / 1000)
        return (inputs[0] * 2,)

    def close(self) -> None:
        pass


def timed(fixed_us: float, row_us: float) -> Profile:
    clock = ManualClock()
    return profile(Timed(clock, fixed_us, row_us), SIGNATURE, (ROWS,), clock=clock)


def test_fixed_cost_makes_large_batches_best() -> None:
    """A small model pays mostly per run: 64 rows are cheapest per row."""
    found = timed(fixed_us=10, row_us=1)
    assert found.best_rows == 64
    assert found.rows == (1, 2, 4, 8, 16, 32, 64)
    assert found.us[0] == pytest.approx(11)
    assert found.us[-1] == pytest.approx(74)


def test_a_gain_below_noise_does_not_choose() -> None:
    """2% per row is not worth a larger batch."""
    assert timed(fixed_us=20, row_us=1_000).best_rows == 1


def test_a_heavy_model_is_not_measured_to_the_end() -> None:
    """When rows cost the same in company, sizes that take seconds are left out."""
    found = timed(fixed_us=0, row_us=40_000)
    assert found.best_rows == 1
    assert max(found.rows) <= 8


@pytest.mark.parametrize(
    ("make", "splits", "exact"),
    [
        (graphs.doubled, True, True),
        (graphs.centred, False, False),
        (graphs.summed, False, False),
        (graphs.quantised, True, False),
        (graphs.one_row_only, False, False),
    ],
)
def test_company_is_judged(tmp_path: Path, make: graphs.Maker, splits: bool, exact: bool) -> None:
    """Rows that stand alone, influence each other, do not split, change bits, or cannot be merged at all."""
    path = make(tmp_path / "m.onnx")
    signature = signature_of(path)
    session = open_session("onnx", path, signature, SessionOptions())
    found = profile(session, signature, (ROWS,), budget_s=0.2)
    assert (found.splits, found.exact) == (splits, exact)
    if not splits:
        assert found.rows == (1,)
        assert found.best_rows == 1


def test_a_signature_without_rows_runs_as_it_is(tmp_path: Path) -> None:
    """A model that declares no batch is measured on its sample and never merged."""
    path = graphs.summed(tmp_path / "m.onnx")
    signature = signature_of(path, batched=False)
    session = open_session("onnx", path, signature, SessionOptions())
    found = profile(session, signature, (ROWS,), budget_s=0.1)
    assert (found.rows, found.best_rows, found.splits) == ((1,), 1, False)


def test_text_is_compared_too() -> None:
    """Object outputs that depend on neighbours are found."""

    class Neighbours:
        def run(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            order = np.argsort(np.argsort(inputs[0][:, 0]))
            out = np.empty((len(order), 1), dtype=object)
            out[:, 0] = [str(place).encode() for place in order]
            return (out,)

        def close(self) -> None:
            pass

    assert not profile(Neighbours(), SIGNATURE, (ROWS,), budget_s=0.05).splits


def test_rows_with_answers_of_different_widths_take_turns() -> None:
    """A model that finds one thing in a row and three in another answers each row alone; it can be profiled."""

    class Finder:
        def run(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            (rows,) = inputs
            if len(rows) > 1:
                raise ValueError("one row at a time")
            return (np.ones((1, 1 + int(abs(rows[0, 0]) * 7) % 3), dtype=np.float32),)

        def close(self) -> None:
            pass

    found = profile(Finder(), SIGNATURE, (ROWS,), budget_s=0.05)
    assert (found.splits, found.exact, found.best_rows) == (False, False, 1)


@given(
    times=st.lists(st.floats(0.1, 1e6), min_size=1, max_size=7),
    rows=st.integers(1, 300),
)
def test_time_is_read_off_between_what_was_measured(times: list[float], rows: int) -> None:
    """Exact at the sizes that were measured, within its neighbours between them, in proportion beyond the last."""
    sizes = tuple(2**i for i in range(len(times)))
    found = Profile(rows=sizes, us=tuple(times), best_rows=1, exact=True, splits=True)
    for size, us in zip(sizes, times, strict=True):
        assert found.us_at(size) == pytest.approx(us)
    if rows > sizes[-1]:
        assert found.us_at(rows) == pytest.approx(times[-1] * rows / sizes[-1])
    else:
        above = next(i for i, size in enumerate(sizes) if size >= rows)
        around = times[max(0, above - 1) : above + 1]
        assert min(around) * 0.999 <= found.us_at(rows) <= max(around) * 1.001


@pytest.mark.serial
def test_real_time_is_bounded(tmp_path: Path) -> None:
    """A small model is profiled in about the budget."""
    import time

    path = graphs.doubled(tmp_path / "m.onnx")
    signature = signature_of(path)
    session = open_session("onnx", path, signature, SessionOptions())
    start = time.monotonic()
    profile(session, signature, (ROWS,), budget_s=1.0)
    assert time.monotonic() - start < 3.0
