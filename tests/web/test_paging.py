"""Pages of lists."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kaname.web.paging import Page, page


@given(st.sets(st.text(min_size=1, max_size=5), max_size=30), st.integers(1, 10))
def test_the_pages_of_a_list_are_the_list(items: set[str], limit: int) -> None:
    """Following `next` visits every item exactly once, in order, in pages no longer than asked."""
    seen: list[str] = []
    after = ""
    while True:
        found = page(items, str, Page(limit=limit, after=after))
        assert len(found.items) <= limit
        seen += found.items
        if found.next is None:
            break
        after = found.next
    assert seen == sorted(items)


def test_items_removed_between_pages_shift_nothing() -> None:
    """The place is a key: deleting what was already seen does not skip what was not."""
    first = page(["a", "b", "c", "d"], str, Page(limit=2))
    assert page(["b", "c", "d"], str, Page(limit=2, after=first.next or "")).items == ["c", "d"]
