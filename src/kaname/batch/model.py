"""A version as a batch run uses it: a session for each thread, and as many rows at once as change no answer."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np

from kaname.batch.columns import shown
from kaname.batch.types import BadCell
from kaname.errors import DeadlineExceeded, Overloaded, Unavailable
from kaname.runtimes.types import Profile, Session
from kaname.serving.budgets import batch_rows
from kaname.settings import ModelConfig
from kaname.tensors import Tensor

LARGE_ROWS = 4_096
"""Rows of a run where the largest size that was profiled was the best, and this one gives the same bits."""

Tensors = tuple[Tensor, ...]
OpenSession = Callable[[], Session]


class Model:
    """Sessions are opened by the threads that use them and closed together."""

    def __init__(self, open_session: OpenSession) -> None:
        self._open = open_session
        self._own = threading.local()
        self._all: list[Session] = []
        self._opening = threading.Lock()

    def session(self) -> Session:
        """The calling thread's session."""
        found: Session | None = getattr(self._own, "session", None)
        if found is None:
            with self._opening:
                found = self._own.session = self._open()
                self._all.append(found)
        return found

    def run_rows(self, profile: Profile, config: ModelConfig, rows: Tensors) -> int:
        """How many rows to run at once: what serving batches, or more where the profile found its largest size best
        and `rows` get the same bits in a larger one."""
        best = batch_rows(profile, config)
        if best < profile.rows[-1] or best == 1 or config.max_batch_rows is not None or not rows:
            return best
        several = tuple(tensor[:LARGE_ROWS] for tensor in rows)
        if len(several[0]) <= best:
            return best
        session = self.session()
        together = session.run(several)
        apart = _concatenated([session.run(part) for part in _slices(several, best)])
        same = all(_same_bits(a, b) for a, b in zip(together, apart, strict=True))
        return LARGE_ROWS if same else best

    def answer(self, rows: Tensors, run_rows: int) -> tuple[Tensors, list[BadCell]]:
        """The outputs of the rows that the model answers, and those on which it fails, one by one."""
        outputs: list[Tensors] = []
        bad: list[BadCell] = []
        session, at = self.session(), 0
        for part in _slices(rows, run_rows):
            try:
                outputs.append(session.run(part))
            except (DeadlineExceeded, Overloaded, Unavailable):
                raise  # a remote model that cannot answer now: no row is to blame, and the run can be continued
            except Exception as error:  # noqa: BLE001  (whatever the runtime raises: rows alone tell whose fault it is)
                if len(part[0]) == 1:
                    bad.append(_failed(at, error))
                else:
                    found, failed = self.answer(part, 1)
                    outputs += [found] if found else []
                    bad += [_failed(at + cell.row, cell) for cell in failed]
            at += len(part[0])
        return _concatenated(outputs), bad

    def close(self) -> None:
        """Release every session."""
        for session in self._all:
            session.close()
        self._all.clear()


def _failed(row: int, error: Exception | BadCell) -> BadCell:
    if isinstance(error, BadCell):
        return BadCell(row=row, column=None, message=error.message, found=error.found)
    found = shown(f"{type(error).__name__}: {error}")
    return BadCell(row=row, column=None, message="the model fails on this row", found=found)


def _slices(rows: Tensors, size: int) -> list[Tensors]:
    count = len(rows[0]) if rows else 0
    return [tuple(tensor[at : at + size] for tensor in rows) for at in range(0, count, size)]


def _concatenated(parts: list[Tensors]) -> Tensors:
    if len(parts) == 1:
        return parts[0]
    return tuple(np.concatenate(each) for each in zip(*parts, strict=True))


def _same_bits(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return one.tolist() == other.tolist() if one.dtype == object else one.tobytes() == other.tobytes()
