"""The range of keys that begin with a prefix."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kaname.storage.cells.prefix import after


@given(st.binary(max_size=4), st.binary(max_size=6))
def test_a_key_lies_in_the_range_exactly_when_it_begins_with_the_prefix(prefix: bytes, key: bytes) -> None:
    """`prefix` <= key < `after(prefix)` means that the key begins with the prefix, whatever its bytes."""
    stop = after(prefix)
    assert (prefix <= key and (stop is None or key < stop)) == key.startswith(prefix)
