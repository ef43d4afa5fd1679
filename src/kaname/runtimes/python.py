"""Python models: a class in a file, for what a graph cannot express.

The contract of the class::

    class Model:
        files = ("weights.npy",)                 # optional: files beside the module that belong to the model
        signature = {...}                        # optional: see `kaname.signature.Signature`
        deterministic = False                    # optional: the same input may get another answer (never cached)

        def load(self, folder: Path) -> None: ...  # optional: called once before the first prediction
        def predict(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray] | np.ndarray: ...
        def stream(self, batch): ...              # optional: yields what `predict` returns, as far as it has come

`batch` holds each input under its name, rows first; BYTES inputs are object arrays of `bytes`. `predict` returns
each output under its name, or the only output by itself, with one row per input row. `stream` is called from threads of
their own, several at a time and beside `predict`: what they share needs a lock.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import msgspec
import numpy as np

from kaname.errors import CorruptData, InvalidInput, ModelFailed
from kaname.runtimes.types import SessionOptions
from kaname.signature import Signature
from kaname.tensors import NUMPY_OF, Tensor, TensorSpec

MANIFEST = "python.json"
"""File beside the module that names the class."""


class Predictor(Protocol):
    """What a Python model must have."""

    def predict(self, batch: dict[str, Tensor]) -> dict[str, Tensor] | Tensor:
        """Outputs by name, or the only output, for inputs by name."""


class PythonManifest(msgspec.Struct, frozen=True, kw_only=True):
    """Which class of the module is the model."""

    class_name: str


class PythonSession:
    """One instance of the class, called by one thread at a time."""

    __slots__ = ("_inputs", "_model", "_outputs", "streams")

    def __init__(self, model: Predictor, signature: Signature) -> None:
        self._model = model
        self._inputs = [spec.name for spec in signature.inputs]
        self._outputs = signature.outputs
        self.streams = callable(getattr(model, "stream", None))

    def run(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """See `Session.run`; raises what the model raises, ModelFailed when its answer is not what it declared."""
        with np.errstate(over="warn"):  # numpy's default: the strictness with which inputs are converted ends here
            answer = self._model.predict(dict(zip(self._inputs, inputs, strict=True)))
        return self._declared(answer, "predict")

    def stream(self, inputs: tuple[Tensor, ...]) -> Iterator[tuple[Tensor, ...]]:
        """See `Streaming.stream`; raises what the model raises, ModelFailed when a piece is not what it declared."""
        pieces: Iterator[object] = iter(self._model.stream(dict(zip(self._inputs, inputs, strict=True))))  # type: ignore[attr-defined]  # `streams` says that it has it
        try:
            for piece in pieces:
                yield self._declared(piece, "stream")
        finally:
            close = getattr(pieces, "close", None)
            if close is not None:
                close()

    def _declared(self, answer: object, method: str) -> tuple[Tensor, ...]:
        """What a method gave, as the outputs of the signature."""
        if not isinstance(answer, dict):
            if len(self._outputs) != 1:
                raise ModelFailed(f"{method} must name its outputs", expected=str([s.name for s in self._outputs]))
            return (_as_declared(answer, self._outputs[0]),)
        missing = [spec.name for spec in self._outputs if spec.name not in answer]
        if missing:
            raise ModelFailed(f"{method} left out outputs", found=str(list(answer)), expected=str(missing))
        return tuple(_as_declared(answer[spec.name], spec) for spec in self._outputs)

    def close(self) -> None:
        """Forget the instance."""
        del self._model


class PythonRuntime:
    """Opens a module file beside its manifest."""

    name = "python"

    def open(self, path: Path, signature: Signature, options: SessionOptions) -> PythonSession:
        """See `Runtime.open`; whatever the module or `load` raises becomes CorruptData."""
        del options  # the model's own code decides
        try:
            manifest = msgspec.json.decode((path.parent / MANIFEST).read_bytes(), type=PythonManifest)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise CorruptData(
                "the Python model's manifest cannot be read", where=str(path.parent / MANIFEST)
            ) from error
        return PythonSession(instantiate(path, manifest.class_name), signature)


def load_module(path: Path) -> ModuleType:
    """Execute the file at `path`, as it is now, as a module of its own. Raises CorruptData that names what it raised.

    Without the interpreter's cache of compiled files, which takes a file of the same second and size for the same.
    """
    name = f"kaname_model_{abs(hash(str(path.resolve()))):x}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None:
        raise InvalidInput("not a Python file", where=str(path), expected="a file that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # pickle and dataclasses inside the module look it up
    try:
        exec(compile(path.read_bytes(), path, "exec", dont_inherit=True), module.__dict__)  # noqa: S102
    except Exception as error:
        del sys.modules[name]
        raise CorruptData(f"the module raised {type(error).__name__}: {error}", where=str(path)) from error
    return module


def instantiate(path: Path, class_name: str) -> Any:
    """An instance of the class in the file at `path`, after its `load`. Raises CorruptData."""
    module = load_module(path)
    found = getattr(module, class_name, None)
    if not isinstance(found, type) or not callable(getattr(found, "predict", None)):
        raise CorruptData("the module has no such class with a `predict`", where=str(path), expected=class_name)
    try:
        model = found()
        if callable(getattr(model, "load", None)):
            model.load(path.parent)
    except Exception as error:
        raise CorruptData(f"loading {class_name} raised {type(error).__name__}: {error}", where=str(path)) from error
    return model


def _as_declared(found: object, spec: TensorSpec) -> Tensor:
    """`found` as a fresh array of the declared datatype and rank."""
    array = np.asarray(found)
    if array.ndim != len(spec.shape):
        raise ModelFailed(
            "an output has another rank than declared",
            where=spec.name,
            found=str(array.shape),
            expected=str(spec.shape),
        )
    if spec.datatype == "BYTES":
        out = np.empty(array.size, dtype=object)
        out[:] = [x if isinstance(x, bytes) else str(x).encode() for x in array.ravel().tolist()]
        return out.reshape(array.shape)
    return np.array(array, dtype=NUMPY_OF[spec.datatype], order="C")
