"""Small ONNX files that behave in one particular way each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

from kaname.runtimes.onnx import describe
from kaname.signature import OutputSpec, Signature

Maker = Callable[[Path], Path]
ROWS = np.random.default_rng(5).normal(size=(64, 4)).astype(np.float32)


def signature_of(path: Path, *, batched: bool = True) -> Signature:
    """The signature that the file itself declares, all roles `other`."""
    inputs, outputs = describe(path)
    specs = tuple(OutputSpec(name=o.name, datatype=o.datatype, shape=o.shape) for o in outputs)
    return Signature(task="other", inputs=inputs, outputs=specs, batched=batched)


def graph(
    path: Path,
    nodes: Sequence[Any],
    *,
    inputs: Sequence[tuple[str, int, Sequence[Any]]] = (("x", TensorProto.FLOAT, ["n", 4]),),
    outputs: Sequence[tuple[str, int, Sequence[Any]]] = (("y", TensorProto.FLOAT, ["n", 4]),),
    weights: dict[str, Any] | None = None,
) -> Path:
    """Write a graph of `nodes`."""
    made = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info(*spec) for spec in inputs],
        [helper.make_tensor_value_info(*spec) for spec in outputs],
        [numpy_helper.from_array(np.asarray(w), name) for name, w in (weights or {}).items()],
    )
    save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def doubled(path: Path) -> Path:
    """y = x + x: rows stand alone."""
    return graph(path, [helper.make_node("Add", ["x", "x"], ["y"])])


def centred(path: Path) -> Path:
    """y = x - mean of the batch: rows influence each other."""
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["m"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["x", "m"], ["y"]),
    ]
    return graph(path, nodes)


def summed(path: Path) -> Path:
    """y = sum over rows: an output that does not split by rows."""
    return graph(
        path,
        [helper.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=0)],
        outputs=[("y", TensorProto.FLOAT, [4])],
        weights={"axes": np.array([0], np.int64)},
    )


def summed_columns(path: Path) -> Path:
    """y = sum of each row, kept as a column."""
    return graph(
        path,
        [helper.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=1)],
        outputs=[("y", TensorProto.FLOAT, ["n", 1])],
        weights={"axes": np.array([1], np.int64)},
    )


def strings(path: Path) -> Path:
    """y = x for text."""
    return graph(
        path,
        [helper.make_node("Identity", ["x"], ["y"])],
        inputs=[("x", TensorProto.STRING, ["n", 1])],
        outputs=[("y", TensorProto.STRING, ["n", 1])],
    )


def two_outputs(path: Path) -> Path:
    """z = -x and y = x + x, declared in that order."""
    nodes = [helper.make_node("Neg", ["x"], ["z"]), helper.make_node("Add", ["x", "x"], ["y"])]
    shape: list[Any] = ["n", 4]
    return graph(path, nodes, outputs=[("z", TensorProto.FLOAT, shape), ("y", TensorProto.FLOAT, shape)])


def one_row_only(path: Path) -> Path:
    """Declared for one row, as exporters do without dynamic axes."""
    spec = [1, 4]
    return graph(
        path,
        [helper.make_node("Add", ["x", "x"], ["y"])],
        inputs=[("x", TensorProto.FLOAT, spec)],
        outputs=[("y", TensorProto.FLOAT, spec)],
    )


def quantised(path: Path) -> Path:
    """A dense net in dynamic int8: its scale spans the batch, so company changes bits."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    rng = np.random.default_rng(1)
    plain = path.with_name("plain.onnx")
    graph(
        plain,
        [
            helper.make_node("MatMul", ["x", "a"], ["h"]),
            helper.make_node("Tanh", ["h"], ["t"]),
            helper.make_node("MatMul", ["t", "b"], ["y"]),
        ],
        outputs=[("y", TensorProto.FLOAT, ["n", 8])],
        weights={
            "a": rng.normal(size=(4, 32)).astype(np.float32),
            "b": rng.normal(size=(32, 8)).astype(np.float32),
        },
    )
    quantize_dynamic(str(plain), str(path), weight_type=QuantType.QInt8)
    return path
