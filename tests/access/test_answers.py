"""Answers kept for repeated requests."""

from __future__ import annotations

import pytest

from kaname.access.answers import KeptAnswers
from kaname.clock import ManualClock
from kaname.errors import Conflict
from kaname.storage.sql.database import Database
from kaname.web.idempotency import ABANDONED_S, KEEP_S, StoredAnswer

ANSWER = StoredAnswer(201, (("location", "/x"),), '{"ä": 1}'.encode())
OTHER = StoredAnswer(200, (), b"{}")


@pytest.fixture
def answers(database: Database, clock: ManualClock) -> KeptAnswers:
    """Kept in the database."""
    return KeptAnswers(database, clock)


def test_an_answer_is_kept_for_a_day(answers: KeptAnswers, clock: ManualClock) -> None:
    """Byte for byte, for its owner and key only."""
    assert answers.begin("k1", "a", "print") is None
    answers.finish("k1", "a", "print", ANSWER)
    assert answers.begin("k1", "a", "print") == ANSWER
    assert answers.begin("k2", "a", "print") is None
    clock.advance(ms=KEEP_S * 1000)
    assert answers.begin("k1", "a", "print") == ANSWER
    clock.advance(ms=1)
    assert answers.begin("k1", "a", "print") is None


def test_another_request_under_the_key_is_refused(answers: KeptAnswers) -> None:
    """Whether the first has ended or not."""
    answers.begin("k", "a", "one")
    with pytest.raises(Conflict, match="another request"):
        answers.begin("k", "a", "two")
    answers.finish("k", "a", "one", ANSWER)
    with pytest.raises(Conflict, match="another request"):
        answers.begin("k", "a", "two")


def test_a_request_in_progress_is_not_run_twice(answers: KeptAnswers, clock: ManualClock) -> None:
    """Its repetition is told to wait; if its process died, the key is free again after a while."""
    answers.begin("k", "a", "one")
    with pytest.raises(Conflict, match="in progress"):
        answers.begin("k", "a", "one")
    clock.advance(ms=ABANDONED_S * 1000 + 1)
    assert answers.begin("k", "a", "one") is None


def test_a_failed_request_gives_its_key_back(answers: KeptAnswers) -> None:
    """But an answer that is kept cannot be forgotten."""
    answers.begin("k", "a", "one")
    answers.forget("k", "a", "one")
    assert answers.begin("k", "a", "two") is None
    answers.finish("k", "a", "two", ANSWER)
    answers.forget("k", "a", "two")
    assert answers.begin("k", "a", "two") == ANSWER


@pytest.mark.parametrize("ends", ["well", "badly"])
def test_a_request_that_lost_its_key_leaves_the_next_one_alone(
    answers: KeptAnswers, clock: ManualClock, ends: str
) -> None:
    """It took so long that it counted as dead, and another request has the key: whichever way the first ends now,
    the second is neither answered in its name nor robbed of its claim."""
    answers.begin("k", "a", "one")
    clock.advance(ms=ABANDONED_S * 1000 + 1)
    assert answers.begin("k", "a", "two") is None
    if ends == "well":
        answers.finish("k", "a", "one", OTHER)
    else:
        answers.forget("k", "a", "one")
    with pytest.raises(Conflict, match="in progress"):
        answers.begin("k", "a", "two")
    answers.finish("k", "a", "two", ANSWER)
    assert answers.begin("k", "a", "two") == ANSWER


def test_the_first_answer_stands(answers: KeptAnswers, clock: ManualClock) -> None:
    """Of two runs of one request, the second after the first had counted as dead, the one that ended first is kept."""
    answers.begin("k", "a", "one")
    clock.advance(ms=ABANDONED_S * 1000 + 1)
    assert answers.begin("k", "a", "one") is None
    answers.finish("k", "a", "one", ANSWER)
    answers.finish("k", "a", "one", OTHER)
    assert answers.begin("k", "a", "one") == ANSWER
