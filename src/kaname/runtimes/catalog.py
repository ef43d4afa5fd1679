"""The runtimes by name; the one place that knows all of them."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import cast

from kaname.errors import CorruptData, InvalidInput
from kaname.runtimes.types import Beginning, Runtime, Session, SessionOptions
from kaname.signature import Signature

FILES = {
    "onnx": "model.onnx",
    "lightgbm": "model.txt",
    "xgboost": "model.ubj",
    "python": "model.py",
    "litert": "model.tflite",
    "pytorch": "model.pt2",
    "torchscript": "model.pt",
    "tensorflow": "saved_model/saved_model.pb",
    "remote": "remote.json",
}
"""Each runtime and the file in an artefact's folder that it reads."""

_CLASSES = {
    "onnx": ("kaname.runtimes.onnx", "OnnxRuntime"),
    "lightgbm": ("kaname.runtimes.lightgbm", "LightGBMRuntime"),
    "xgboost": ("kaname.runtimes.xgboost", "XGBoostRuntime"),
    "python": ("kaname.runtimes.python", "PythonRuntime"),
    "litert": ("kaname.runtimes.litert", "LiteRTRuntime"),
    "pytorch": ("kaname.runtimes.pytorch", "PyTorchRuntime"),
    "torchscript": ("kaname.runtimes.pytorch", "TorchScriptRuntime"),
    "tensorflow": ("kaname.runtimes.tensorflow", "TensorFlowRuntime"),
    "remote": ("kaname.runtimes.remote.session", "RemoteRuntime"),
}
REMOTE = "remote"
"""The runtime whose sessions are `Elsewhere`."""
HEAVY = frozenset({"pytorch", "torchscript", "tensorflow"})
"""Runtimes whose library costs a worker half a gigabyte."""


def runtime_of(name: str) -> Runtime:
    """The runtime called `name`, its library loaded only now. Raises InvalidInput when there is none."""
    if name not in _CLASSES:
        raise InvalidInput("there is no such runtime", where="runtime", found=name, expected=", ".join(_CLASSES))
    module, attribute = _CLASSES[name]
    return cast("Runtime", getattr(import_module(module), attribute)())


def begin(name: str, options: SessionOptions) -> None:
    """Import the library of the runtime called `name` and begin to use its device: what all of its sessions share.

    Raises InvalidInput, MissingDependency, Unavailable.
    """
    runtime = runtime_of(name)
    if isinstance(runtime, Beginning):
        runtime.begin(options)


def open_session(runtime: str, path: Path, signature: Signature, options: SessionOptions) -> Session:
    """A session of `runtime` on the artefact at `path`: its folder, or the model's file in it.

    Raises InvalidInput for an unknown runtime, MissingDependency when its library is not installed, CorruptData
    when the file is missing or cannot be loaded.
    """
    opener = runtime_of(runtime)
    file = path / FILES[runtime] if path.is_dir() else path
    if not file.is_file():
        raise CorruptData("the artefact lacks the file of its runtime", where=str(path), expected=file.name)
    return opener.open(file, signature, options)
