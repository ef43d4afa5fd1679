"""CSV into relations."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from kaname.errors import InvalidInput
from kaname.features.bulk.csv_rows import CsvRows
from kaname.features.bulk.files import insert_file, write_file
from kaname.features.bulk.inserting import PIECE_BYTES, Insertion
from kaname.features.opened import Features
from tests.features.bulk import test_loading
from tests.features.bulk.test_loading import ALL, NULL, ROW, T

features = test_loading.features
AT = "2026-01-01T00:00:00Z"
HEAD = "user_id,at,item,price,small,total,count,gift,day,tags,raw,v\n"
FULL = f'ann,{AT},tea,2.5,0.5,2.50,-3,true,2026-01-31,"{{""hot"":[1,null]}}",AP8=,"[0.5, 1]"\n'


def insert(features: Features, text: str | bytes) -> int:
    """Rows of a text in one piece."""
    orders = features.relation("order")
    insertion = Insertion(orders, CsvRows(orders.relation))
    insertion.feed(text if isinstance(text, bytes) else text.encode())
    return insertion.finish()


def test_a_row_of_every_type_is_read(features: Features) -> None:
    """With a mark of the byte order, line ends of Windows, empty lines and empty cells, which are null."""
    text = ("\ufeff" + HEAD + FULL + "\n" + f"bob,{AT}" + "," * 10).replace("\n", "\r\n")
    assert insert(features, text) == 2
    assert features.query(ALL).all() == [{**ROW, "raw": b"\0\xff"}, {**NULL, "user_id": "bob", "at": T}]


def test_columns_may_be_fewer_and_in_another_order(features: Features) -> None:
    """A cell in quotes holds commas, quotes and line ends."""
    assert insert(features, f'item,at,user_id\n"a ""b"",\nc",{AT},u\n"",{AT},v\n') == 2
    assert [row["item"] for row in features.query(ALL)] == ['a "b",\nc', None]


def test_numbers_are_read_as_their_types_have_them(features: Features) -> None:
    """In any form of a number."""
    insert(features, f"user_id,at,price,count,gift,total,day\nu,{AT},1e3,7,FALSE,1e1,2026-02-01\n")
    [row] = features.query("SELECT price, count, gift, total, day FROM order LIMIT 1")
    assert row == {"price": 1000.0, "count": 7, "gift": False, "total": Decimal("10.00"), "day": date(2026, 2, 1)}


def feed(insertion: Insertion, text: bytes) -> None:
    """A text in pieces of an odd size."""
    for start in range(0, len(text), 77_777):
        insertion.feed(text[start : start + 77_777])
    insertion.finish()


BAD: dict[str, tuple[str | bytes, str]] = {
    "a column that is no attribute": ("user_id,at,prise\n", "line 1: no such attribute, .*found `prise`; expected one"),
    "a column twice": ("user_id,at,at\n", "line 1: no such attribute, or one that comes twice; found `at`"),
    "no key": ("user_id,item\n", "line 1: a key attribute is missing; found user_id, item; expected a column `at`"),
    "too few cells": (f"user_id,at\nu,{AT}\n\nv\n", "line 4: not as many cells as columns; found 1; expected 2"),
    "too many cells": (f"user_id,at\nu,{AT},x\n", "line 2: not as many cells as columns; found 3; expected 2"),
    "a text for a number": (f"user_id,at,count\nu,{AT},1\nu,{AT},\nu,{AT},x\n", "line 4.count: not a value .*'x'"),
    "a fraction": (f"user_id,at,count\nu,{AT},1.5\n", "line 2.count: .*found '1.5'; expected a whole number"),
    "a number out of range": (f"user_id,at,count\nu,{AT},3000000000\n", "line 2.count: .*found '3000000000'"),
    "a number for a bool": (f"user_id,at,gift\nu,{AT},7\n", "line 2.gift: .*found '7'; expected true or false"),
    "no zone": ("user_id,at\nu,2026-01-01T00:00:00\n", "line 2.at: .*found '2026-01-01T00:00:00'; expected a time"),
    "a time that is a number": ("user_id,at\nu,1769860800\n", "line 2.at: .*found '1769860800'; expected a time"),
    "digits too many": (f"user_id,at,total\nu,{AT},1.005\n", "line 2.total: not a value of this attribute"),
    "a vector too short": (f"user_id,at,v\nu,{AT},[1]\n", r"line 2.v: .*found '\[1\]'; expected a list of 2 numbers"),
    "no JSON": (f"user_id,at,tags\nu,{AT},{{\n", "line 2.tags: .*found '{'; expected JSON"),
    "no base64": (f"user_id,at,raw\nu,{AT},?\n", "line 2.raw: .*expected text of base64"),
    "null in the key": (f"user_id,at\nu,{AT}\n,{AT}\n", "line 3.user_id: a key attribute is null"),
    "a key too long": (f"user_id,at\n{'x' * 600},{AT}\n", "line 2.user_id: the row key is too long"),
    "an open quote": (f'user_id,at\nu,{AT}\n"v,{AT}\n', "line 3: not CSV; found unexpected end of data; expected"),
    "a quote inside": (f'user_id,at\n"u"x,{AT}\n', "line 2: not CSV; found ',' expected after '\"'"),
    "no text": (b"user_id,at\nu,\xff\n", r"line 2: not text; found b'\\xff'; expected UTF-8"),
    "behind a row of two lines": (f'user_id,at,item\nu,{AT},"a\nb"\nv,x,\n', "line 4.at: not a value"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_row_is_refused_with_its_line(features: Features, case: str) -> None:
    """Its column, what was found and what was expected; nothing of its batch is written."""
    text, expected = BAD[case]
    with pytest.raises(InvalidInput, match=f"(?s)^{expected}"):
        insert(features, text)
    assert features.query(ALL).all() == []


def test_pieces_may_end_anywhere(features: Features) -> None:
    """Inside of a cell, a quote, a letter; lines are counted over all of them, and what was written before stays."""
    count = 3 * PIECE_BYTES // 1000
    lines = [f'"u\n{i:05}",{AT},"é{"x" * 900}"' for i in range(count)]
    text = ("user_id,at,item\n" + "\n".join(lines) + "\nlast,noon,\n").encode()
    orders = features.relation("order")
    insertion = Insertion(orders, CsvRows(orders.relation))
    expected = rf"^line {2 * count + 2}.at: .*; \d+ rows before it were written; found 'noon'"
    with pytest.raises(InvalidInput, match=expected):
        feed(insertion, text)
    assert 0 < len(features.query("SELECT at FROM order ALLOW FILTERING").all()) == insertion.written < count


def test_a_file_is_read(features: Features, tmp_path: Path) -> None:
    """By its ending; to write one is refused, since it would lose the types."""
    (tmp_path / "rows.csv").write_text(HEAD + FULL)
    assert insert_file(features.relation("order"), tmp_path / "rows.csv") == 1
    (tmp_path / "moments.CSV").write_text(f"user_id,at,item,told\nann,{AT},late,2026-01-02T00:00:00Z\n")
    assert insert_file(features.relation("order"), tmp_path / "moments.CSV", at="told") == 1
    assert features.relation("order").get(ROW) == ROW
    with pytest.raises(InvalidInput, match=r"rows are not written as CSV, which has no types; expected .parquet"):
        write_file(features.query(ALL), tmp_path / "out.csv")
