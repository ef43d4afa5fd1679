"""MLflow's `python_function`: a Python model that lets MLflow load the folder and predict."""

from __future__ import annotations

import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from kaname.errors import InvalidInput, MissingDependency
from kaname.models.importing import mlflow_sample, python_model
from kaname.models.importing.types import ImportRequest, Prepared

_FOLDER = "mlflow"
_DTYPES = {
    "boolean": "bool",
    "integer": "int32",
    "long": "int64",
    "float": "float32",
    "double": "float64",
    "string": "str",
    "binary": "bytes",
}
"""What MLflow calls the types of columns."""
_MODULE = '''"""Made by Kaname when it imported an MLflow model: MLflow loads the folder beside this file."""

import os
from pathlib import Path

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import numpy as np
from mlflow import pyfunc

COLUMNS = {columns!r}
TENSORS = {tensors!r}


class MLflowModel:
    files = {files!r}

    def load(self, folder):
        self._model = pyfunc.load_model(str(Path(folder) / {folder!r}))

    def predict(self, batch):
        return _named(self._model.predict(_frame(batch) if COLUMNS else _tensors(batch)))


def _frame(batch):
    import pandas as pd

    return pd.DataFrame({{name: _column(batch[name].reshape(-1), dtype) for name, dtype in COLUMNS.items()}})


def _column(cells, dtype):
    if dtype == "str":
        return [cell.decode() for cell in cells]
    return list(cells) if dtype == "bytes" else cells.astype(dtype)


def _tensors(batch):
    if len(batch) == 1 and set(TENSORS) <= {{None}}:
        (array,) = batch.values()
        return array.astype(TENSORS.get(None, array.dtype))
    return {{name: array.astype(TENSORS.get(name, array.dtype)) for name, array in batch.items()}}


def _named(answer):
    if hasattr(answer, "columns"):
        return {{str(name): np.asarray(answer[name]) for name in answer.columns}}
    if isinstance(answer, dict):
        return {{str(name): np.asarray(value) for name, value in answer.items()}}
    return np.asarray(answer)
'''


def prepare(request: ImportRequest, folder: Path, signature: dict[str, Any] | None) -> Prepared:
    """Import the whole folder as a Python model. Raises InvalidInput unless the request trusts it."""
    if not request.trust_pickle:
        raise InvalidInput(
            "an MLflow python_function runs whatever code it holds; import it only if you trust who made it, with "
            "--trust-pickle",
            where=str(request.path),
        )
    if find_spec("mlflow") is None:
        raise MissingDependency("an MLflow python_function is run by MLflow itself: pip install mlflow-skinny pandas")
    with tempfile.TemporaryDirectory(dir=folder.parent) as aside:
        module = _written(Path(aside), request.path, signature)
        made = ImportRequest(path=Path(f"{module}:MLflowModel"), sample=request.sample, trust_pickle=True)
        return python_model.prepare(made, folder)


def _written(aside: Path, source: Path, signature: dict[str, Any] | None) -> Path:
    """The module and, beside it, a copy of the folder whose files it names."""
    copied = Path(shutil.copytree(source, aside / _FOLDER, ignore=shutil.ignore_patterns("__pycache__")))
    files = tuple(sorted(file.relative_to(aside).as_posix() for file in copied.rglob("*") if file.is_file()))
    columns = {
        str(spec.get("name")): _dtype(spec)
        for spec in mlflow_sample.inputs_of(signature)
        if spec.get("type") != "tensor"
    }
    module = aside / "mlflow_model.py"
    tensors = mlflow_sample.tensor_dtypes(signature)
    module.write_text(_MODULE.format(columns=columns, tensors=tensors, files=files, folder=_FOLDER))
    return module


def _dtype(spec: dict[str, Any]) -> str:
    if spec.get("name") is None or spec.get("type") not in _DTYPES:
        raise InvalidInput(
            "a column of the MLflow signature is not served",
            where=f"signature.inputs.{spec.get('name')}",
            found=str(spec.get("type")),
            expected=", ".join(_DTYPES),
        )
    return _DTYPES[str(spec["type"])]
