"""Admission takes the rows of every limit or of none."""

from __future__ import annotations

import pytest

from kaname.access.limiter import TokenBucket
from kaname.call import Call, Outcome, Principal, enter
from kaname.clock import ManualClock
from kaname.errors import KanameError, RateLimited, TooLarge
from kaname.serving.predict import Admission
from kaname.settings import Limits


class Asking:
    """A key of ten rows, a model of four, both per second."""

    def __init__(self, concurrency: int | None) -> None:
        clock = ManualClock()
        self.key, self.model = TokenBucket(10, None, clock), TokenBucket(4, None, clock)
        self.who = Principal("k", "k", may_predict=None, scopes=frozenset(), limiter=self.key.take)
        self.passed: list[Call] = []
        limits = Limits(rate_rows_per_s=4, concurrency=concurrency)
        self.step = Admission("iris", limits, self.model.take).step(self.passed.append)

    def ask(self, rows: int) -> Outcome | None:
        """The outcome of a call that is refused; None for one that passes."""
        outcomes: list[Outcome] = []
        enter(self.step, Call("r", self.who, lambda _, outcome: outcomes.append(outcome), rows))
        return outcomes[0] if outcomes else None


@pytest.mark.parametrize("concurrency", [None, 100])
def test_what_the_model_refuses_is_not_charged_to_the_key(concurrency: int | None) -> None:
    """Spent or too large for the model: the key has as many rows left as before."""
    asking = Asking(concurrency)
    assert asking.ask(4) is None
    for _ in range(20):
        spent, large = asking.ask(3), asking.ask(5)
        assert isinstance(spent, RateLimited)
        assert spent.where == "model"
        assert spent.retry_after_s == pytest.approx(0.75)
        assert isinstance(large, TooLarge)
    assert asking.key.take(6) == 0.0
    assert asking.key.take(1) > 0
    refused = asking.ask(1)
    assert isinstance(refused, KanameError)
    assert refused.where == "key"
    assert len(asking.passed) == 1
