"""TensorFlow: a signature of a SavedModel, for what ONNX Runtime cannot run as it does.

The only module that imports tensorflow. `auto` is the first CUDA device where TensorFlow finds one, else the processor.
"""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from kaname.errors import CorruptData, InvalidInput, MissingDependency, Unavailable
from kaname.runtimes.devices import full
from kaname.runtimes.named import DATATYPES
from kaname.runtimes.types import SessionOptions
from kaname.settings import Device
from kaname.signature import Signature
from kaname.tensors import NUMPY_OF, Datatype, Tensor, TensorSpec

SERVING = "serving_default"
_INTERNAL = "__saved_model_init_op"
_PLACES = {"cpu": "/CPU:0", "cuda": "/GPU:0"}
"""TensorFlow's names of devices."""
_DATATYPES: dict[str, Datatype] = {**DATATYPES, "string": "BYTES"}


class TensorFlowSession:
    """One signature of a SavedModel on one device."""

    __slots__ = ("_dtypes", "_function", "_keep", "_names", "_outputs", "_place", "_tf", "device")

    def __init__(self, loaded: Any, function: Any, signature: Signature, device: Device = "cpu") -> None:
        """`device`: where the model was loaded."""
        self._tf = library()
        self.device = device
        self._place = _PLACES[device]
        self._keep = loaded  # the function's variables live as long as their object
        self._function = function
        taken, given = specs(function)
        for wanted, there in ((signature.inputs, taken), (signature.outputs, given)):
            if missing := {spec.name for spec in wanted} - set(there):
                raise CorruptData(
                    "the SavedModel has no such input or output",
                    found=", ".join(there),
                    expected=", ".join(sorted(missing)),
                )
        self._names = [spec.name for spec in signature.inputs]
        self._dtypes = [taken[name].dtype for name in self._names]
        self._outputs = [(spec.name, NUMPY_OF[spec.datatype]) for spec in signature.outputs]

    def run(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """See `Session.run`; raises TensorFlow's errors, Unavailable where the device is full."""
        try:
            return self._run(inputs)
        except Exception as error:  # tensorflow raises anything
            refused = full(self.device, error)
            if refused is None:
                raise
            raise refused from error

    def _run(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        convert = self._tf.convert_to_tensor
        given = zip(self._names, inputs, self._dtypes, strict=True)
        with self._tf.device(self._place):
            found = self._function(**{name: convert(array, dtype=dtype) for name, array, dtype in given})
        return tuple([np.array(found[name].numpy(), dtype=dtype, order="C") for name, dtype in self._outputs])

    def close(self) -> None:
        """Forget the model."""
        self._function = self._keep = None


class TensorFlowRuntime:
    """Opens SavedModels."""

    name = "tensorflow"

    def begin(self, options: SessionOptions) -> None:
        """See `Beginning.begin`."""
        tf = library()
        if options.device == "cpu":
            with suppress(RuntimeError):  # once per process, before its first run
                tf.config.set_visible_devices([], "GPU")  # TensorFlow would take memory of each
        with tf.device(_PLACES[device(options.device)]):
            tf.zeros(1)

    def open(self, path: Path, signature: Signature, options: SessionOptions) -> TensorFlowSession:
        """See `Runtime.open`; `path` is the `saved_model.pb` in the SavedModel's folder."""
        place = device(options.device)
        loaded, function = load(path.parent, options.threads, place)
        return TensorFlowSession(loaded, function, signature, place)


def device(asked: Device = "auto") -> Device:
    """Where models run that are to run on `asked`; on CUDA where that is TensorRT. Raises Unavailable."""
    there = bool(library().config.list_physical_devices("GPU"))
    if asked == "cpu" or (asked == "auto" and not there):
        return "cpu"
    if not there:
        raise Unavailable(
            f"this TensorFlow cannot use {asked}", where="inference.device", found="no CUDA device", expected="one"
        )
    return "cuda"


def load(folder: Path, threads: int = 1, device: Device = "cpu") -> tuple[Any, Any]:
    """The SavedModel in `folder`, its variables on `device`, and its serving signature (or its first).

    Raises CorruptData, InvalidInput.
    """
    tf = library()
    with suppress(RuntimeError):  # once per process, before its first run
        tf.config.threading.set_intra_op_parallelism_threads(threads)
    try:
        with tf.device(_PLACES[device]):
            loaded = tf.saved_model.load(os.fspath(folder))
    except Exception as error:  # tensorflow raises anything
        said = f"{type(error).__name__}: {str(error)[:300]}"
        raise CorruptData(f"TensorFlow cannot load the SavedModel: {said}", where=str(folder)) from error
    keys = [key for key in loaded.signatures if key != _INTERNAL]
    if not keys:
        raise InvalidInput(
            "the SavedModel has no signature: save it with signatures=…, or a Keras model with model.export",
            where=str(folder),
            expected=SERVING,
        )
    return loaded, loaded.signatures[SERVING if SERVING in keys else keys[0]]


def specs(function: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """TensorFlow's own specs of a signature's inputs and outputs, sorted by name: its files keep no order."""
    return dict(sorted(function.structured_input_signature[1].items())), dict(
        sorted(function.structured_outputs.items())
    )


def describe(function: Any) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """What is served of a signature; -1 for sizes that vary. Raises InvalidInput for what is no plain tensor."""
    taken, given = specs(function)
    return tuple(_spec(*item) for item in taken.items()), tuple(_spec(*item) for item in given.items())


def _spec(name: str, spec: Any) -> TensorSpec:
    dtype = getattr(getattr(spec, "dtype", None), "name", "")
    shape = getattr(spec, "shape", None)
    if dtype not in _DATATYPES or shape is None or shape.rank is None:
        raise InvalidInput(
            "not a tensor that is served", where=name, found=str(spec), expected="numbers or strings of a known rank"
        )
    sizes = tuple(-1 if size is None else int(size) for size in shape.as_list())
    return TensorSpec(name=name, datatype=_DATATYPES[dtype], shape=sizes)


@functools.cache
def library() -> Any:
    """The library, told to be quiet and to take no more of a GPU than it needs. Raises MissingDependency."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with _keras_settled():
        try:
            import tensorflow as tf
        except ImportError as error:
            raise MissingDependency.of("tensorflow", "tensorflow", "running a TensorFlow model") from error
    tf.get_logger().setLevel("ERROR")
    tf.config.experimental.enable_tensor_float_32_execution(False)  # a GPU answers as the processor does
    with suppress(RuntimeError):  # once per process, before its first run
        tf.config.threading.set_inter_op_parallelism_threads(1)
        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)
    return tf


@contextmanager
def _keras_settled() -> Iterator[None]:
    """Keras, which comes along, reads its backend from the user's home or writes it there: not here."""
    before = {name: os.environ.get(name) for name in ("KERAS_HOME", "KERAS_BACKEND")}
    with tempfile.TemporaryDirectory() as aside:
        os.environ.update(KERAS_HOME=aside, KERAS_BACKEND="tensorflow")
        try:
            yield
        finally:
            for name, value in before.items():
                os.environ.pop(name)
                if value is not None:
                    os.environ[name] = value
