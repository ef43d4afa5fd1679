"""The three models of the benchmark, built from fixed seeds so that every run and every peer serves the same bytes.

`iris`: scaler and SVC with probabilities, 4 features. `mlp`: dense 64-256-256-10 with ReLU. `cnn`: a stack of
depthwise-separable convolutions in the manner of MobileNet, 1x3x224x224, 325 million multiply-adds.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnx

FILES = ("iris", "mlp", "cnn")
MLP_LAYERS = (64, 256, 256, 10)
CNN_INPUT = (3, 224, 224)
CNN_STEM = 24
CNN_BLOCKS = (
    *((48, 1), (96, 2), (96, 1), (192, 2), (192, 1), (384, 2)),
    *((384, 1),) * 5,
    *((768, 2), (768, 1)),
)
"""Output channels and stride of each depthwise-separable block."""
OPSET = 17
IR_VERSION = 8
"""Old enough for every peer's ONNX Runtime."""


@dataclass(frozen=True, slots=True)
class BenchModel:
    """One ONNX file and one row that it takes."""

    name: str
    path: Path
    row: NDArray[np.float32]
    """Without the batch dimension."""
    binary: bool
    """Sent as bytes rather than JSON: a picture as JSON would measure the JSON."""


def build(folder: Path) -> dict[str, BenchModel]:
    """Write the files that are not there yet and return all three."""
    folder.mkdir(parents=True, exist_ok=True)
    makers = {"iris": _iris, "mlp": _mlp, "cnn": _cnn}
    for name, make in makers.items():
        path = folder / f"{name}.onnx"
        if not path.exists():
            partial = path.with_suffix(".partial")
            partial.write_bytes(make())
            partial.rename(path)
    draw = np.random.default_rng(7)
    rows = {
        "iris": np.array([5.1, 3.5, 1.4, 0.2], dtype=np.float32),
        "mlp": draw.normal(size=MLP_LAYERS[0]).round(3).astype(np.float32),
        "cnn": draw.normal(size=CNN_INPUT).astype(np.float32),
    }
    return {name: BenchModel(name, folder / f"{name}.onnx", rows[name], name == "cnn") for name in FILES}


def slow(folder: Path) -> BenchModel:
    """Four numbers in, some milliseconds of convolutions: a request that is cheap to send and not to answer."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "slow.onnx"
    if not path.exists():
        path.write_bytes(_slow())
    return BenchModel("slow", path, np.array([5.1, 3.5, 1.4, 0.2], dtype=np.float32), binary=False)


def _slow() -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    channels, side, layers = 32, 32, 30
    draw = np.random.default_rng(17)
    spread = draw.normal(size=(4, channels * side * side)).astype(np.float32)
    weights = [
        numpy_helper.from_array(spread, "spread"),
        numpy_helper.from_array(np.array([-1, channels, side, side], np.int64), "picture"),
    ]
    nodes = [
        helper.make_node("MatMul", ["X", "spread"], ["flat"]),
        helper.make_node("Reshape", ["flat", "picture"], ["a0"]),
    ]
    for layer in range(layers):
        kernel = (draw.normal(size=(channels, channels, 3, 3)) / np.sqrt(channels * 9)).astype(np.float32)
        weights.append(numpy_helper.from_array(kernel, f"k{layer}"))
        nodes += [
            helper.make_node("Conv", [f"a{layer}", f"k{layer}"], [f"c{layer}"], kernel_shape=[3, 3], pads=[1] * 4),
            helper.make_node("Relu", [f"c{layer}"], [f"a{layer + 1}"]),
        ]
    nodes += [
        helper.make_node("GlobalAveragePool", [f"a{layers}"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["scores"]),
    ]
    given = helper.make_tensor_value_info("X", TensorProto.FLOAT, ["batch", 4])
    taken = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", channels])
    return serialised(helper.make_graph(nodes, "slow", [given], [taken], weights))


def _iris() -> bytes:
    from skl2onnx import to_onnx  # heavy, and only needed to build
    from sklearn.datasets import load_iris
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    rows, classes = load_iris(return_X_y=True)
    rows = rows.astype(np.float32)
    with warnings.catch_warnings():  # scikit-learn wants another way to probabilities from 1.11 on
        warnings.simplefilter("ignore", FutureWarning)
        pipeline = make_pipeline(StandardScaler(), SVC(probability=True, random_state=7)).fit(rows, classes)
        options = {id(pipeline): {"zipmap": False}}
        return bytes(to_onnx(pipeline, rows[:1], options=options, target_opset=OPSET).SerializeToString())


def _mlp() -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    draw = np.random.default_rng(11)
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []
    value = "X"
    for layer, (wide_in, wide_out) in enumerate(pairwise(MLP_LAYERS)):
        last = layer == len(MLP_LAYERS) - 2
        matrix = (draw.normal(size=(wide_in, wide_out)) / np.sqrt(wide_in)).astype(np.float32)
        weights += [
            numpy_helper.from_array(matrix, f"W{layer}"),
            numpy_helper.from_array(np.zeros(wide_out, dtype=np.float32), f"b{layer}"),
        ]
        after = f"h{layer}"
        nodes.append(helper.make_node("Gemm", [value, f"W{layer}", f"b{layer}"], [after]))
        value = "probabilities" if last else f"a{layer}"
        nodes.append(helper.make_node("Softmax" if last else "Relu", [after], [value]))
    given = helper.make_tensor_value_info("X", TensorProto.FLOAT, ["batch", MLP_LAYERS[0]])
    taken = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", MLP_LAYERS[-1]])
    return serialised(helper.make_graph(nodes, "mlp", [given], [taken], weights))


def _cnn() -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    draw = np.random.default_rng(13)
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []
    value, channels = "X", CNN_INPUT[0]

    def convolve(out: int, size: int, stride: int, groups: int) -> None:
        nonlocal value, channels
        at = len(weights)
        fan_in = channels // groups * size * size
        kernel = draw.normal(size=(out, channels // groups, size, size)) * np.sqrt(2 / fan_in)
        weights.append(numpy_helper.from_array(kernel.astype(np.float32), f"W{at}"))
        pads = [size // 2] * 4
        nodes.append(
            helper.make_node(
                "Conv",
                [value, f"W{at}"],
                [f"c{at}"],
                kernel_shape=[size] * 2,
                strides=[stride] * 2,
                pads=pads,
                group=groups,
            )
        )
        nodes.append(helper.make_node("Relu", [f"c{at}"], [f"r{at}"]))
        value, channels = f"r{at}", out

    convolve(CNN_STEM, 3, 2, 1)
    for out, stride in CNN_BLOCKS:
        convolve(channels, 3, stride, channels)
        convolve(out, 1, 1, 1)
    nodes.append(helper.make_node("GlobalAveragePool", [value], ["pooled"]))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"]))
    matrix = (draw.normal(size=(channels, 10)) / np.sqrt(channels)).astype(np.float32)
    weights.append(numpy_helper.from_array(matrix, "head"))
    nodes.append(helper.make_node("MatMul", ["flat", "head"], ["logits"]))
    nodes.append(helper.make_node("Softmax", ["logits"], ["probabilities"]))
    given = helper.make_tensor_value_info("X", TensorProto.FLOAT, ["batch", *CNN_INPUT])
    taken = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 10])
    return serialised(helper.make_graph(nodes, "cnn", [given], [taken], weights))


def serialised(graph: onnx.GraphProto) -> bytes:
    """The checked model around a graph."""
    from onnx import checker, helper

    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    checker.check_model(model)
    return bytes(model.SerializeToString())


def cnn_multiply_adds() -> int:
    """Multiply-adds of one picture through `cnn`."""
    side, channels = CNN_INPUT[1] // 2, CNN_STEM
    total = side * side * CNN_STEM * CNN_INPUT[0] * 9
    for out, stride in CNN_BLOCKS:
        side //= stride
        total += side * side * channels * (9 + out)
        channels = out
    return total + channels * 10
