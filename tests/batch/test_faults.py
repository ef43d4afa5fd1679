"""Rows that do not fit: which policy does what with them, and what is said of each; files that fit not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from kaname.batch import lines
from kaname.errors import Conflict, CorruptData, InvalidInput, KanameError
from tests.batch.project import FORMATS, Batches, flowers, read, write

HEADER = "length,width,petals,colour\n"
GOOD = "1.5,,2,red\n"


@pytest.mark.parametrize(
    ("line", "column", "found", "expected"),
    [
        ("x,,2,red", "length", "x", "a number (FP32)"),
        (",,2,red", "length", "null", "a number (FP32)"),
        ("1e39,,2,red", "length", "1e+39", "a value that FP32 can hold"),
        ("1,,2,green", "colour", "green", "one of red, blue"),
        ("1,,2,", "colour", "null", "one of red, blue"),
        ("1,,2", None, "3: 1,,2", "4"),
        ("1,,2,red,5", None, "5: 1,,2,red,5", "4"),
    ],
)
def test_a_bad_cell_of_a_csv_file_is_named(
    batches: Batches, tmp_path: Path, line: str, column: str | None, found: str, expected: str
) -> None:
    """Row, column, what was found and what was expected, as an error and in the file of errors."""
    (tmp_path / "in.csv").write_text(HEADER + GOOD * 3 + line + "\n" + GOOD * 2)
    with pytest.raises(InvalidInput) as failed:
        batches.run(batches.task("flowers", tmp_path / "in.csv", tmp_path / "out.csv"))
    place = f"{tmp_path / 'in.csv'}: row 4" + (f", column {column}" if column else "")
    assert (failed.value.where, failed.value.found, failed.value.expected) == (place, found, expected)
    done = batches.run(batches.task("flowers", tmp_path / "in.csv", tmp_path / "out.csv", on_error="skip"))
    assert (done.rows, done.bad) == (6, 1)
    (error,) = read(Path(done.errors or "").rename(tmp_path / "errors.jsonl"))
    assert error.pop("message")
    assert error == {"row": 4, "found": found, "expected": expected} | ({"column": column} if column else {})


@pytest.mark.parametrize("form", FORMATS)
def test_rows_without_an_answer_are_null_or_left_out(batches: Batches, tmp_path: Path, form: str) -> None:
    """Under `null` every row is there, under `skip` those with an answer; kept columns stay with their rows."""
    rows = flowers(200)
    for at in (0, 17, 199):
        rows[at]["colour"] = "green"
    source = write(tmp_path / f"in.{form}", rows)
    good = [at for at in range(200) if at not in (0, 17, 199)]
    for policy, there in (("null", list(range(200))), ("skip", good)):
        output = tmp_path / f"{policy}.parquet"
        done = batches.run(batches.task("flowers", source, output, on_error=policy, keep=["name"]))
        found = read(output)
        assert (done.rows, done.bad) == (200, 3)
        assert [row["row"] - 1 for row in found] == there
        assert [row["name"] for row in found] == [rows[at]["name"] for at in there]
        assert [row["row"] - 1 for row in found if row["prediction"] is not None] == good
        assert [
            error["row"] for error in map(msgspec.json.decode, Path(done.errors or "").read_bytes().splitlines())
        ] == [
            1,
            18,
            200,
        ]


@pytest.mark.parametrize(
    ("line", "column", "found"),
    [
        ('{"length": "1", "petals": 1, "colour": "red"}', "length", "1"),
        ('{"length": 1, "colour": "red"}', None, None),
        ('{"length": 1, "petals": 1e39, "colour": "red"}', "petals", "1e+39"),
        ('{"length": 1, "petals": 1, "colour": "pink"}', "colour", "pink"),
        ('{"length": 1', None, '{"length": 1'),
        ("[1, 2]", None, None),
        ("7", None, "int"),
    ],
)
def test_a_bad_line_is_named(
    batches: Batches, tmp_path: Path, line: str, column: str | None, found: str | None
) -> None:
    """Lines that are no JSON, have another shape, or a value of another type."""
    good = '{"length": 1, "petals": 1, "colour": "red"}\n'
    (tmp_path / "in.jsonl").write_text(good * 2 + line + "\n" + good)
    done = batches.run(batches.task("flowers", tmp_path / "in.jsonl", tmp_path / "out.jsonl", on_error="null"))
    assert (done.rows, done.bad) == (4, 1)
    (error,) = read(Path(done.errors or "").rename(tmp_path / "errors.jsonl"))
    assert error["row"] == 3
    assert error.get("column") == column
    if found is not None:
        assert error["found"] == found


def test_text_that_is_not_utf8_costs_its_row(batches: Batches, tmp_path: Path) -> None:
    """A damaged byte in a category or in a kept column."""
    header = b"length,width,petals,colour,name\n"
    (tmp_path / "in.csv").write_bytes(header + b"1,,2,red,a\n1,,2,r\xff,b\n1,,2,red,\xfe\n1,,2,blue,d\n")
    task = batches.task("flowers", tmp_path / "in.csv", tmp_path / "out.parquet", on_error="skip", keep=["name"])
    done = batches.run(task)
    assert (done.rows, done.bad) == (4, 2)
    assert [(row["row"], row["name"]) for row in read(tmp_path / "out.parquet")] == [(1, "a"), (4, "d")]


def test_rows_that_the_model_fails_on_are_found_one_by_one(batches: Batches, tmp_path: Path) -> None:
    """A run with many rows fails as a whole; each is then asked alone."""
    rows = [{"words": ["a", "b"]}, {"words": ["a"]}, {"words": ["c", "d"]}]
    source = write(tmp_path / "in.jsonl", rows)
    done = batches.run(batches.task("words", source, tmp_path / "out.jsonl", on_error="null"))
    assert (done.rows, done.bad) == (3, 1)
    assert [row["prediction"] for row in read(tmp_path / "out.jsonl")] == [["a", "b"], None, ["c", "d"]]


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_huge_row_is_skipped_in_little_memory(
    batches: Batches, tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row beyond the limit is bad, and the one after it is read again from its beginning."""
    monkeypatch.setattr(lines.blocks, "__kwdefaults__", {"block_bytes": 1024, "longest": 4096})
    rows = flowers(100)
    rows[50]["name"] = "\n".join(["x" * 50] * 500)
    source = write(tmp_path / f"in.{form}", rows)
    done = batches.run(batches.task("flowers", source, tmp_path / "out.jsonl", on_error="skip"))
    assert (done.rows, done.bad) == (100, 1)
    assert [row["row"] for row in read(tmp_path / "out.jsonl")] == [n for n in range(1, 101) if n != 51]


def test_numbers_are_read_as_people_write_them(batches: Batches, tmp_path: Path) -> None:
    """Blanks around them, quotes, a sign, an exponent; the words for null that were named; another delimiter."""
    (tmp_path / "in.csv").write_bytes(
        b'\xef\xbb\xbfcolour;length;width;petals;length2\r\nred; 1.5;NA;"2";x\r\nblue;+15e-1;"";2.;y\r\n'
    )
    task = batches.task("flowers", tmp_path / "in.csv", tmp_path / "out.jsonl", delimiter=";", nulls=["NA"])
    done = batches.run(task)
    one, other = batches.online("flowers", [[1.5, None, 2, "red"], [1.5, None, 2, "blue"]])
    assert (done.rows, done.bad) == (2, 0)
    assert [row["confidence"] for row in read(tmp_path / "out.jsonl")] == [one["confidence"], other["confidence"]]


# --- files that do not fit ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "kind", "says"),
    [
        (b"", InvalidInput, "the file has no header"),
        (b"length,width,petals\n1,2,3\n", InvalidInput, "the file lacks a column of the model: colour"),
        (b"length,width,petals,color\n", InvalidInput, "perhaps color is meant"),
        (b"length,length,width,petals,colour\n", InvalidInput, "the file has a column twice"),
        (b"l\xff,width\n", InvalidInput, "the header is not UTF-8"),
    ],
)
def test_a_csv_file_with_another_header_is_refused(
    batches: Batches, tmp_path: Path, content: bytes, kind: type[KanameError], says: str
) -> None:
    """Before anything is written."""
    (tmp_path / "in.csv").write_bytes(content)
    with pytest.raises(kind, match=says):
        batches.run(batches.task("flowers", tmp_path / "in.csv", tmp_path / "out.csv"))
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


def test_a_parquet_file_with_other_types_is_refused(batches: Batches, tmp_path: Path) -> None:
    """The types of its columns are known before the first row; and what is no Parquet file is not read at all."""
    rows = [{"length": "long", "width": 1.0, "petals": 2.0, "colour": "red"}]
    with pytest.raises(InvalidInput, match="another type") as failed:
        batches.run(batches.task("flowers", write(tmp_path / "in.parquet", rows), tmp_path / "out.csv"))
    assert (failed.value.found, failed.value.expected) == ("string", "numbers")
    (tmp_path / "no.parquet").write_bytes(b"PAR1 or not")
    with pytest.raises(CorruptData, match="not a Parquet file"):
        batches.run(batches.task("flowers", tmp_path / "no.parquet", tmp_path / "out.csv"))


@pytest.mark.parametrize("form", FORMATS)
def test_a_file_without_rows_gives_one_without_rows(batches: Batches, tmp_path: Path, form: str) -> None:
    """Its columns are there."""
    source = tmp_path / f"in.{form}"
    if form == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        kinds = {"length": pa.float64(), "width": pa.null(), "petals": pa.int64(), "colour": pa.string()}
        pq.write_table(pa.schema(kinds.items()).empty_table(), source)
    else:
        source.write_text(HEADER if form == "csv" else "")
    for output in FORMATS:
        done = batches.run(batches.task("flowers", source, tmp_path / f"out.{output}"))
        assert (done.rows, done.bad, read(tmp_path / f"out.{output}")) == (0, 0, [])
    assert (tmp_path / "out.csv").read_text().startswith('"row","prediction","confidence"')


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"keep": ["nothing"]}, "the file lacks a column"),
        ({"keep": ["row"]}, "a kept column has the name of a column of answers"),
        ({"delimiter": ";;"}, "unusable delimiter"),
        ({"on_error": "ignore"}, "on_error"),
        ({"input_format": "xml"}, "input_format"),
    ],
)
def test_options_that_cannot_be_are_refused(batches: Batches, tmp_path: Path, asked: dict[str, Any], says: str) -> None:
    """Named, before anything is written."""
    (tmp_path / "in.csv").write_text("row," + HEADER)
    with pytest.raises(InvalidInput, match=says):
        batches.run(batches.task("flowers", tmp_path / "in.csv", tmp_path / "out.csv", **asked))


def test_places_that_cannot_be_are_refused(batches: Batches, tmp_path: Path) -> None:
    """An input that is missing or a folder, an output that is there, a folder, in no folder, or the input."""
    source = write(tmp_path / "in.csv", flowers(3))
    for wrong, output in (("no.csv", "out.csv"), (".", "out.csv"), ("in.csv", "none/out.csv"), ("in.csv", "in.csv")):
        with pytest.raises(InvalidInput):
            batches.run(batches.task("flowers", tmp_path / wrong, tmp_path / output, input_format="csv"))
    (tmp_path / "out.csv").write_text("mine")
    with pytest.raises(Conflict, match="exists already"):
        batches.run(batches.task("flowers", source, tmp_path / "out.csv"))
    assert (tmp_path / "out.csv").read_text() == "mine"
    assert batches.run(batches.task("flowers", source, tmp_path / "out.csv", restart=True)).rows == 3
    assert len(read(tmp_path / "out.csv")) == 3
