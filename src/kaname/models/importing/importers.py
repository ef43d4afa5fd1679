"""The importers by kind; the one place that knows all of them."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import cast

from kaname.models.importing import trust
from kaname.models.importing.types import ImportRequest, Kind, Prepared

_IMPORTERS: dict[Kind, tuple[str, str]] = {
    "onnx": ("onnx", "prepare"),
    "python": ("python_model", "prepare"),
    "lightgbm": ("lightgbm", "from_text"),
    "xgboost": ("xgboost", "from_file"),
    "litert": ("litert", "prepare"),
    "pickle": ("pickles", "prepare"),
    "skops": ("skops", "prepare"),
    "pytorch": ("pytorch", "prepare"),
    "torchscript": ("torchscript", "prepare"),
    "torch_pickle": ("torch_module", "prepare"),
    "tensorflow": ("tensorflow", "prepare"),
    "keras": ("keras", "prepare"),
    "mlflow": ("mlflow", "prepare"),
}


def prepare(kind: Kind, request: ImportRequest, folder: Path) -> Prepared:
    """Import what the request names as a model of this kind; only the libraries that it needs are loaded.

    Raises InvalidInput when reading it would run code that the request does not trust.
    """
    trust.demand(kind, request)
    module, function = _IMPORTERS[kind]
    importer = getattr(import_module(f"kaname.models.importing.{module}"), function)
    return cast("Prepared", importer(request, folder))
