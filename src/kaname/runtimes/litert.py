"""LiteRT (TensorFlow Lite): small interpreters for models made for phones and devices.

The only module that imports ai_edge_litert.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kaname.errors import CorruptData, InvalidInput, MissingDependency
from kaname.runtimes.types import SessionOptions
from kaname.signature import Signature
from kaname.tensors import Tensor, TensorSpec, datatype_of

_SERVING = "serving_default"


class LiteRTSession:
    """One interpreter; its tensors are resized whenever a run has another number of rows than the run before."""

    __slots__ = ("_inputs", "_interpreter", "_outputs", "_shapes")

    def __init__(self, interpreter: Any, signature: Signature) -> None:
        self._interpreter = interpreter
        named = _named(interpreter)
        self._inputs = [_index(spec, named[0], "input") for spec in signature.inputs]
        self._outputs = [_index(spec, named[1], "output") for spec in signature.outputs]
        self._shapes: list[tuple[int, ...]] | None = None

    def run(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """See `Session.run`; raises LiteRT's ValueError or RuntimeError."""
        interpreter = self._interpreter
        shapes = [x.shape for x in inputs]
        if shapes != self._shapes:
            self._resize(shapes)
        for index, given in zip(self._inputs, inputs, strict=True):
            interpreter.set_tensor(index, given)
        interpreter.invoke()
        return tuple([interpreter.get_tensor(index) for index in self._outputs])

    def _resize(self, shapes: list[tuple[int, ...]]) -> None:
        self._shapes = None  # what a failure leaves behind is resized again
        for index, shape in zip(self._inputs, shapes, strict=True):
            self._interpreter.resize_tensor_input(index, shape)
        self._interpreter.allocate_tensors()
        self._shapes = shapes

    def close(self) -> None:
        """Free the interpreter."""
        self._interpreter = None


class LiteRTRuntime:
    """Opens `.tflite` files."""

    name = "litert"

    def open(self, path: Path, signature: Signature, options: SessionOptions) -> LiteRTSession:
        """See `Runtime.open`."""
        return LiteRTSession(_interpreter(path, options.threads), signature)


def describe(path: Path) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs that the file at `path` declares; -1 for sizes that vary.

    Raises CorruptData when it cannot be loaded, InvalidInput when one of them has a type that is not served.
    """
    inputs, outputs = _named(_interpreter(path, 1))
    return _specs(inputs), _specs(outputs)


def quantisation(path: Path) -> dict[str, tuple[float, int]]:
    """Scale and zero point of each input and output that holds quantised numbers."""
    tensors = {name: detail for side in _named(_interpreter(path, 1)) for name, detail in side.items()}
    scales = {name: detail["quantization"] for name, detail in tensors.items()}
    return {name: (float(scale), int(zero)) for name, (scale, zero) in scales.items() if scale}


def _interpreter(path: Path, threads: int) -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise MissingDependency.of("ai-edge-litert", "litert", "running a LiteRT model") from error
    try:
        found = Interpreter(model_path=os.fspath(path), num_threads=threads)
        found.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise CorruptData(f"LiteRT cannot load {path.name}: {error}", where=str(path)) from error
    return found


Named = dict[str, Mapping[str, Any]]
"""Details of tensors by name."""


def _named(interpreter: Any) -> tuple[Named, Named]:
    """Inputs and outputs by the names of the serving signature, or by their own where the file has none."""
    details = interpreter.get_input_details(), interpreter.get_output_details()
    names = _signature_names(interpreter)
    return _by_name(details[0], names[0]), _by_name(details[1], names[1])


def _signature_names(interpreter: Any) -> tuple[dict[int, str], dict[int, str]]:
    keys = list(interpreter.get_signature_list())
    if not keys:
        return {}, {}
    runner = interpreter.get_signature_runner(_SERVING if _SERVING in keys else keys[0])
    inputs, outputs = runner.get_input_details(), runner.get_output_details()
    return {d["index"]: name for name, d in inputs.items()}, {d["index"]: name for name, d in outputs.items()}


def _by_name(details: Sequence[Mapping[str, Any]], names: Mapping[int, str]) -> Named:
    return {names.get(d["index"], _plain(d["name"])): d for d in details}


def _plain(name: str) -> str:
    """`serving_default_x:0` without what the converter put around it."""
    return name.removeprefix(f"{_SERVING}_").removesuffix(":0")


def _index(spec: TensorSpec, there: Named, what: str) -> int:
    if spec.name not in there:
        raise CorruptData(f"the file has no such {what}", where=spec.name, found=", ".join(there), expected=spec.name)
    return int(there[spec.name]["index"])


def _specs(named: Named) -> tuple[TensorSpec, ...]:
    return tuple(_spec(name, detail) for name, detail in named.items())


def _spec(name: str, detail: Mapping[str, Any]) -> TensorSpec:
    dtype = np.dtype(detail["dtype"])
    if dtype.kind not in "biuf":
        raise InvalidInput(
            "this type of a LiteRT tensor is not served", where=name, found=str(dtype), expected="numbers"
        )
    declared = detail["shape_signature"] if len(detail["shape_signature"]) else detail["shape"]
    return TensorSpec(name=name, datatype=datatype_of(dtype), shape=tuple(int(size) for size in declared))
