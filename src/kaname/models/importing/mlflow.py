"""MLflow model folders: the file `MLmodel` says which flavours the folder holds; the first that is known is imported.

MLflow itself is needed only for a model that has no flavour but `python_function`.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec

from kaname.errors import CorruptData, InvalidInput
from kaname.models.importing import importers, mlflow_function, mlflow_sample
from kaname.models.importing.detect import detect
from kaname.models.importing.pickles import importable
from kaname.models.importing.types import ImportRequest, Kind, Prepared

MLMODEL = "MLmodel"
FUNCTION = "python_function"
Flavour = dict[str, Any]


class MLmodel(msgspec.Struct, kw_only=True):
    """What the file says, as far as it matters here."""

    flavors: dict[str, Flavour]
    signature: dict[str, Any] | None = None
    saved_input_example_info: dict[str, Any] | None = None


def prepare(request: ImportRequest, folder: Path) -> Prepared:
    """Import the model in the folder by its flavour, with the folder's own input example unless a sample is given."""
    model = read(request.path)
    name, place = _chosen(model, request.path)
    with ExitStack() as stack:
        aside = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder.parent)))
        if request.trust_pickle:
            stack.enter_context(importable(request.path / str(model.flavors[name].get("code") or "code")))
        prepared = _with_example(model, request, folder, aside, _importer(name, place, model))
    prepared.notes.append(f"imported by the MLflow flavour {name}")
    return prepared


def read(folder: Path) -> MLmodel:
    """The file `MLmodel` of a folder. Raises CorruptData."""
    file = folder / MLMODEL
    try:
        return msgspec.yaml.decode(file.read_bytes(), type=MLmodel)
    except (msgspec.MsgspecError, UnicodeDecodeError, OSError) as error:
        raise CorruptData(f"not a description of an MLflow model: {error}", where=str(file)) from error


# --- the flavour ----------------------------------------------------------------------------------------


def _chosen(model: MLmodel, folder: Path) -> tuple[str, Path]:
    """The first flavour that is known, and its file or folder; `python_function` when there is no other."""
    for name, places in _PLACES.items():
        if name in model.flavors:
            return name, _existing(folder, name, places(model.flavors[name]))
    if FUNCTION in model.flavors:
        return FUNCTION, folder
    raise InvalidInput(
        "the folder holds no flavour that is imported",
        where=str(folder / MLMODEL),
        found=", ".join(model.flavors) or "none",
        expected=", ".join([*_PLACES, FUNCTION]),
    )


def _existing(folder: Path, name: str, places: list[str]) -> Path:
    for place in places:
        found = (folder / place).resolve()
        if folder.resolve() in found.parents and found.exists():
            return found
    raise CorruptData(
        f"the file of the flavour {name} is missing", where=str(folder), expected=" or ".join(places) or "its name"
    )


def _named(*keys: str) -> Callable[[Flavour], list[str]]:
    """The flavour names its file under one of these keys."""
    return lambda flavour: [str(flavour[key]) for key in keys if flavour.get(key)]


def _torch(flavour: Flavour) -> list[str]:
    data = flavour.get("model_data", "data")
    return [f"{data}/model.pt2", f"{data}/model.pth"]


def _keras(flavour: Flavour) -> list[str]:
    if flavour.get("saved_model_dir"):
        return [str(flavour["saved_model_dir"])]
    data = flavour.get("data", "data")
    return [f"{data}/model.keras", f"{data}/model.h5", f"{data}/model"]


_PLACES: dict[str, Callable[[Flavour], list[str]]] = {
    "onnx": _named("data"),
    "sklearn": _named("pickled_model"),
    "lightgbm": _named("data"),
    "xgboost": _named("data"),
    "pytorch": _torch,
    "tensorflow": _keras,
    "keras": _keras,
}
"""The flavours that are known, the more direct first, and where each keeps its model."""

_KINDS: dict[str, frozenset[Kind]] = {
    "onnx": frozenset({"onnx"}),
    "sklearn": frozenset({"pickle", "skops"}),
    "lightgbm": frozenset({"lightgbm", "pickle", "skops"}),
    "xgboost": frozenset({"xgboost", "pickle", "skops"}),
    "pytorch": frozenset({"pytorch", "torchscript", "torch_pickle"}),
    "tensorflow": frozenset({"tensorflow", "keras"}),
    "keras": frozenset({"tensorflow", "keras"}),
}
"""What each of them may keep there."""


# --- the import -----------------------------------------------------------------------------------------

Importer = Callable[[ImportRequest, Path], Prepared]


def _importer(name: str, place: Path, model: MLmodel) -> Importer:
    if name == FUNCTION:
        return lambda request, folder: mlflow_function.prepare(request, folder, model.signature)
    kind = _kind(name, place)
    return lambda request, folder: importers.prepare(kind, msgspec.structs.replace(request, path=place), folder)


def _kind(name: str, place: Path) -> Kind:
    """What the flavour's file is. Raises CorruptData for what such a flavour does not keep, Python code for example."""
    # Old files of XGBoost have an ending of MLflow's own; the others say what they are.
    kind: Kind = "xgboost" if name == "xgboost" and place.suffix == ".xgb" else detect(place)
    if kind not in _KINDS[name]:
        raise CorruptData(
            f"the file of the flavour {name} is of another kind",
            where=str(place),
            found=kind,
            expected=" or ".join(sorted(_KINDS[name])),
        )
    return kind


def _with_example(model: MLmodel, request: ImportRequest, folder: Path, aside: Path, importer: Importer) -> Prepared:
    """Import with the first sample that fits: the person's own, a form of the folder's example, or none."""
    if request.sample is not None:
        return importer(request, folder)
    examples = mlflow_sample.forms(request.path, model.saved_input_example_info, model.signature, aside)
    for sample in _each(examples, folder):
        try:
            return importer(msgspec.structs.replace(request, sample=sample), folder)
        except InvalidInput as error:
            if not mlflow_sample.is_its_fault(error):
                raise
    return importer(request, folder)


def _each(examples: Iterator[Path], folder: Path) -> Iterator[Path]:
    """The examples, the folder empty again after each."""
    for sample in examples:
        yield sample
        shutil.rmtree(folder)
        folder.mkdir()
