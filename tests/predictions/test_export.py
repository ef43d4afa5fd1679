"""The types that columns of an export get, and what becomes of values that fit none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from kaname.call import Answer, Outputs
from kaname.predictions.export import export_parquet
from kaname.predictions.reader import Query
from kaname.settings import Recording
from tests.predictions.traffic import (
    FLOWERS,
    IMAGES,
    TARGET,
    answer,
    open_reader,
    record,
    recording,
    table_call,
    tensor_call,
)


def exported(folder: Path, query: Query | None = None) -> Any:
    output = folder / "out.parquet"
    export_parquet(open_reader(folder), output, query or Query())
    assert [path.name for path in folder.glob("out*")] == ["out.parquet"]
    return pq.read_table(output)


@pytest.mark.parametrize(
    ("cells", "kind", "values"),
    [
        ([1, 2, None], "int64", [1, 2, None]),
        ([1, 2.5, None], "double", [1.0, 2.5, None]),
        (["a", "b", None], "string", ["a", "b", None]),
        ([2**53 + 1, 0.5, None], "double", [float(2**53), 0.5, None]),
        ([2**62, -(2**63), None], "int64", [2**62, -(2**63), None]),
        ([True, False, None], "bool", [True, False, None]),
        ([1, "a", None], "string", ["1", "a", None]),
        ([2**63, 1, None], "string", [str(2**63), "1", None]),
        ([None, None, None], "string", [None, None, None]),
    ],
)
def test_a_column_has_the_type_of_its_values(tmp_path: Path, cells: list[Any], kind: str, values: list[object]) -> None:
    """Numbers, text and booleans keep their type, nulls fit any, mixtures become text."""
    record(
        tmp_path, [(table_call(f"r{i}", [[cell, 1.0, "red"]]), answer()) for i, cell in enumerate(cells)], Recording()
    )
    table = exported(tmp_path)
    assert str(table.schema.field("input.length").type) == kind
    assert table.column("input.length").to_pylist() == values


def test_nested_values_digests_and_redacted_ones(tmp_path: Path) -> None:
    """Lists of numbers stay lists, deeper ones are JSON, large ones their hash, redacted ones null."""
    image = np.arange(6, dtype=np.uint8).reshape(1, 6)
    large = np.zeros((1, 40_000), dtype=np.uint8)
    caption = np.array([b"caf\xc3\xa9"], dtype=object)
    outputs = Outputs((np.ones((1, 2, 2), dtype=np.float32),))
    record(tmp_path, [(tensor_call("r", image, caption), Answer(outputs, 0, 1))], Recording(), IMAGES)
    table = exported(tmp_path)
    assert table.column("input.image").to_pylist() == [[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]]
    assert table.column("input.caption").to_pylist() == ["café"]
    assert [json.loads(text) for text in table.column("output.embedding").to_pylist()] == [[[1.0, 1.0], [1.0, 1.0]]]
    record(
        tmp_path, [(tensor_call("l", large, caption), Answer(outputs, 0, 1))], Recording(redact=("caption",)), IMAGES
    )
    rows = {row["request_id"]: row for row in exported(tmp_path).to_pylist()}
    assert rows["l"]["input.image"].startswith("blake3:")
    assert rows["l"]["input.caption"] is None
    assert json.loads(rows["r"]["input.image"]) == [0, 1, 2, 3, 4, 5]


def test_models_with_different_columns_share_a_file_or_are_chosen(tmp_path: Path) -> None:
    """Without a filter every model's columns are there, null for the others; with one only its own."""
    with recording(tmp_path) as recorder:
        recorder.observer(TARGET, FLOWERS, Recording()).each(table_call("f", [[1.0, 2.0, "red"]]), answer())
        images = type(TARGET)(model="images", model_id=8, version="1", version_id=22)
        call = tensor_call("i", np.zeros((1, 2), np.uint8), np.array([b"c"], dtype=object))
        recorder.observer(images, IMAGES, Recording()).each(call, Answer(Outputs((np.ones((1, 2), np.float32),)), 0, 1))
    rows = {row["request_id"]: row for row in exported(tmp_path).to_pylist()}
    assert rows["f"]["input.image"] is None
    assert rows["i"]["input.length"] is None
    assert rows["i"]["model"] == "images"
    assert "input.length" not in exported(tmp_path, Query(model="images")).column_names


def test_an_empty_export_is_a_file_without_rows(tmp_path: Path) -> None:
    """A record that does not exist gives a readable file with the fixed columns."""
    output = tmp_path / "out.parquet"
    assert export_parquet(open_reader(tmp_path / "nowhere"), output) == 0
    assert pq.read_table(output).num_rows == 0
