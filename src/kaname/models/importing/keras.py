"""Keras models (`.keras`, `.h5`): exported to a SavedModel, which is the artefact.

The only module that imports keras.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any

from kaname.errors import CorruptData, InvalidInput, MissingDependency
from kaname.models.importing import tensorflow
from kaname.models.importing.pickles import importable
from kaname.models.importing.types import ImportRequest, Prepared
from kaname.runtimes.catalog import FILES
from kaname.runtimes.tensorflow import library


def prepare(request: ImportRequest, folder: Path) -> Prepared:
    """Load the model, in Keras' safe mode unless the request trusts it, and import its inference."""
    library()
    try:
        import keras
    except ImportError as error:
        raise MissingDependency.of("keras", "tensorflow", "importing a Keras model") from error
    with importable(request.path.parent) if request.trust_pickle else nullcontext():
        model = _load(keras, request)
        try:
            model.export(str((folder / FILES["tensorflow"]).parent), verbose=False)
        except Exception as error:
            raise InvalidInput(f"Keras cannot export the model: {_said(error)}", where=str(request.path)) from error
    prepared = tensorflow.from_folder(request, folder)
    prepared.source = "keras"
    return prepared


def _load(keras: Any, request: ImportRequest) -> Any:
    trusted = request.trust_pickle
    try:
        return keras.models.load_model(
            str(request.path),
            custom_objects=dict(_beside(request.path)) if trusted else None,
            compile=False,
            safe_mode=not trusted,
        )
    except Exception as error:
        if "safe_mode" in str(error) or "Could not locate class" in str(error):
            raise InvalidInput(
                "the model holds Python code, or names classes that are not Keras' own; import it only if you trust "
                "who made it, with --trust-pickle and the classes in a file beside it",
                where=str(request.path),
            ) from error
        raise CorruptData(f"Keras cannot load the model: {_said(error)}", where=str(request.path)) from error


def _beside(path: Path) -> Iterator[tuple[str, Any]]:
    """The classes that the file names and that a module in its folder holds."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        waiting = [json.loads(archive.read("config.json"))]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list | dict):
            waiting.extend(part if isinstance(part, list) else part.values())
        if isinstance(part, dict) and (path.parent / f"{part.get('module')}.py").is_file():
            yield part["class_name"], getattr(import_module(part["module"]), part["class_name"])


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:300]}"
