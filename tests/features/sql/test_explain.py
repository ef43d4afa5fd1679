"""The plan of a query: which layout is read, what of it, what is left to filter and to sort."""

from __future__ import annotations

import pytest

from kaname.features.opened import Features

CASES: dict[str, tuple[str, dict[str, object]]] = {
    "the whole key: one row": (
        "WHERE user_id = 'ann' AND at = '2026-01-01T00:00:00Z'",
        {"layout": "by_user", "access": "points", "reads": "1 row by key", "key": "user_id, at", "filter": None},
    ),
    "several keys: all combinations": (
        "WHERE user_id IN ('ann', 'bo') AND at IN ('2026-01-01T00:00:00Z', '2026-01-02T00:00:00Z')",
        {"access": "points", "reads": "4 rows by key"},
    ),
    "a key that no row can have": (
        "WHERE user_id = 'a\0b' AND at = '2026-01-01T00:00:00Z' AND at > '2027-01-01T00:00:00Z'",
        {"access": "nothing", "reads": "nothing: no row can meet the conditions"},
    ),
    "the beginning of a key: one range": (
        "WHERE user_id = 'ann'",
        {"layout": "by_user", "access": "ranges", "reads": "1 range of rows", "key": "user_id", "filter": None},
    ),
    "what follows may be a range": (
        "WHERE user_id = 'ann' AND at > '2026-01-01T00:00:00Z' AND at <= '2026-01-02T00:00:00Z'",
        {"key": "user_id, TIMESTAMP '2026-01-01T00:00:00Z' < at <= TIMESTAMP '2026-01-02T00:00:00Z'", "filter": None},
    ),
    "BETWEEN is a range": (
        "WHERE at BETWEEN '2026-01-01T00:00:00Z' AND '2026-01-02T00:00:00Z'",
        {
            "layout": "by_time",
            "key": "TIMESTAMP '2026-01-01T00:00:00Z' <= at <= TIMESTAMP '2026-01-02T00:00:00Z'",
            "filter": None,
        },
    ),
    "the narrowest of several limits counts": (
        "WHERE at > '2026-01-01T00:00:00Z' AND at >= '2026-01-02T00:00:00Z'",
        {"layout": "by_time", "key": "TIMESTAMP '2026-01-02T00:00:00Z' <= at", "filter": None},
    ),
    "LIKE with a beginning is a range of texts": (
        "WHERE user_id LIKE 'an%'",
        {"layout": "by_name", "access": "ranges", "key": "user_id begins with 'an'", "filter": "user_id LIKE 'an%'"},
    ),
    "LIKE without a wildcard is a value": (
        "WHERE user_id LIKE 'ann'",
        {"layout": "by_user", "access": "ranges", "key": "user_id", "filter": None},
    ),
    "OR of one attribute is IN": (
        "WHERE user_id = 'ann' OR user_id = 'bo'",
        {"access": "ranges", "reads": "2 ranges of rows", "filter": None},
    ),
    "what the key does not hold is filtered": (
        "WHERE user_id = 'ann' AND price > 0.5 AND item IS NOT NULL",
        {"layout": "by_user", "key": "user_id", "filter": "price > 0.5 AND NOT (item IS NULL)"},
    ),
    "a layout in the order asked for": (
        "WHERE user_id = 'ann' ORDER BY at DESC LIMIT 1",
        {"layout": "by_user", "order": "as stored", "limit": 1},
    ),
    "another layout for the other order": (
        "WHERE user_id = 'ann' ORDER BY user_id, at LIMIT 1",
        {"layout": "by_user", "order": "as stored, from the end"},
    ),
    "several ranges are merged": (
        "WHERE user_id IN ('ann', 'bo') ORDER BY at",
        {"layout": "by_user", "order": "ranges are merged"},
    ),
    "several ranges of a layout that keeps the order of texts": (
        "WHERE user_id IN ('ann', 'bo') ORDER BY user_id, at DESC LIMIT 3",
        {"layout": "by_user", "order": "ranges are merged"},
    ),
    "an order that nothing has": (
        "WHERE user_id = 'ann' ORDER BY price",
        {"layout": "by_user", "order": "rows are held and sorted"},
    ),
    "what a layout lacks is read from others": (
        "WHERE user_id LIKE 'a%' AND price > 0.5",
        {"layout": "by_name", "other_layouts": "price, total, count, gift, day, tags, raw, v"},
    ),
    "the first rows are no full scan": (
        "ORDER BY at LIMIT 2",
        {"layout": "by_time", "access": "full scan", "order": "as stored", "refused": None},
    ),
    "null is in no key": (
        "WHERE user_id IS NULL",
        {"access": "nothing"},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_layout_with_the_fewest_rows_to_read_is_chosen(features: Features, case: str) -> None:
    """Each with what matters of its plan."""
    query, expected = CASES[case]
    [plan] = features.query(f"EXPLAIN SELECT * FROM order {query}")
    assert {name: plan[name] for name in expected} == expected


@pytest.mark.parametrize("query", ["", "WHERE price > 1", "WHERE item LIKE 'a%' LIMIT 3", "ORDER BY price LIMIT 3"])
def test_a_full_scan_is_refused_unless_it_is_allowed(features: Features, query: str) -> None:
    """`EXPLAIN` says so without an error."""
    [plan] = features.query(f"EXPLAIN SELECT * FROM order {query}")
    assert "reads the whole table" in str(plan["refused"])
    assert ("found an order in which no layout keeps its rows" in str(plan["refused"])) == query.startswith("ORDER BY")
    [plan] = features.query(f"EXPLAIN SELECT * FROM order {query} ALLOW FILTERING")
    assert (plan["access"], plan["refused"]) == ("full scan", None)


def test_explain_changes_nothing(features: Features) -> None:
    """Neither of INSERT nor of DELETE."""
    [said] = features.query("EXPLAIN INSERT INTO order (user_id, at) VALUES ('x', '2026-01-01T00:00:00Z')")
    assert said == {"does": "writes 1 row", "layout": "by_user, by_time, by_name, spread"}
    [said] = features.query("EXPLAIN DELETE FROM order WHERE user_id = 'ann'")
    assert (said["does"], said["reads"]) == ("deletes the rows it reads", "1 range of rows")
    assert len(features.query("SELECT at FROM order WHERE user_id IN ('ann', 'x')").all()) == 3
