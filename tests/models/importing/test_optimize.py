"""Smaller and faster forms of a version: what is made answers as before, or is not kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from kaname.errors import InvalidInput
from kaname.models.importing.optimize import agreement, optimize_here
from kaname.models.importing.types import ImportRequest, Optimized, OptimizeRequest
from kaname.models.importing.work import import_here
from kaname.models.types import VersionInfo
from kaname.runtimes.catalog import open_session
from kaname.runtimes.types import SessionOptions
from kaname.signature import OutputSpec, Signature
from kaname.tensors import TensorSpec

WIDTH, CLASSES = 32, 4
pytestmark = pytest.mark.slow


def network(path: Path, *, skewed: bool = False) -> Path:
    """Two dense layers and a softmax; `skewed`: with weights that eight bits cannot hold."""
    draw = np.random.default_rng(1)
    first = draw.normal(size=(WIDTH, 64)).astype(np.float32)
    if skewed:
        first[0, 0] = 1e4
    second = draw.normal(size=(64, CLASSES)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "b"], ["s"]),
        helper.make_node("Softmax", ["s"], ["y"], axis=1),
    ]
    made = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", WIDTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", CLASSES])],
        [numpy_helper.from_array(first, "a"), numpy_helper.from_array(second, "b")],
    )
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def version_of(path: Path) -> tuple[VersionInfo, Path]:
    made = import_here(ImportRequest(path=path), path.parent, isolated=True)
    info = VersionInfo(
        id=1, model="m", model_id=1, version="1", status="training", artefact="", source=made.source,
        runtime=made.runtime, signature=made.signature, profile=made.profile, choices=made.choices,
        sample=made.sample, created_us=0,
    )  # fmt: skip
    return info, made.files


def optimized(path: Path, **request: Any) -> Optimized:
    info, files = version_of(path)
    return optimize_here(OptimizeRequest(**request), info, files, path.parent)


def rows(path: Path) -> Path:
    np.save(path, np.random.default_rng(2).normal(size=(200, WIDTH)))
    return path


def test_a_rewritten_graph_answers_the_same(tmp_path: Path) -> None:
    """Every row, and to the last digits that matter; the new file runs under the old signature."""
    found = optimized(network(tmp_path / "m.onnx"), method="graph")
    assert found.report.agreement == 1.0
    assert found.report.max_difference < 1e-6
    assert found.imported.source == "graph of 1"
    signature = found.imported.signature
    session = open_session("onnx", found.imported.files, signature, SessionOptions())
    (answer,) = session.run((np.zeros((3, WIDTH), np.float32),))
    assert answer.shape == (3, CLASSES)


def test_weights_in_eight_bits_are_a_quarter_of_the_size(tmp_path: Path) -> None:
    """And batching them is found out to change answers, as their scale spans the batch."""
    found = optimized(network(tmp_path / "m.onnx"), method="int8", min_agreement=0.9)
    assert found.report.after.bytes < found.report.before.bytes / 2
    assert 0.9 <= found.report.agreement <= 1.0
    assert not found.imported.profile.exact
    assert not found.report.given


def test_given_rows_are_compared_and_calibrate(tmp_path: Path) -> None:
    """Static quantisation takes the ranges from rows, and the same rows show the agreement."""
    sample = rows(tmp_path / "rows.npy")
    found = optimized(network(tmp_path / "m.onnx"), method="int8", calibration=sample, min_agreement=0.8)
    assert (found.report.rows, found.report.given) == (200, True)
    assert found.imported.source == "static int8 of 1"
    ops = {node.op_type for node in onnx.load(found.imported.files / "model.onnx").graph.node}
    assert "QuantizeLinear" in ops
    assert [path.name for path in found.imported.files.iterdir()] == ["model.onnx"]


def test_a_form_that_answers_otherwise_is_refused(tmp_path: Path) -> None:
    """With what was found and what was asked."""
    with pytest.raises(InvalidInput, match=r"answers too many rows differently.*rows agree.*at least 99\.00%"):
        optimized(network(tmp_path / "m.onnx", skewed=True), method="int8", data=rows(tmp_path / "rows.npy"))


def test_what_has_nothing_to_quantise_is_refused(tmp_path: Path) -> None:
    """A graph without products of constants."""
    path = tmp_path / "plain.onnx"
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 4])
    made = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "plain", [x], [y])
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    with pytest.raises(InvalidInput, match=r"nothing in this model can be quantised.*found Relu"):
        optimized(path, method="int8")


def test_half_precision_needs_a_device_that_computes_in_it(tmp_path: Path) -> None:
    """The processor would convert there and back."""
    with pytest.raises(InvalidInput, match=r"no device here computes in half precision.*CPUExecutionProvider"):
        optimized(network(tmp_path / "m.onnx"), method="float16")


def test_rows_of_another_width_are_refused(tmp_path: Path) -> None:
    """Calibration rows are checked as samples are."""
    np.save(tmp_path / "rows.npy", np.zeros((5, WIDTH + 1)))
    with pytest.raises(InvalidInput, match="the sample has another shape"):
        optimized(network(tmp_path / "m.onnx"), method="int8", calibration=tmp_path / "rows.npy")


def spec(role: Any, width: int | None = None) -> Signature:
    shape = (-1,) if width is None else (-1, width)
    given = TensorSpec(name="x", datatype="FP32", shape=(-1, 1))
    output = OutputSpec(name="y", datatype="FP32", shape=shape, role=role)
    return Signature(task="other", inputs=(given,), outputs=(output,), batched=True)


def test_agreement_is_of_classes_where_there_are_some() -> None:
    """Probabilities may move as long as the likeliest stays; plain numbers may move by 5% of their spread."""
    chances = np.array([[0.6, 0.4], [0.3, 0.7]], np.float32)
    moved = np.array([[0.9, 0.1], [0.6, 0.4]], np.float32)
    assert agreement((chances,), (moved,), spec("other", 2)) == 0.5
    numbers = np.array([0.0, 10.0, 20.0, np.nan], np.float32)
    near = np.array([0.1, 10.1, 25.0, np.nan], np.float32)
    assert agreement((numbers,), (near,), spec("value")) == 0.75
    assert agreement((np.array([1, 2]),), (np.array([1, 3]),), spec("label")) == 0.5
