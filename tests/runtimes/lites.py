"""Small LiteRT files that behave in one particular way each, written with the format's own schema."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

WEIGHTS = np.random.default_rng(6).normal(size=(3, 4)).astype(np.float32)
ROWS = np.random.default_rng(5).normal(size=(64, 4)).astype(np.float32)


class Lite:
    """A model of one operator."""

    def __init__(self) -> None:
        self.model: Any = schema.ModelT()
        self.model.version = 3
        self.model.buffers = [schema.BufferT()]
        self.graph: Any = schema.SubGraphT()
        self.graph.tensors = []

    def tensor(
        self,
        name: str,
        shape: Sequence[int],
        kind: int = schema.TensorType.FLOAT32,
        *,
        varies: bool = False,
        content: Any = None,
        scale: tuple[float, int] | None = None,
    ) -> int:
        """Add a tensor (with `content`, a constant) and return its number."""
        made: Any = schema.TensorT()
        made.name, made.shape, made.type = name.encode(), list(shape), kind
        if varies:
            made.shapeSignature = [-1, *shape[1:]]
        if content is not None:
            buffer: Any = schema.BufferT()
            buffer.data = np.frombuffer(content.tobytes(), np.uint8)
            self.model.buffers.append(buffer)
            made.buffer = len(self.model.buffers) - 1
        if scale is not None:
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale, made.quantization.zeroPoint = [scale[0]], [scale[1]]
        self.graph.tensors.append(made)
        return len(self.graph.tensors) - 1

    def write(self, path: Path, operator: int, inputs: Sequence[int], output: int, options: Any = None) -> Path:
        """Finish it with the operator that takes the `inputs`, the first of which is the model's own."""
        node: Any = schema.OperatorT()
        node.inputs, node.outputs = list(inputs), [output]
        if options is not None:
            node.builtinOptions = options
            node.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        self.graph.operators, self.graph.inputs, self.graph.outputs = [node], [inputs[0]], [output]
        code: Any = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = operator
        self.model.operatorCodes, self.model.subgraphs = [code], [self.graph]
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        path.write_bytes(bytes(builder.Output()))
        return path

    def sign(self, inputs: dict[str, int], outputs: dict[str, int]) -> None:
        """Add a serving signature with these names."""
        made: Any = schema.SignatureDefT()
        made.signatureKey = b"serving_default"
        made.inputs, made.outputs = _named(inputs), _named(outputs)
        self.model.signatureDefs = [made]


def _named(tensors: dict[str, int]) -> list[Any]:
    found = []
    for name, index in tensors.items():
        entry: Any = schema.TensorMapT()
        entry.name, entry.tensorIndex = name.encode(), index
        found.append(entry)
    return found


def dense(path: Path, *, signed: bool = True, varies: bool = True) -> Path:
    """y = x · WEIGHTS': rows stand alone. Without `varies` it declares one row and takes more all the same."""
    lite = Lite()
    x = lite.tensor("serving_default_x:0", (1, 4), varies=varies)
    w = lite.tensor("w", WEIGHTS.shape, content=WEIGHTS)
    y = lite.tensor("StatefulPartitionedCall:0", (1, 3), varies=varies)
    if signed:
        lite.sign({"x": x}, {"y": y})
    return lite.write(path, schema.BuiltinOperator.FULLY_CONNECTED, [x, w, -1], y, schema.FullyConnectedOptionsT())


def one_row(path: Path) -> Path:
    """y = x in another shape, which is fixed: two rows cannot be."""
    lite = Lite()
    x = lite.tensor("x", (1, 4))
    shape = lite.tensor("shape", (3,), schema.TensorType.INT32, content=np.array([1, 2, 2], np.int32))
    y = lite.tensor("y", (1, 2, 2))
    options = schema.ReshapeOptionsT()
    options.newShape = [1, 2, 2]
    return lite.write(path, schema.BuiltinOperator.RESHAPE, [x, shape], y, options)


def quantised(path: Path) -> Path:
    """Answers with int8: number = value / 0.5 + 3."""
    lite = Lite()
    x = lite.tensor("x", (1, 4), varies=True)
    y = lite.tensor("y", (1, 4), schema.TensorType.INT8, varies=True, scale=(0.5, 3))
    return lite.write(path, schema.BuiltinOperator.QUANTIZE, [x], y, schema.QuantizeOptionsT())


def texts(path: Path) -> Path:
    """Takes strings, which are not served."""
    lite = Lite()
    x = lite.tensor("x", (1, 1), schema.TensorType.STRING)
    y = lite.tensor("y", (1, 1), schema.TensorType.STRING)
    options = schema.ReshapeOptionsT()
    options.newShape = [1, 1]
    return lite.write(path, schema.BuiltinOperator.RESHAPE, [x], y, options)
