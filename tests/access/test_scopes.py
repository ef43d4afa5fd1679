"""Scopes and what they imply."""

from __future__ import annotations

import pytest

from kaname.access.scopes import Grant, grant, normalise
from kaname.errors import InvalidInput

NONE: frozenset[str] = frozenset()


@pytest.mark.parametrize(
    ("scopes", "expected"),
    [
        (["predict:iris"], Grant(frozenset({"iris"}), NONE)),
        (["predict:iris", "predict:flights", "read"], Grant(frozenset({"iris", "flights"}), frozenset({"read"}))),
        (["predict:*"], Grant(None, NONE)),
        (["predict:*", "predict:iris"], Grant(None, NONE)),
        (["read"], Grant(NONE, frozenset({"read"}))),
        (["write"], Grant(NONE, frozenset({"read", "write"}))),
        (["admin"], Grant(None, frozenset({"read", "write", "admin"}))),
        (["something-newer"], Grant(NONE, NONE)),
        ([], Grant(NONE, NONE)),
    ],
)
def test_what_scopes_allow(scopes: list[str], expected: Grant) -> None:
    """`admin` implies all, `write` implies `read`, neither `read` nor `write` predicts; unknown ones allow nothing."""
    assert grant(scopes) == expected


def test_scopes_are_sorted_and_unique() -> None:
    """So that two keys with the same rights look the same."""
    assert normalise(["write", "predict:b", "predict:a", "write"]) == ("predict:a", "predict:b", "write")


@pytest.mark.parametrize("scope", ["", "root", "Admin", "predict", "predict:", "predict:a b", "predict:*x", "read "])
def test_malformed_scopes_are_refused(scope: str) -> None:
    """The error says what was found and what there is."""
    with pytest.raises(InvalidInput) as caught:
        normalise(["read", scope])
    assert caught.value.found == repr(scope)
    assert "predict:<model>" in (caught.value.expected or "")


def test_a_key_needs_a_scope() -> None:
    """A key that may nothing is a mistake."""
    with pytest.raises(InvalidInput):
        normalise([])
