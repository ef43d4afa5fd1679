"""Bad schemas and bad rows: each gives its place, what was found and what was expected."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import cast

import numpy as np
import pytest

from kaname.errors import InvalidInput
from kaname.features.schemas import schemas_in

GOOD = "define relation r { k string key, t timestamp key, a string, b int64, j json };"


def schema(clauses: str, relation: str = GOOD, on: str = 'cells("main")') -> str:
    """A file of a relation in its first line and a layout from the second on, with the clauses in the third."""
    return f"{relation}\ndefine schema s for r on {on} {{\n{clauses}\n}};"


CELLS = 'family "f", value pack[]'
ROW = f'table "t", row size{{k}}:t, {CELLS}'

SYNTAX = {
    "not a definition": ("relation r {", "1:1", "found `relation`; expected `define` or the end of the file"),
    "neither relation nor schema": ("define table r {}", "1:8", "expected `relation` or `schema`"),
    "a relation without a name": ("define relation {", "1:17", "expected a name"),
    "an attribute without a type": ("define relation r { k, }", "1:22", "found `,`; expected a name"),
    "no comma": ("define relation r { k string key t date }", "1:34", "found `t`; expected `,` or `planned` or `}`"),
    "not closed": (
        "define relation r {\n  k string key",
        "2:14",
        "the end of the file; expected `,` or `planned` or `}`",
    ),
    "a character of no word": ("define relation r { k string key, § }", "1:35", "found `§`; expected `}` or a name"),
    "an open quote": (schema('table "t'), "3:7", "a text without its closing quote"),
    "an unknown escape": (schema(r'table "\q"'), "3:7", r"not an escape; found \q; expected \n \t"),
    "text that is not UTF-8": (schema(r'table "\xff"'), "3:7", "a text is UTF-8"),
    "a table without quotes": (schema("table t"), "3:7", 'expected a text in quotes, as in "f"'),
    "an unknown clause": (schema("tabel"), "3:1", "expected `family` or `qualifier` or `row` or `table` or `value`"),
    "an unknown part": (schema("row siz{k}"), "3:8", "found `{`"),
    "nothing in a row": (schema("row , "), "3:5", "expected a name or desc{…}"),
    "a part in a part": (schema("row size{desc{t}}"), "3:14", "found `{`; expected `}`"),
    "no colon": (schema("row size{k}t"), "3:12", "expected `:t`, or the `k` whose size this is"),
    "a name where a number must be": (schema("row hash(n)[k]"), "3:10", "found `n`; expected a whole number"),
    "no store": ("define schema s for r {", "1:23", "found `{`; expected `on`"),
}

RELATIONS = {
    "no attributes": ("define relation r { };", "1:17", "a relation without a key"),
    "no key": ("define relation r { a string };", "1:17", "expected `key` behind the type of an attribute"),
    "an unknown type": ("define relation r { k strng key };", "1:23", "no such type; found `strng`; expected `string`"),
    "a type of another language": ("define relation r { k xyz key };", "1:23", "expected one of string, bytes, bool"),
    "an attribute twice": ("define relation r { k string key, K date };", "1:35", "not that of text:1:21"),
    "a relation twice": (f"{GOOD}\ndefine relation R {{ k string key }};", "2:17", "another relation has that name"),
    "a long name": (f"define relation r {{ {'k' * 49} string key }};", "1:21", "at most 48 letters"),
    "a bare decimal": ("define relation r { k decimal key };", "1:23", "expected decimal(precision, scale)"),
    "a decimal of one number": ("define relation r { k decimal(5) key };", "1:23", "a precision and a scale"),
    "too precise": (
        "define relation r { k decimal(39, 2) key };",
        "1:31",
        "not a precision; found `39`; expected 1 to 38",
    ),
    "more scale than precision": ("define relation r { k decimal(4, 5) key };", "1:34", "found `5`; expected 0 to 4"),
    "a bare vector": ("define relation r { k date key, v vector };", "1:35", "expected vector<type, length>"),
    "a vector of text": (
        "define relation r { k date key, v vector<string, 3> };",
        "1:42",
        "no such type of a vector's",
    ),
    "an empty vector": ("define relation r { k date key, v vector<int32, 0> };", "1:49", "expected 1 to 65536"),
    "a length of text": ("define relation r { k string(5) key };", "1:23", "expected `string` alone"),
    "JSON in the key": ("define relation r { k json key };", "1:23", "have no order"),
    "a history of nothing": ("define relation r with {", "1:24", "found `{`; expected `history`"),
    "a history of no time": ("define relation r with history(0 days) { k date key };", "1:32", "expected 1 to 36500"),
    "an unknown unit": ("define relation r with history(3 weeks) { k date key };", "1:34", "minutes, hours or days"),
    "a history without a table": (
        f"define relation {'r' * 41} with history {{ k date key }};",
        "1:17",
        "expected at most 40 letters, for a table of its history",
    ),
    "a plan of text": ("define relation r { k string key planned };", "1:34", "only a timestamp may be planned"),
    "a vector in the key": ("define relation r { k vector<int32, 2> key };", "1:23", "have no order"),
}

LAYOUTS = {
    "the table of a history": (
        schema(f'table "history_r", row size{{k}}:t, {CELLS}', GOOD.replace("r {", "r with history {")),
        "2:15",
        "the history of a relation has this table; found `history_r`",
    ),
    "an unknown relation": ('define schema s for q on cells("main") {};', "1:21", "no such relation; found `q`"),
    "an unknown store": (schema(ROW, on='cels("main")'), "2:26", "no such store; found `cels`; expected `cells`"),
    "a store without a name": (schema(ROW, on='cells("")'), "2:32", 'expected a name, as in cells("main")'),
    "a store that is a path": (schema(ROW, on='cells("../x")'), "2:32", "not the name of a store; found `../x`"),
    "no table": (schema(f"row size{{k}}:t, {CELLS}"), "2:15", "a schema without a table"),
    "two tables": (schema(f'{ROW}, table "u"'), "3:53", "a second table"),
    "a bad table": (schema(f'table "a b", row size{{k}}:t, {CELLS}'), "3:1", "expected a letter or _, then letters"),
    "no row": (schema(f'table "t", {CELLS}'), "2:15", "a schema without a row"),
    "two rows": (schema(f"{ROW}, row t"), "3:53", "a second row"),
    "no cells": (schema('table "t", row size{k}:t'), "2:15", "a schema without cells"),
    "an unknown attribute": (schema(f'table "t", row size{{kk}}:t, {CELLS}'), "3:21", "no such attribute of `r`"),
    "a lost key": (schema(f'table "t", row t, {CELLS}'), "3:16", "loses an attribute of the key"),
    "a key only hashed": (schema(f'table "t", row hash(8)[k]:t, {CELLS}'), "3:16", "expected `k`"),
    "an attribute off the key": (
        schema(f'table "t", row size{{k}}:t:b, {CELLS}'),
        "3:26",
        "only attributes of the key",
    ),
    "text with more behind it": (schema(f'table "t", row k:t, {CELLS}'), "3:16", "ambiguous: where this ends"),
    "a part twice": (schema(f'table "t", row size{{k}}:t:t, {CELLS}'), "3:26", "an attribute that is here twice"),
    "a hash of nothing": (schema(f'table "t", row hash(3)[]:size{{k}}:t, {CELLS}'), "3:16", "a hash of nothing"),
    "no byte of a hash": (schema(f'table "t", row hash(0)[k]:size{{k}}:t, {CELLS}'), "3:16", "expected 1 to 32"),
    "too many of a hash": (schema(f'table "t", row hash(33)[k]:size{{k}}:t, {CELLS}'), "3:16", "expected 1 to 32"),
    "an empty separator": (schema(f'table "t", row suffix(""){{k}}:t, {CELLS}'), "3:16", "an empty separator"),
    "a separator behind a time": (
        schema(f'table "t", row size{{k}}:suffix(","){{t}}, {CELLS}'),
        "3:24",
        "expected `t` plain: timestamp always takes 8 bytes",
    ),
    "a fixed time": (
        schema(f'table "t", row size{{k}}:fixed(4){{t}}, {CELLS}'),
        "3:24",
        "`fixed` is for text and bytes",
    ),
    "fixed to nothing": (schema(f'table "t", row fixed(0){{k}}:t, {CELLS}'), "3:16", "expected 1 to 500"),
    "fixed to too much": (schema(f'table "t", row fixed(501){{k}}:t, {CELLS}'), "3:16", "found `501`"),
    "a size turned round": (
        schema(f'table "t", row desc{{size{{k}}}}:t, {CELLS}'),
        "3:16",
        "do not sort the other way",
    ),
    "text turned round": (schema(f'table "t", row t:desc{{k}}, {CELLS}'), "3:18", r'expected desc{suffix("\0"){k}}'),
    "a family without a value": (schema(f'{ROW}, family "g"'), "3:53", "a family without a value"),
    "a value without a family": (schema('table "t", row size{k}:t, value pack[]'), "3:27", "`family` before it"),
    "two qualifiers": (
        schema('table "t", row size{k}:t, family "f", qualifier "a", qualifier "b", value pack[]'),
        "3:54",
        "a second qualifier",
    ),
    "a bad family": (schema('table "t", row size{k}:t, family "", value pack[]'), "3:34", "not a family"),
    "values without names": (
        schema('table "t", row size{k}:t, family "f", value attr_value[]'),
        "3:45",
        "needs one attr_name",
    ),
    "names without values": (
        schema('table "t", row size{k}:t, family "f", qualifier attr_name[], value pack[]'),
        "3:49",
        "attr_name[…] without attr_value[…]",
    ),
    "names twice": (
        schema('table "t", row size{k}:t, family attr_name[], qualifier attr_name[], value attr_value[]'),
        "3:76",
        "needs one attr_name",
    ),
    "other names than values": (
        schema('table "t", row size{k}:t, family "f", qualifier attr_name[a], value attr_value[b]'),
        "3:69",
        "list different attributes",
    ),
    "an attribute with two places": (
        schema('table "t", row size{k}:t, family "f", value pack[a], family "g", value pack[a, b, j]'),
        "3:72",
        "has a place already",
    ),
    "two values in one cell": (
        schema('table "t", row size{k}:t, family "f", value pack[a], family "f", value pack[b, j]'),
        "3:72",
        'two values in one cell; found `family "f", qualifier ""`',
    ),
    "a name that is a qualifier too": (
        schema(
            'table "t", row size{k}:t, family "f", qualifier "b", value pack[a],'
            ' family "f", qualifier attr_name[], value attr_value[]'
        ),
        "3:110",
        "two values in one cell",
    ),
    "two that take the rest": (
        schema('table "t", row size{k}:t, family "f", value pack[], family "g", value pack[]'),
        "3:71",
        "another value takes the attributes that nobody lists",
    ),
    "nothing left": (
        schema(
            'table "t", row size{k}:t, family "f", value pack[a, b, j],'
            ' family "g", qualifier attr_name[], value attr_value[]'
        ),
        "3:101",
        "no attribute is left",
    ),
    "the qualifier of markers": (
        schema(r'table "t", row size{k}:t, family "f", qualifier "\0", value pack[]'),
        "3:49",
        "marks rows with nulls",
    ),
    "a hash in a value": (
        schema('table "t", row size{k}:t, family "f", value hash(3)[a]:b'),
        "3:45",
        "a meaning in a row key only",
    ),
    "an ambiguous value": (
        schema('table "t", row size{k}:t, family "f", value a:b'),
        "3:45",
        "expected size{a}, suffix(…){a} or fixed(…){a}",
    ),
    "a fixed document": (
        schema('table "t", row size{k}:t, family "f", value fixed(9){j}'),
        "3:45",
        "expected size{…} or suffix(…){…}",
    ),
    "an attribute that no schema holds": (
        schema('table "t", row size{k}:t, family "f", value pack[a, j]'),
        "1:17",
        "no schema of the relation holds; found `b`",
    ),
    "a schema twice": (
        schema(ROW) + schema(ROW.replace('"t"', '"u"'), ""),
        "5:15",
        "another schema of `r` has that name",
    ),
    "a table twice": (
        f"{schema(ROW)}{schema(ROW, '').replace('schema s', 'schema v')}",
        "6:7",
        "another schema has this table; found `t`; expected not the table of `s`",
    ),
}


@pytest.mark.parametrize(
    ("text", "place", "says"),
    [*SYNTAX.values(), *RELATIONS.values(), *LAYOUTS.values()],
    ids=[*SYNTAX, *RELATIONS, *LAYOUTS],
)
def test_a_bad_schema_is_refused_where_it_is_bad(text: str, place: str, says: str) -> None:
    """File, line and column, and what to write instead."""
    with pytest.raises(InvalidInput) as error:
        schemas_in(text)
    assert error.value.where == f"text:{place}"
    assert says in str(error.value)


T = datetime(2026, 1, 1, tzinfo=UTC)
WIDE = (
    "define relation r { k string key, n float64 key, a string, b int32, c float32, d decimal(5, 2), e timestamp,"
    " f date, g bool, h bytes, v vector<float32, 2>, j json, w int64 };"
)
LAYOUT = schemas_in(schema(f'table "t", row suffix(","){{k}}:n, {CELLS}', WIDE)).layouts["r"][0]
JOINED = schemas_in(
    schema('table "t", row fixed(3){k}:t, family "f", value suffix(","){a}:b, family "g", value pack[]')
)
TEXT, LONE = "text", "\ud800"
DEEP: list[object] = []
for _ in range(100_000):
    DEEP = [DEEP]

ROWS: dict[str, tuple[dict[str, object], str, str]] = {
    "a null key": ({"k": None}, "k", "found null; expected text"),
    "a number as text": ({"k": 5}, "k", "found 5; expected text"),
    "the separator in a value": ({"k": "a,b"}, "k", "the value holds b',', which ends it"),
    "half a surrogate pair": ({"k": LONE}, "k", "half of a surrogate pair"),
    "NaN in a key": ({"n": float("nan")}, "n", "NaN has no place in an order"),
    "a key too long": (
        {"k": "x" * 500},
        "k",
        "the row key is too long (schema `s`); found 509 bytes; expected 1 to 500",
    ),
    "an unknown attribute": ({"x": 1}, "x", "no such attribute (schema `s`); expected one of k, n, a"),
    "bytes as text": ({"a": b"x"}, "a", "found b'x'; expected text"),
    "too large for 32 bits": ({"b": 1 << 31}, "b", "expected a whole number from -2147483648 to 2147483647"),
    "too small for 64 bits": ({"w": -(1 << 63) - 1}, "w", "expected a whole number from -9223372036854775808"),
    "a truth as a number": ({"b": True}, "b", "found True; expected a whole number"),
    "a fraction as a whole number": ({"b": 1.0}, "b", "found 1.0; expected a whole number"),
    "a number of numpy, too large": ({"b": np.int64(1 << 40)}, "b", "found 1099511627776"),
    "too large for float32": ({"c": 1e39}, "c", "expected a number that float32 can hold"),
    "text as a number": ({"n": "1"}, "n", "found '1'; expected a number that float64 can hold"),
    "a whole number that float64 rounds": ({"n": (1 << 53) + 1}, "n", "expected a number that float64 can hold"),
    "too many digits behind the point": ({"d": Decimal("1.001")}, "d", "at most 3 digits before and 2 behind"),
    "too many digits before the point": ({"d": Decimal(1000)}, "d", "expected a Decimal of at most 3 digits"),
    "a decimal that is none": ({"d": Decimal("NaN")}, "d", "expected a Decimal"),
    "a float as decimal": ({"d": 0.5}, "d", "found 0.5; expected a Decimal"),
    "a time without zone": ({"e": datetime(2026, 1, 1)}, "e", "expected a datetime with a time zone"),  # noqa: DTZ001
    "a date as time": ({"e": date(2026, 1, 1)}, "e", "expected a datetime with a time zone"),
    "a time as date": ({"f": T}, "f", "expected a date"),
    "a number as truth": ({"g": 1}, "g", "found 1; expected true or false"),
    "text as bytes": ({"h": TEXT}, "h", "found 'text'; expected bytes"),
    "a short vector": ({"v": [1.0]}, "v", "expected 2 numbers that float32 can hold"),
    "a vector of text": ({"v": ["a", "b"]}, "v", "expected 2 numbers"),
    "a vector with a number too large": ({"v": [1.0, 1e39]}, "v", "expected 2 numbers"),
    "a set as JSON": ({"j": {1, 2}}, "j", "expected what JSON can hold"),
    "numbers as keys of JSON": ({"j": {1: 2}}, "j", "objects with text as keys"),
    "NaN in JSON": ({"j": [float("nan")]}, "j", "found nan; expected what JSON can hold"),
    "a huge number in JSON": ({"j": 1 << 64}, "j", "a whole number of 64 bits"),
    "JSON without end": ({"j": DEEP}, "j", "not nested so deeply"),
    "half a surrogate pair in JSON": ({"j": {LONE: 1}}, "j", "half of a surrogate pair"),
}


@pytest.mark.parametrize(("change", "column", "says"), ROWS.values(), ids=ROWS)
def test_a_bad_row_is_refused_with_row_and_column(change: dict[str, object], column: str, says: str) -> None:
    """By its number among many, or by its key alone."""
    row = {"k": "u1", "n": 0.5, **change}
    with pytest.raises(InvalidInput) as error:
        LAYOUT.put(row, number=7)
    assert error.value.where == f"rows[7].{column}"
    assert says in str(error.value)
    with pytest.raises(InvalidInput) as error:
        LAYOUT.put(row)
    assert cast("str", error.value.where).startswith("r[k=")
    assert cast("str", error.value.where).endswith(f"].{column}")


@pytest.mark.parametrize(
    ("change", "column", "says"),
    [
        ({"k": "abcd"}, "k", "does not fit fixed(3) (schema `s`); found 'abcd'; expected at most 3 bytes of UTF-8"),
        ({"k": "éé"}, "k", "expected at most 3 bytes of UTF-8"),
        ({"k": "a\0"}, "k", "the last not zero"),
        ({"a": "x,y"}, "a", "the value holds b','"),
        ({"a": None}, "a", "only pack[…] and attr_value[…] have a place for null"),
        ({"b": None}, "b", "found null; expected a value"),
    ],
)
def test_a_row_that_its_layout_cannot_write_is_refused(change: dict[str, object], column: str, says: str) -> None:
    """What fits the type need not fit the layout."""
    row = {"k": "abc", "t": T, "a": "x", "b": 1, **change}
    with pytest.raises(InvalidInput) as error:
        JOINED.layouts["r"][0].put(row, number=0)
    assert error.value.where == f"rows[0].{column}"
    assert says in str(error.value)


def test_a_missing_or_empty_key_is_refused() -> None:
    """The attribute that is missing is named."""
    with pytest.raises(InvalidInput, match=r"r\[k='u'\]\.n: a key attribute is missing"):
        LAYOUT.put({"k": "u"})
    plain = schemas_in(schema(f'table "t", row k, {CELLS}', "define relation r { k string key };")).layouts["r"][0]
    with pytest.raises(InvalidInput, match="the row key is empty"):
        plain.key({"k": ""})


@pytest.mark.parametrize("separator", ["aa", "aba"])
def test_a_value_that_only_with_its_separator_holds_the_separator_is_refused(separator: str) -> None:
    """`xa` ended by `aa` would be read as `x`."""
    text = schema(f'table "t", row suffix("{separator}"){{k}}:t, {CELLS}')
    with pytest.raises(InvalidInput, match="which ends it"):
        schemas_in(text).layouts["r"][0].key({"k": f"x{separator[:-1]}", "t": T})
