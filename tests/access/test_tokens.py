"""The text of API keys."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaname.access import tokens

IDS = st.binary(min_size=tokens.ID_BYTES, max_size=tokens.ID_BYTES)
SECRETS = st.binary(min_size=tokens.SECRET_BYTES, max_size=tokens.SECRET_BYTES)


@given(IDS, SECRETS)
def test_every_key_is_found_again_in_a_header_and_in_a_leak(raw_id: bytes, secret: bytes) -> None:
    """The id can be read from it, and a search finds it in the middle of a text."""
    key_id = tokens.id_of(raw_id)
    key = tokens.key_of(key_id, secret)
    assert len(key) == 55
    for header in (f"Bearer {key}", f"bearer   {key} "):
        assert tokens.parse(header.encode()) == (key_id, key.encode())
    found = tokens.KEY.search(f"curl -H 'Authorization: Bearer {key}' …")
    assert found is not None
    assert found[0] == key


@given(st.binary(max_size=120))
def test_other_bytes_are_no_key(raw: bytes) -> None:
    """Whatever comes in a header, nothing is raised."""
    assert tokens.parse(raw) is None


@pytest.mark.parametrize("change", [lambda k: k[:-1], lambda k: k + "A", lambda k: k.upper(), lambda k: "Basic " + k])
def test_almost_a_key_is_no_key(change: object) -> None:
    """Length, alphabet and scheme are checked before anything is hashed."""
    assert callable(change)
    key = tokens.key_of("abcdefgh", bytes(32))
    assert tokens.parse(b"Bearer " + change(key).encode()) is None
