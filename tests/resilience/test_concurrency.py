"""The number of requests that a lane is given at once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kaname.resilience.concurrency import adapted


def _settled(limit: int, fits: int, runs: int = 400) -> list[int]:
    """The limits over runs of a lane in whose runs `fits` requests fit, while others wait outside."""
    seen = []
    for _ in range(runs):
        ran = min(limit, fits)
        limit = adapted(limit, backlog=limit - ran, full=ran == fits, pressed=True)
        seen.append(limit)
    return seen


@given(st.integers(1, 500), st.integers(1, 500))
def test_it_settles_at_what_fits_into_a_run(start: int, fits: int) -> None:
    """From wherever it begins, the limit reaches the requests of one full run and stays."""
    assert set(_settled(start, fits, 1000)[-50:]) == {fits}


def test_it_does_not_grow_without_a_reason() -> None:
    """While nobody waits outside, a run that was not full says nothing about the limit."""
    assert adapted(5, backlog=0, full=False, pressed=False) == 5
    assert adapted(5, backlog=0, full=False, pressed=True) == 6


def test_it_never_closes() -> None:
    """However large the backlog, one request may come in."""
    assert adapted(1, backlog=100, full=True, pressed=True) == 1
