"""Decoding of bodies and queries."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaname.errors import InvalidInput
from kaname.web.decoding import decode, decode_query


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    """Something nested."""

    value: int


class Body(msgspec.Struct, forbid_unknown_fields=True):
    """A body."""

    items: list[Inner] = []
    anything: object = None


@given(st.binary(max_size=300))
def test_any_bytes_decode_or_are_refused(raw: bytes) -> None:
    """Whatever comes in, the only error is InvalidInput, and it names a place."""
    place = "body"
    try:
        decode(raw, Body)
    except InvalidInput as error:
        place = error.where or ""
    assert place.startswith("body")


def test_deep_nesting_is_refused() -> None:
    """A megabyte of brackets is an error of the request, not of the server."""
    raw = b'{"anything": ' + b"[" * 500_000 + b"]" * 500_000 + b"}"
    with pytest.raises(InvalidInput, match="nested too deeply"):
        decode(raw, Body)


def test_the_place_of_a_fault_inside_lists_is_exact() -> None:
    """The path has the form that the caller wrote the document in."""
    with pytest.raises(InvalidInput) as caught:
        decode(b'{"items": [{"value": 1}, {"value": "x"}]}', Body)
    assert caught.value.where in ("body.items[1].value", "body.items[...].value")


def test_the_last_of_duplicate_keys_counts() -> None:
    """Documented behaviour of the decoder."""
    assert decode(b'{"anything": 1, "anything": 2}', Body) == Body(anything=2)


class Query(msgspec.Struct, forbid_unknown_fields=True):
    """Every kind of parameter."""

    n: int = 0
    on: bool = False
    many: tuple[str, ...] = ()
    maybe: list[int] | None = None


def test_query_values_become_their_types() -> None:
    """Numbers, flags and lists are read from text."""
    pairs = [("n", "3"), ("on", "true"), ("many", "a"), ("many", "b"), ("maybe", "1"), ("maybe", "2")]
    assert decode_query(pairs, Query) == Query(n=3, on=True, many=("a", "b"), maybe=[1, 2])


@pytest.mark.parametrize("pairs", [[("n", "1"), ("n", "2")], [("m", "1")], [("n", "1.5")], [("on", "perhaps")]])
def test_other_queries_are_refused(pairs: list[tuple[str, str]]) -> None:
    """Nothing is ignored or guessed."""
    with pytest.raises(InvalidInput) as caught:
        decode_query(pairs, Query)
    assert (caught.value.where or "").startswith("query")
