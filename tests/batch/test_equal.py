"""A batch says of a row, bit for bit, what a request says of it; in every format and for every layout of a model."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.batch.project import FORMATS, Batches, Row, flowers, read, write

QUICK = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def _bits(value: object) -> bytes | None:
    """A number of an answer, or of a file in which it may be text."""
    return None if value in (None, "") else struct.pack("<d", float(value))  # type: ignore[arg-type]


def _classified(row: Row) -> list[object]:
    shares = [_bits(row[f"probabilities.{label}"]) for label in "abc"]
    return [row["prediction"], _bits(row["confidence"]), *shares]


def _answered(answer: Row) -> list[object]:
    shares = [_bits(answer["probabilities"][label]) for label in "abc"]
    return [answer["prediction"], _bits(answer["confidence"]), *shares]


def _features(rows: list[Row]) -> list[Row]:
    return [{name: value for name, value in row.items() if name != "name"} for row in rows]


@pytest.mark.parametrize("source", FORMATS)
@pytest.mark.parametrize("output", FORMATS)
def test_every_format_holds_the_answers_of_the_request_path(
    batches: Batches, tmp_path: Path, source: str, output: str
) -> None:
    """Rows with nulls and categories, read from each format and written to each, with a column kept."""
    rows = flowers(300)
    wanted = [_answered(answer) for answer in batches.online("flowers", _features(rows))]
    task = batches.task(
        "flowers", write(tmp_path / f"in.{source}", rows), tmp_path / f"out.{output}", keep=["name", "length"]
    )
    done = batches.run(task)
    found = read(tmp_path / f"out.{output}")
    assert (done.rows, done.bad, done.errors) == (300, 0, None)
    assert [_classified(row) for row in found] == wanted
    assert [int(row["row"]) for row in found] == list(range(1, 301))
    assert [row["name"] for row in found] == [row["name"] for row in rows]
    assert [_bits(row["length"]) for row in found] == [_bits(row["length"]) for row in rows]
    assert [path.name for path in tmp_path.iterdir() if path.suffix in (".part", ".journal", ".draft")] == []


def test_a_parquet_result_has_dictionaries_where_values_repeat(batches: Batches, tmp_path: Path) -> None:
    """Of labels and kept texts, not of numbers of rows and of answers, hardly two of which are alike."""
    parquet = pytest.importorskip("pyarrow.parquet")
    batches.run(
        batches.task("flowers", write(tmp_path / "in.csv", flowers(50)), tmp_path / "out.parquet", keep=["name"])
    )
    group = parquet.ParquetFile(tmp_path / "out.parquet").metadata.row_group(0)
    columns = [group.column(at) for at in range(group.num_columns)]
    encoded = {column.path_in_schema for column in columns if column.has_dictionary_page}
    assert encoded == {"name", "prediction"}


_FLOAT32 = st.floats(width=32, allow_nan=False, allow_infinity=False)
_FLOWER = st.fixed_dictionaries(
    {
        "length": _FLOAT32,
        "width": _FLOAT32 | st.none(),
        "petals": _FLOAT32,
        "colour": st.sampled_from(["red", "blue"]),
    }
)


@QUICK
@given(rows=st.lists(_FLOWER, min_size=1, max_size=40), form=st.sampled_from(FORMATS))
def test_whatever_the_rows_they_get_the_answers_of_the_request_path(
    batches: Batches, tmp_path: Path, rows: list[Row], form: str
) -> None:
    """Any numbers that single precision holds, subnormal and huge ones too."""
    task = batches.task("flowers", write(tmp_path / f"in.{form}", rows), tmp_path / "out.jsonl", restart=True)
    batches.run(task)
    wanted = [_answered(answer) for answer in batches.online("flowers", rows)]
    assert [_classified(row) for row in read(tmp_path / "out.jsonl")] == wanted


@QUICK
@given(
    rows=st.lists(
        st.fixed_dictionaries({"area": _FLOAT32, "rooms": st.integers(-(2**63), 2**63 - 1)}), min_size=1, max_size=20
    ),
    form=st.sampled_from(FORMATS),
)
def test_a_column_for_each_input(batches: Batches, tmp_path: Path, rows: list[Row], form: str) -> None:
    """A regression whose inputs are columns of different types, whole numbers of every size among them."""
    task = batches.task("house", write(tmp_path / f"in.{form}", rows), tmp_path / "out.jsonl", restart=True)
    batches.run(task)
    wanted = [_bits(answer["prediction"]) for answer in batches.online("house", rows)]
    assert [_bits(row["prediction"]) for row in read(tmp_path / "out.jsonl")] == wanted


@pytest.mark.parametrize(
    ("model", "rows"),
    [
        ("pair", [{"a": [1, 2], "b": [3, 4]}, {"a": [-5, 6], "b": [0, 2**30]}]),
        ("words", [{"words": ["a", "ü\0"]}, {"words": ["", "c"]}]),
        ("scan", [{"image": "x"}, {"image": "yy"}]),
    ],
)
def test_models_of_tensors_take_json_lines(batches: Batches, tmp_path: Path, model: str, rows: list[Any]) -> None:
    """Nested lists by input name, as requests have them; every output format holds the lists."""
    source = write(tmp_path / "in.jsonl", rows)
    wanted = [answer["prediction"] for answer in batches.online(model, rows)]
    for form in FORMATS:
        batches.run(batches.task(model, source, tmp_path / f"out.{form}"))
    assert [row["prediction"] for row in read(tmp_path / "out.jsonl")] == wanted
    assert [row["prediction"] for row in read(tmp_path / "out.parquet")] == wanted
    texts = [row["prediction"] for row in read(tmp_path / "out.csv")]
    assert [msgspec.json.decode(text) if text.startswith("[") else text for text in texts] == wanted


def test_lines_may_list_the_features_in_order(batches: Batches, tmp_path: Path) -> None:
    """A list in place of an object; blank lines and another line end are no rows."""
    rows = [[1.0, None, 2.0, "red"], [0.5, 0.25, 3.0, "blue"]]
    (tmp_path / "in.jsonl").write_bytes(b"\r\n".join(msgspec.json.encode(row) for row in rows) + b"\n\n  \n")
    batches.run(batches.task("flowers", tmp_path / "in.jsonl", tmp_path / "out.jsonl"))
    wanted = [_answered(answer) for answer in batches.online("flowers", rows)]
    assert [_classified(row) for row in read(tmp_path / "out.jsonl")] == wanted
