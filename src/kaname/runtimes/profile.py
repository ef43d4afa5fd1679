"""How a version's time depends on the batch size, and whether batching changes its answers.

Measured, never assumed: a small model is ten times cheaper per row at 64 rows, many CNNs are dearest there, and
a dynamically quantised model answers differently in company.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import numpy as np

from kaname.clock import Clock, SystemClock
from kaname.errors import Unavailable
from kaname.runtimes.sized import sized
from kaname.runtimes.types import Profile, Session
from kaname.signature import Signature
from kaname.tensors import Tensor

SIZES = (1, 2, 4, 8, 16, 32, 64)
_GAIN = 0.97
"""A larger batch must cost less than this share per row, so that noise does not choose."""
_INFLUENCE = 0.1
"""Difference between alone and in company, as a share of an output's spread, beyond which rows interact."""
_ROUNDS = 3

Tensors = tuple[Tensor, ...]


def profile(
    session: Session,
    signature: Signature,
    rows: Tensors,
    *,
    clock: Clock | None = None,
    budget_s: float = 1.0,
) -> Profile:
    """Measure `session` on `rows`: inputs in the signature's order with at least one row, better 64 different ones.

    Takes about `budget_s` seconds for a small model and at least three runs per size for a heavy one, whose
    larger sizes are left out once they stop paying. Raises whatever the runtime raises on a single row.
    """
    clock = clock or SystemClock()
    if not signature.batched:
        _warm(session, rows)
        us = _measure(session, {1: rows}, clock, budget_s / 4)[1]
        return Profile(rows=(1,), us=(us,), best_rows=1, exact=False, splits=False)
    single = _take(rows, [0])
    _warm(session, single)
    alone_us = _measure(session, {1: single}, clock, budget_s / 20)[1]
    splits, exact = _company(session, rows, most=_affordable(alone_us, budget_s / 4))
    if not splits:
        us = _measure(session, {1: single}, clock, budget_s / 4)[1]
        return Profile(rows=(1,), us=(us,), best_rows=1, exact=False, splits=False)
    session = sized(session, signature)
    times = _measure(session, _batches(session, rows, clock, budget_s), clock, budget_s)
    return Profile(rows=tuple(times), us=tuple(times.values()), best_rows=_best(times), exact=exact, splits=True)


def _best(times: dict[int, float]) -> int:
    best, cost = 1, times[1]
    for size, us in times.items():
        if us / size < cost * _GAIN:
            best, cost = size, us / size
    return best


# --- time -----------------------------------------------------------------------------------------------


def _batches(session: Session, rows: Tensors, clock: Clock, budget_s: float) -> dict[int, Tensors]:
    """Inputs of every size worth measuring, each run once; stops where they do not fit, or get dear for nothing."""
    found: dict[int, Tensors] = {}
    cheapest = float("inf")
    for size in SIZES:
        batch = _take(rows, [i % len(rows[0]) for i in range(size)])
        start = clock.monotonic_ns()
        try:
            session.run(batch)
        except Unavailable:  # more than the device's memory holds
            if not found:
                raise
            break
        seconds = (clock.monotonic_ns() - start) / 1e9
        found[size] = batch
        if size >= 4 and seconds * _ROUNDS > budget_s / 4 and seconds / size > cheapest * _GAIN:
            break
        cheapest = min(cheapest, seconds / size)
    return found


def _measure(session: Session, batches: dict[int, Tensors], clock: Clock, budget_s: float) -> dict[int, float]:
    """Median microseconds per run of each size, in rounds over all sizes so that a slow moment hits them alike."""
    share_ns = int(budget_s * 1e9 / len(batches) / _ROUNDS)
    samples: dict[int, list[int]] = {size: [] for size in batches}
    for _ in range(_ROUNDS):
        for size, batch in batches.items():
            _sample(session, batch, clock, share_ns, samples[size])
    return {size: round(median(found) / 1000, 3) for size, found in samples.items()}


def _sample(session: Session, batch: Tensors, clock: Clock, share_ns: int, found: list[int]) -> None:
    run, now = session.run, clock.monotonic_ns
    begin = now()
    for _ in range(500):
        start = now()
        run(batch)
        end = now()
        found.append(end - start)
        if end - begin > share_ns:
            return


def _warm(session: Session, batch: Tensors) -> None:
    for _ in range(3):
        session.run(batch)


def _affordable(alone_us: float, budget_s: float) -> int:
    """How many rows may be run alone within the budget; at least 4, at most 64."""
    return int(max(4, min(64, budget_s * 1e6 / max(alone_us, 0.1))))


# --- company --------------------------------------------------------------------------------------------


def _company(session: Session, rows: Tensors, most: int) -> tuple[bool, bool]:
    """(splits, exact): whether rows can share a run at all, and whether they get the same bits in it as alone."""
    count = min(len(rows[0]), most)
    alone = [session.run(_take(rows, [i])) for i in range(count)]
    if not all(_splits(outputs, 1) and _alike(outputs, alone[0]) for outputs in alone):
        return False, False
    wanted = tuple(np.concatenate([a[k] for a in alone]) for k in range(len(alone[0])))
    exact = True
    for order in _gatherings(count):
        try:
            together = session.run(_take(rows, order))
        except Exception:  # noqa: BLE001  (whatever the runtime raises: this model takes one row at a time)
            return False, False
        if not _splits(together, len(order)):
            return False, False
        for found, single in zip(together, wanted, strict=True):
            expected = single[order]
            if _same_bits(found, expected):
                continue
            exact = False
            if _interact(found, expected):
                return False, False
    return True, exact


def _gatherings(count: int) -> list[list[int]]:
    """The same rows in different company: all, reversed, neighbours changed, pairs, and repeated."""
    everyone = list(range(count))
    shuffled = np.random.default_rng(7).permutation(count).tolist()
    found = [everyone, everyone[::-1], shuffled, everyone[: count // 2 + 1], [0, count - 1], [count - 1, 0, 0]]
    return [order for order in found if len(order) > 1]


def _splits(outputs: Sequence[Tensor], rows: int) -> bool:
    return all(out.ndim >= 1 and len(out) == rows for out in outputs)


def _alike(outputs: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    """Whether the outputs of two rows can be rows of one tensor: some models answer with what they find."""
    return all(out.shape == other.shape for out, other in zip(outputs, others, strict=True))


def _same_bits(found: Tensor, expected: Tensor) -> bool:
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return False
    if found.dtype == object:
        return bool(found.ravel().tolist() == expected.ravel().tolist())
    return found.tobytes() == expected.tobytes()


def _interact(found: Tensor, expected: Tensor) -> bool:
    """Whether the difference is more than rounding (or quantisation) explains."""
    if found.shape != expected.shape:
        return True
    if found.dtype.kind != "f":
        return bool(np.mean(found != expected) > 0.25)
    if not np.array_equal(np.isfinite(found), np.isfinite(expected)):
        return True
    finite = np.isfinite(expected)
    if not finite.any():
        return False
    spread = float(np.ptp(expected[finite])) or float(np.abs(expected[finite]).max()) or 1.0
    return bool(np.abs(found[finite] - expected[finite]).max() > _INFLUENCE * spread)


def _take(rows: Tensors, index: list[int]) -> Tensors:
    return tuple(np.ascontiguousarray(x[index]) for x in rows)
