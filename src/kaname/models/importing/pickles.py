"""Reading pickles, after someone said that they trust them."""

from __future__ import annotations

import importlib.util
import pickle
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from kaname.errors import CorruptData, InvalidInput, MissingDependency
from kaname.models.importing.types import ImportRequest, Prepared


def prepare(request: ImportRequest, folder: Path) -> Prepared:
    """Read the pickle and import what it holds."""
    return from_object(load(request.path), request, folder)


def from_object(model: object, request: ImportRequest, folder: Path) -> Prepared:
    """Import a model that is in memory, by the library that made it."""
    importer = import_module(f"kaname.models.importing.{family(model)}")
    return cast("Prepared", importer.from_object(model, request, folder))


def load(path: Path) -> Any:
    """The object in the pickle (or joblib file) at `path`. Runs whatever code the file names."""
    try:
        if importlib.util.find_spec("joblib") is None:
            with path.open("rb") as stream:
                return pickle.load(stream)  # noqa: S301  (the caller was told, and said yes)
        import joblib

        return joblib.load(path)
    except ModuleNotFoundError as error:
        extra = {"lightgbm": "lightgbm", "xgboost": "xgboost"}.get(error.name or "", "sklearn")
        raise MissingDependency.of(error.name or "a library", extra, f"reading {path.name}") from error
    except Exception as error:
        raise CorruptData(f"the pickle cannot be read: {type(error).__name__}: {error}", where=str(path)) from error


@contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Let modules in `folder` be found, which may hold the classes that a file beside them names."""
    sys.path.insert(0, str(folder.resolve()))
    try:
        yield
    finally:
        sys.path.remove(str(folder.resolve()))


def family(model: object) -> str:
    """`lightgbm`, `xgboost` or `sklearn`, from the classes of `model`. Raises InvalidInput for anything else."""
    modules = [kind.__module__.split(".")[0] for kind in type(model).__mro__]
    for found in ("lightgbm", "xgboost", "sklearn"):
        if found in modules:
            return found
    raise InvalidInput(
        "the pickle holds something that is not imported; wrap it in a Python model (file.py:ClassName)",
        found=f"{type(model).__module__}.{type(model).__qualname__}",
        expected="a scikit-learn, LightGBM or XGBoost model",
    )
