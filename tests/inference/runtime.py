"""Runtimes that behave badly in known ways, and calls to give them."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from kaname.call import Answer, Call, Outcome, Principal
from kaname.clock import Clock
from kaname.errors import KanameError
from kaname.runtimes.types import Session
from kaname.signature import Feature, OutputSpec, Signature
from kaname.tensors import Tensor, TensorSpec

WHO = Principal("k", "tester", may_predict=None, scopes=frozenset())
WIDTH = 3
POISON = 666.0
"""A value that the runtime cannot compute with."""
TOO_LARGE = 1e300
"""A value that the input's datatype cannot hold."""

ROWS = Signature(
    task="other",
    inputs=(TensorSpec(name="x", datatype="FP32", shape=(-1, WIDTH)),),
    outputs=(
        OutputSpec(name="id", datatype="FP32", shape=(-1,)),
        OutputSpec(name="y", datatype="FP32", shape=(-1, WIDTH)),
    ),
    features=tuple(Feature(name=f"f{i}", datatype="FP32") for i in range(WIDTH)),
)


def close(session: Session) -> None:
    """What becomes of a session that nobody uses any more."""
    session.close()


class RowRuntime:
    """Computes row by row; the first cell of a row names its call.

    Raises for a poisoned row, as real runtimes do for the whole run. Notes the callers of every run, refuses to run
    after its end or on two threads at once, and waits in a run while `hold` is set.
    """

    def __init__(self, device: str = "cpu") -> None:
        self.device = device
        self.runs: list[list[float]] = []
        self.splits = True
        self.closed = 0
        self.closed_on = ""
        self.go = threading.Event()
        self.go.set()
        self.running = threading.Event()
        self._alone = threading.Lock()

    def run(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        assert self._alone.acquire(blocking=False), "two runs at once"
        try:
            assert not self.closed, "a run after the end of the session"
            self.running.set()
            assert self.go.wait(20), "nobody let the run go on"
            (x,) = inputs
            assert x.dtype == np.float32
            assert x.flags.c_contiguous
            self.runs.append(x[:, 0].tolist())
            if (x == POISON).any():
                raise RuntimeError("cannot compute with this")
            if not self.splits:
                return x[:1, 0], answer_to(x).sum(axis=0)
            return x[:, 0].copy(), answer_to(x)
        finally:
            self.running.clear()
            self._alone.release()

    def close(self) -> None:
        self.closed += 1
        self.closed_on = threading.current_thread().name


def answer_to(x: Tensor) -> Tensor:
    """What the runtime computes for rows."""
    return x * np.float32(1.7) + np.float32(0.3)


class Asked:
    """A call with what it asked for and how it ended."""

    def __init__(self, rows: Sequence[Sequence[float]], *, as_table: bool, clock: Clock, ms: float = 0) -> None:
        self.rows = rows
        self.outcomes: list[Outcome] = []
        self.ended_at = -1
        now = clock.monotonic_ns()
        table = [tuple(row) for row in rows] if as_table else None
        tensors = None if as_table else (np.array(rows, np.float32),)
        deadline = now + int(ms * 1e6) if ms else 0
        self.call = Call(
            str(rows[0][0]), WHO, self._door, len(rows), table, tensors, started_ns=now, deadline_ns=deadline
        )

    def _door(self, _: Call, outcome: Outcome) -> None:
        self.outcomes.append(outcome)

    @property
    def poisoned(self) -> bool:
        return any(POISON in row for row in self.rows)

    @property
    def unfit(self) -> bool:
        return any(TOO_LARGE in row for row in self.rows)

    @property
    def error(self) -> KanameError:
        (outcome,) = self.outcomes
        assert isinstance(outcome, KanameError), outcome
        return outcome

    def check_answer(self) -> None:
        """The one outcome is exactly what this call alone would get."""
        (outcome,) = self.outcomes
        assert isinstance(outcome, Answer), outcome
        ids, y = outcome.tensors()
        x = np.array(self.rows, np.float32)
        assert ids.tobytes() == x[:, 0].tobytes(), "rows of another caller"
        assert y.tobytes() == answer_to(x).tobytes(), "other bits than alone"
