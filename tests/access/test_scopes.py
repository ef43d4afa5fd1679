"""Scopes and what they imply."""

from __future__ import annotations

import pytest

from kaname.access.scopes import Grant, allows, covers, grant, narrow, normalise, spell
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
        (["read:order"], Grant(NONE, frozenset({"read:order"}))),
        (["write:order", "read:*"], Grant(NONE, frozenset({"write:order", "read:order", "read:*"}))),
        (["read:*", "read:or-der", "peek:order"], Grant(NONE, frozenset({"read:*"}))),
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


@pytest.mark.parametrize(
    "scope",
    ["", "root", "Admin", "predict", "predict:", "predict:a b", "predict:*x", "read ", "read:", "write:a b", "read:*x"],
)
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


@pytest.mark.parametrize(
    ("held", "scope", "expected"),
    [
        (["read:order"], "read:order", True),
        (["read:order"], "write:order", False),
        (["write:order"], "read:order", True),
        (["read:*"], "read:order", True),
        (["read:*"], "write:order", False),
        (["admin"], "write:order", True),
        (["read", "write"], "read:order", False),
        (["predict:*"], "read:order", False),
    ],
)
def test_relations_are_given_one_by_one_or_all(held: list[str], scope: str, expected: bool) -> None:
    """Who may read what a server shows of itself may not read its rows."""
    assert allows(grant(held).scopes, scope) is expected


@pytest.mark.parametrize(
    ("held", "asked", "both"),
    [
        (["read:*"], ["read:order", "write:order"], ("read:order",)),
        (["write:order", "read:user"], ["read:*"], ("read:order", "read:user")),
        (["admin"], ["write:order", "predict:iris"], ("predict:iris", "write:order")),
        (["read:order", "read"], ["write:order", "read"], ("read:order", "read")),
    ],
)
def test_what_two_grants_have_in_common(held: list[str], asked: list[str], both: tuple[str, ...]) -> None:
    """A token has what its key may do and what it was asked for."""
    found = narrow(grant(held), grant(asked))
    assert spell(found) == both
    assert covers(grant(held), found)
