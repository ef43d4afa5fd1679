"""ONNX models on a device: the processor's answers, its errors, and a bound of memory."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from benchmarks.models import BenchModel
from kaname.errors import Unavailable
from kaname.models.importing.types import TOLERANCE
from kaname.runtimes.catalog import open_session
from kaname.runtimes.onnx import OnnxSession, check_device
from kaname.runtimes.sized import SizedSession, sized
from kaname.runtimes.types import PLAIN, Session
from kaname.settings import Device
from tests.gpu.conftest import on
from tests.runtimes import graphs

pytestmark = pytest.mark.gpu
MIB = 1024 * 1024
BATCHES = (1, 2, 3, 16, 64, 7, 1)


def agree(device: Session, processor: Session, *inputs: np.ndarray) -> None:
    """As an import asks: the difference is small, relative to values above 1."""
    for found, expected in zip(device.run(inputs), processor.run(inputs), strict=True):
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
        if expected.dtype.kind == "f":
            assert (np.abs(found - expected) / np.maximum(np.abs(expected), 1)).max() <= TOLERANCE
        else:
            assert (found == expected).all()


@pytest.mark.parametrize("name", ["iris", "mlp", "cnn"])
def test_a_model_answers_as_on_the_processor(device: Device, benched: dict[str, BenchModel], name: str) -> None:
    """Alone, in batches of changing size, and alone again."""
    path, row = benched[name].path, benched[name].row
    signature = graphs.signature_of(path)
    there, here = open_session("onnx", path, signature, on(device)), open_session("onnx", path, signature, PLAIN)
    draw = np.random.default_rng(19)
    for rows in BATCHES if name != "cnn" else (1, 3, 8, 1):
        agree(there, here, draw.normal(size=(rows, *row.shape)).astype(np.float32) + (4 if name == "iris" else 0))
    there.close()
    here.close()


def test_sizes_that_change_from_run_to_run(device: Device, tmp_path: Path) -> None:
    """Rows and columns of every size, back and forth."""
    nodes = [
        helper.make_node("Softmax", ["x"], ["s"], axis=1),
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0]),
        helper.make_node("MatMul", ["s", "t"], ["y"]),
    ]
    path = graphs.graph(
        tmp_path / "sizes.onnx",
        nodes,
        inputs=[("x", TensorProto.FLOAT, ["n", "m"])],
        outputs=[("y", TensorProto.FLOAT, ["n", "n"])],
    )
    signature = graphs.signature_of(path, batched=False)
    there, here = open_session("onnx", path, signature, on(device)), open_session("onnx", path, signature, PLAIN)
    draw = np.random.default_rng(23)
    for rows, columns in ((1, 1), (5, 3), (1, 200), (64, 7), (5, 3), (300, 300)):
        agree(there, here, draw.normal(size=(rows, columns)).astype(np.float32))


def test_float32_is_float32(device: Device, tmp_path: Path) -> None:
    """A product of matrices is as exact as float32 is, a hundred times more so than in the device's short form."""
    draw = np.random.default_rng(29)
    weights, rows = draw.normal(size=(1024, 1024)).astype(np.float32), draw.normal(size=(256, 1024)).astype(np.float32)
    path = graphs.graph(
        tmp_path / "product.onnx",
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        inputs=[("x", TensorProto.FLOAT, ["n", 1024])],
        outputs=[("y", TensorProto.FLOAT, ["n", 1024])],
        weights={"w": weights},
    )
    (found,) = open_session("onnx", path, graphs.signature_of(path), on(device)).run((rows,))
    exact = rows.astype(np.float64) @ weights.astype(np.float64)
    assert np.linalg.norm(found - exact) / np.linalg.norm(exact) < 3e-6


def test_auto_is_the_device_where_it_has_something_to_do(device: Device, benched: dict[str, BenchModel]) -> None:
    """Matrix products run there; kernels of a support vector machine, which it does not know, on the processor."""
    check_device(device)
    for name, expected in (("mlp", device), ("cnn", device), ("iris", "cpu")):
        path = benched[name].path
        session = open_session("onnx", path, graphs.signature_of(path), on("auto"))
        assert isinstance(session, OnnxSession)
        assert session.device == expected, name


def test_a_bound_of_memory_is_kept_and_named(cuda: Device, benched: dict[str, BenchModel]) -> None:
    """A batch that does not fit is refused with the device's name and what it said; the next one is answered."""
    path, row = benched["cnn"].path, benched["cnn"].row
    session = open_session("onnx", path, graphs.signature_of(path), on(cuda, 96 * MIB))
    many = np.broadcast_to(row, (64, *row.shape)).astype(np.float32)
    with pytest.raises(Unavailable, match="the memory of cuda does not suffice") as refused:
        session.run((many,))
    assert refused.value.where == "inference.device"
    assert "inference.device_bytes" in str(refused.value.expected)
    (answer,) = session.run((many[:1],))
    assert answer.shape == (1, 10)


def test_numbers_of_rows_in_turn(device: Device, benched: dict[str, BenchModel]) -> None:
    """A network of convolutions is planned once for each of a few sizes; then any number is answered at once."""
    path, row = benched["cnn"].path, benched["cnn"].row
    signature = graphs.signature_of(path)
    there = sized(open_session("onnx", path, signature, on(device)), signature)
    here = open_session("onnx", path, signature, PLAIN)
    assert isinstance(there, SizedSession) == (device == "cuda")
    draw = np.random.default_rng(53)
    given = {rows: draw.normal(size=(rows, *row.shape)).astype(np.float32) for rows in (1, 3, 16, 40, 70)}
    for rows in given.values():
        agree(there, here, rows)
    if device == "cuda":
        began = time.perf_counter()
        for rows in given.values():
            there.run((rows,))
        assert time.perf_counter() - began < 0.5
    there.close()
    here.close()


def test_rows_that_do_not_fit_at_once_are_answered_in_parts(cuda: Device, benched: dict[str, BenchModel]) -> None:
    """With 96 MiB for each size: as many at a time as fit, and the answers of the processor."""
    path, row = benched["cnn"].path, benched["cnn"].row
    signature = graphs.signature_of(path)
    there = sized(open_session("onnx", path, signature, on(cuda, 96 * MIB)), signature)
    assert isinstance(there, SizedSession)
    rows = np.random.default_rng(59).normal(size=(70, *row.shape)).astype(np.float32)
    agree(there, open_session("onnx", path, signature, PLAIN), rows)
    assert 64 not in there.sizes
    there.close()


def test_a_model_that_does_not_fit_is_no_damaged_file(cuda: Device, tmp_path: Path) -> None:
    """16 MiB of weights in a session that may take 4: the error names the device."""
    weights = np.ones((2048, 2048), np.float32)
    path = graphs.graph(
        tmp_path / "large.onnx",
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        inputs=[("x", TensorProto.FLOAT, ["n", 2048])],
        outputs=[("y", TensorProto.FLOAT, ["n", 2048])],
        weights={"w": weights},
    )
    with pytest.raises(Unavailable, match="the memory of cuda does not suffice"):
        open_session("onnx", path, graphs.signature_of(path), on(cuda, 4 * MIB))


def test_a_device_that_is_full_says_so(cuda: Device, tmp_path: Path) -> None:
    """A result larger than the card itself is refused, and the session goes on."""
    path = graphs.graph(
        tmp_path / "outer.onnx",
        [helper.make_node("Mul", ["x", "z"], ["p"]), helper.make_node("ReduceMax", ["p"], ["y"])],
        inputs=[("x", TensorProto.FLOAT, ["n", 1]), ("z", TensorProto.FLOAT, [1, "m"])],
        outputs=[("y", TensorProto.FLOAT, [1, 1])],
    )
    session = open_session("onnx", path, graphs.signature_of(path, batched=False), on(cuda))
    x, z = np.ones((262_144, 1), np.float32), np.ones((1, 262_144), np.float32)
    with pytest.raises(Unavailable, match="the memory of cuda does not suffice"):
        session.run((x, z))
    assert session.run((x[:3], z[:, :5]))[0].item() == 1.0
