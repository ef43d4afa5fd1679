"""Every kind of statement that cannot be answered: the error names the place, what was found and what was expected."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest

from kaname.errors import InvalidInput, NotFound, TooLarge
from kaname.features.opened import Features

A = "SELECT * FROM order WHERE user_id = 'u' AND "
INTO = "INSERT INTO order (user_id, at, "
VALUES = ") VALUES ('u', '2026-01-01T00:00:00Z', "

SYNTAX: dict[str, tuple[str, str]] = {
    "nothing": ("", "query: an empty statement; expected SELECT, INSERT, DELETE or EXPLAIN"),
    "nothing but a comment": ("-- hello", "query: an empty statement"),
    "nothing behind EXPLAIN": ("EXPLAIN", "query: an empty statement"),
    "a word that is no statement": ("SELEKT * FROM order", "query:1:1: not a statement for relations; found `SELEKT`"),
    "two statements": ("SELECT * FROM order; SELECT 1", "query:1:20: one statement at a time; found `;` inside"),
    "an open text": ("SELECT * FROM order WHERE item = 'tea", "query:1:33: a text without its closing quote"),
    "an open comment": ("SELECT * FROM order /* and", "query: a comment or text without its end"),
    "bytes that are no bytes": (A + "raw = X'0g'", "contains invalid characters"),
    "the end too soon": (A + "item =", "query:1:51: not SQL that is understood here; found the end"),
    "a bracket too many": (
        "SELECT * FROM order WHERE item = 'x')",
        "query:1:37: not SQL that is understood here; found `\\)`",
    ),
    "a bracket too few": (A + "(item = 'x'", "not SQL that is understood here"),
    "on the third line": (
        "SELECT *\nFROM order\n  WHERE itm = 'x'",
        "query:3:9: no such attribute of `order`; found `itm`",
    ),
    "no relation": ("SELECT 1", "query:1:8: a statement without a relation; expected FROM or INTO and its name"),
    "too deep": ("SELECT * FROM order WHERE " + "(" * 3000 + "item = 'x'" + ")" * 3000, "nested too deeply"),
    "NOT too deep": ("SELECT * FROM order WHERE " + "NOT " * 3000 + "item = 'x'", "nested too deeply"),
}

INSTEAD: dict[str, tuple[str, str]] = {
    "a join": ("SELECT * FROM order JOIN user ON 1 = 1", "query:1:26: not what can be asked.*found `JOIN user.*a view"),
    "two relations": ("SELECT * FROM order, user", "found `, user`; expected one relation: a view"),
    "a query in FROM": (
        "SELECT * FROM (SELECT * FROM order)",
        "a query inside a query; .*expected one relation: a view",
    ),
    "a query in IN": (A + "item IN (SELECT item FROM order)", "a query inside a query.*a view"),
    "a query as a value": (A + "item = (SELECT item FROM order)", "a query inside a query"),
    "EXISTS": (A + "EXISTS (SELECT 1 FROM order)", "a query inside a query"),
    "WITH": ("WITH x AS (SELECT 1) SELECT * FROM x", "query:1:1: not a statement for relations; found `WITH`.*a view"),
    "UNION": (
        "SELECT * FROM order UNION SELECT * FROM order",
        "two queries in one; found `UNION`; expected one relation",
    ),
    "an aggregate": ("SELECT count(*) FROM order", r"query:1:8: no aggregates; found `COUNT\(\*\)`.*Parquet"),
    "an aggregate of an attribute": ("SELECT max(price) FROM order", "query:1:8: no aggregates; found `MAX"),
    "a window": ("SELECT row_number() OVER (ORDER BY at) FROM order", "no aggregates"),
    "GROUP BY": ("SELECT item FROM order GROUP BY item", "found `GROUP BY item`; expected rows as they are"),
    "HAVING": ("SELECT item FROM order HAVING item = 'x'", "found `HAVING.*expected rows as they are"),
    "DISTINCT": ("SELECT DISTINCT item FROM order", "found `DISTINCT`; expected rows as they are"),
    "a function": (
        "SELECT upper(item) FROM order",
        r"query:1:8: not an attribute; found `UPPER\(item\)`.*derived columns",
    ),
    "arithmetic": ("SELECT price * 2 FROM order", "not an attribute; found `price \\* 2`"),
    "OFFSET": ("SELECT * FROM order LIMIT 1 OFFSET 2", r"query:1:36: .*found `OFFSET 2`.*WHERE key > …"),
    "FETCH": ("SELECT * FROM order FETCH FIRST 3 ROWS ONLY", "not a limit of rows; .*expected LIMIT n"),
    "FOR UPDATE": ("SELECT * FROM order FOR UPDATE", "no locks: a row is read as it was at one moment"),
    "TABLESAMPLE": ("SELECT * FROM order TABLESAMPLE (10)", "not what can be asked"),
    "EXCEPT": ("SELECT * EXCEPT (item) FROM order", "found `item`; expected the names of the attributes"),
    "a schema": ("SELECT * FROM shop.order", "query:1:15: .*found `shop`; expected the name of a relation alone"),
    "UPDATE": ("UPDATE order SET item = 'x'", "found `UPDATE`; expected INSERT, which writes whole rows"),
    "MERGE": ("MERGE INTO order USING x ON 1", "found `MERGE`; expected INSERT"),
    "TRUNCATE": ("TRUNCATE TABLE order", "found `TRUNCATE`; expected DELETE FROM … ALLOW FILTERING"),
    "CREATE": ("CREATE TABLE order (a int)", "found `CREATE`; expected relations and their layouts are declared"),
    "DROP": ("DROP TABLE order", r"found `DROP`; .*features/\*.schema"),
    "SHOW": ("SHOW TABLES", "found `SHOW`; .*/api/v1/relations"),
    "BEGIN": ("BEGIN", "found `BEGIN`; expected no transactions"),
    "COPY": ("COPY order FROM 'x.csv'", "found `COPY`; expected `kaname features insert"),
    "ON CONFLICT": (INTO + "item" + VALUES + "'x') ON CONFLICT DO NOTHING", "it writes over rows with the same key"),
    "RETURNING": (INTO + "item" + VALUES + "'x') RETURNING item", "no RETURNING"),
    "INSERT … SELECT": (
        INTO + "item) SELECT * FROM order",
        r"an INSERT of something else than values; expected VALUES",
    ),
    "DELETE … LIMIT": ("DELETE FROM order WHERE user_id = 'u' LIMIT 1", "query:1:45: .*found `LIMIT 1`"),
    "DELETE … USING": ("DELETE FROM order USING x WHERE user_id = 'u'", "one relation"),
    "DELETE without FROM": ("DELETE order WHERE user_id = 'u'", "a statement without a relation"),
}

NAMES: dict[str, tuple[str, str]] = {
    "another relation": ("SELECT * FROM ordre", "query:1:15: no such relation; found ordre; expected order"),
    "an attribute that is spelt otherwise": (
        "SELECT prise FROM order",
        "query:1:8: .*found `prise`; expected `price`",
    ),
    "an attribute in another case": ("SELECT Item FROM order", "found `Item`; expected `item`"),
    "an attribute of another relation": (A + "user.item = 'x'", "query:1:45: another relation; found `user.item`"),
    "the same column twice": ("SELECT item, item FROM order", "query:1:14: the same name twice; found `item`"),
    "an alias twice": ("SELECT item AS a, price AS a FROM order", "the same name twice; found `a`"),
    "an attribute to sort by": ("SELECT * FROM order ORDER BY size", "query:1:30: no such attribute"),
    "a number to sort by": ("SELECT * FROM order ORDER BY 1", "query:1:30: not an attribute; found `1`"),
    "no order of JSON": (
        "SELECT * FROM order ORDER BY tags",
        "query:1:30: values of this type have no order; found `tags`",
    ),
    "an attribute to insert": (INTO + "itm" + VALUES + "'x')", "query:1:33: no such attribute of `order`; found `itm`"),
    "an attribute to insert twice": (INTO + "at" + VALUES + "'x')", "query:1:33: the same name twice; found `at`"),
    "a missing key": ("INSERT INTO order (user_id) VALUES ('u')", "a key attribute is missing; expected `at` among"),
}

TYPES: dict[str, tuple[str, str]] = {
    "a text for a number": (
        A + "price = 'x'",
        "query:1:53: not a value of `price`, which is float64; found 'x'; expected a number",
    ),
    "a number for a text": (
        A + "item = 5",
        "query:1:52: not a value of `item`, which is string; found 5; expected a text",
    ),
    "a number too large": (
        A + "count = 2147483648",
        "found 2147483648; expected a whole number from -2147483648 to 2147483647",
    ),
    "a fraction for a whole number": (A + "count = 1.5", "not a value of `count`, which is int32; found 1.5"),
    "a number beyond float64": (A + "price = 1e999", "not a value of `price`, which is float64"),
    "digits that a decimal has not": (
        A + "total = 1.005",
        r"`total`, which is decimal\(9, 2\); found Decimal\('1.005'\)",
    ),
    "a number for a bool": (A + "gift = 1", "found 1; expected TRUE or FALSE"),
    "a time without a zone": (A + "at = '2026-01-01T00:00:00'", "expected a time with its zone, as in"),
    "a date for a time": (
        A + "at = DATE '2026-01-01'",
        "query:1:55: .*found DATE '2026-01-01'; expected a time with its zone",
    ),
    "a day that is none": (
        A + "day = '2026-02-30'",
        "query:1:51: not a value of `day`, which is date; found '2026-02-30'",
    ),
    "a text for bytes": (A + "raw = 'x'", "found 'x'; expected bytes, as in X'00ff'"),
    "a cast": (A + "item = CAST(5 AS TEXT)", "not a value; found `CAST"),
    "a sum": (A + "price = 1 + 1", "query:1:53: not a value; found `1 \\+ 1`; expected a literal or a parameter"),
    "a function for a value": (A + "at = now()", "not a value"),
    "two attributes": (A + "item = user_id", "query:1:52: two attributes; found `item = user_id`.*single quotes"),
    "no attribute": (A + "1 = 1", "query:1:49: not an attribute; found `1`"),
    "a condition that is none": (A + "gift", "query:1:45: not a condition; found `gift`; expected =, <>"),
    "a comparison of tuples": ("SELECT * FROM order WHERE (user_id, at) = ('u', 'x')", "not an attribute"),
    "null": (A + "price = NULL", "query:1:45: a comparison with null; found null; expected `price IS NULL`"),
    "null among others": (A + "price IN (1, NULL)", "a comparison with null"),
    "an empty IN": (A + "item IN ()", "IN without values"),
    "IS TRUE": (A + "gift IS TRUE", "not a condition; found `gift IS TRUE`"),
    "ILIKE": (A + "item ILIKE 'x'", "query:1:45: not a condition; found `item ILIKE 'x'`"),
    "LIKE of a number": (A + "price LIKE '1%'", "LIKE of what is no text; found `price`, float64; expected a string"),
    "a pattern that is no text": (A + "item LIKE 5", "query:1:55: not a pattern; found 5; expected a text"),
    "an escape of two characters": (A + "item LIKE 'x' ESCAPE '!!'", "not a character to escape with; found '!!'"),
    "a pattern that ends in its escape": (A + "item LIKE 'x!' ESCAPE '!'", "a pattern that ends in its escape"),
    "JSON compared": (A + "tags = '[]'", "values of this type are not compared; found `tags`, json; expected IS NULL"),
    "a vector compared": (A + "v = [1, 2]", "values of this type are not compared"),
    "a limit below zero": ("SELECT * FROM order LIMIT -1", "query:1:28: not a number of rows; found -1"),
    "a limit that is no number": ("SELECT * FROM order LIMIT 'x'", "query:1:27: not a number of rows; found 'x'"),
    "null in a key": ("INSERT INTO order (user_id, at) VALUES ('u', NULL)", "`at` is of the key; found null"),
    "too few values": (
        INTO + "item" + VALUES.removesuffix(", ") + ")",
        "not as many values as attributes; found 2; expected 3",
    ),
    "too many values": (
        INTO + "item" + VALUES + "'x', 1)",
        "not as many values as attributes; found 4; expected 3: user_id",
    ),
    "a vector too short": (INTO + "v" + VALUES + "[1])", "not a value of `v`, which is vector<float32, 2>"),
    "a vector of texts": (INTO + "v" + VALUES + "['a', 'b'])", "not a value of `v`"),
    "text that is no JSON": (INTO + "tags" + VALUES + "'{')", "`tags` is json: "),
    "the second row": (
        "INSERT INTO order (user_id, at, price) VALUES ('u', '2026-01-01T00:00:00Z', 1),\n ('v', '2026-01-01', 2)",
        "query:2:8: not a value of `at`",
    ),
    "DEFAULT": (INTO + "item" + VALUES + "DEFAULT)", "not a value; found `DEFAULT`"),
}

PARAMETERS: dict[str, tuple[str, Any, str]] = {
    "too few": (A + "item = ?", [], "parameters: not as many values as there are `\\?`; found 0; expected 1"),
    "too many": (A + "item = ?", ["x", "y"], "found 2; expected 1"),
    "none asked for": (A + "item = 'x'", ["x"], "found 1; expected 0"),
    "a name that is not given": (
        A + "item = :item",
        {"itm": "x"},
        "query:1:53: no value for this parameter; found :item",
    ),
    "a list for names": (A + "item = :item", ["x"], "parameters: not as many values"),
    "names for marks": (A + "item = ?", {"item": "x"}, "parameters: values by name for `\\?`"),
    "one text": (A + "item = ?", "x", "parameters: not parameters; found 'x'; expected a list"),
    "of another type": (
        A + "item = ?",
        [5],
        "query:1:52: not a value of `item`, which is string; found 5; expected text",
    ),
    "without a zone": (A + "at = ?", [datetime(2026, 1, 1)], "a datetime with a time zone"),  # noqa: DTZ001
    "null": (A + "price = ?", [None], "a comparison with null"),
    "a limit": ("SELECT * FROM order LIMIT ?", [True], "query:1:27: not a number of rows; found True"),
    "a pattern": (A + "item LIKE ?", [b"x"], "not a pattern; found b'x'; expected a text"),
}

TABLES = {"syntax": SYNTAX, "instead": INSTEAD, "names": NAMES, "types": TYPES}
CASES = [(table, case) for table, cases in TABLES.items() for case in cases]


@pytest.mark.parametrize(("table", "case"), CASES)
def test_a_statement_that_cannot_be_answered_is_refused_with_its_reason(
    features: Features, table: str, case: str
) -> None:
    """In the words of this table; nothing is read or written."""
    sql, expected = TABLES[table][case]
    with pytest.raises((InvalidInput, NotFound), match=f"(?s){expected}"):
        features.query(sql)


@pytest.mark.parametrize("case", PARAMETERS)
def test_parameters_that_do_not_fit_are_refused(features: Features, case: str) -> None:
    """With the place where they are used."""
    sql, given, expected = PARAMETERS[case]
    with pytest.raises(InvalidInput, match=expected):
        features.query(sql, given)


def test_an_insert_with_one_bad_row_writes_none(features: Features) -> None:
    """The values are read before the first is written."""
    with pytest.raises(InvalidInput, match=re.escape("query:1:81: not a value of `at`")):
        features.query("INSERT INTO order (user_id, at) VALUES ('new', '2026-01-01T00:00:00Z'), ('new', 'x')")
    assert features.query("SELECT * FROM order WHERE user_id = 'new'").all() == []


def test_a_statement_may_not_be_longer_than_a_million_characters(features: Features) -> None:
    """More rows than that are no text."""
    with pytest.raises(TooLarge, match="insert many rows as NDJSON or Arrow"):
        features.query("SELECT * FROM order WHERE item = '" + "x" * (1 << 20) + "'")


def test_values_need_no_quotes_when_they_are_parameters(features: Features) -> None:
    """By position and by name; what looks like SQL is a value."""
    at, item = datetime(2026, 1, 1, tzinfo=UTC), "'; DELETE FROM order; --"
    features.query("INSERT INTO order (user_id, at, item, tags) VALUES (?, ?, ?, ?)", ["x", at, item, {"a": [1]}])
    found = features.query(
        "SELECT item, tags FROM order WHERE user_id = :u AND at = :at", {"u": "x", "at": at, "more": 1}
    )
    assert found.all() == [{"item": item, "tags": {"a": [1]}}]
