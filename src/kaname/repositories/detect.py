"""What kind of repository a folder is, from the names in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

from kaname.errors import InvalidInput
from kaname.repositories import folders, mlflow, mlserver, tensorflow, triton
from kaname.repositories.types import Found, Kind, Unpublished, published
from kaname.repositories.versions import folders_in

KINDS: tuple[Kind, ...] = get_args(Kind)
NAMES: dict[Kind, str] = {
    "triton": "a Triton model repository (MODEL/config.pbtxt, MODEL/1/model.onnx)",
    "mlserver": "a folder of MLServer (model-settings.json)",
    "tensorflow": "base paths of TensorFlow Serving (1/saved_model.pb, MODEL/1/saved_model.pb, models.config)",
    "mlflow": "an MLflow registry (an export with model.json, mlruns/models)",
    "folders": "folders MODEL/VERSION/ with a model file each",
}
_READERS: dict[Kind, Callable[[Path, Unpublished], Found]] = {
    "triton": triton.read,
    "mlserver": mlserver.read,
    "tensorflow": tensorflow.read,
    "mlflow": mlflow.read,
    "folders": folders.read,
}
ONE_MODEL = {
    triton.CONFIG: "one model of a Triton repository: name the folder above it",
    "MLmodel": "one MLflow model: kaname model add NAME DIR",
    "saved_model.pb": "one SavedModel: kaname model add NAME DIR",
}


def read(root: Path, kind: Kind | None = None, unpublished: Unpublished = published) -> Found:
    """The repository at `root`, of this kind or of the one that it looks like. Raises InvalidInput."""
    return _READERS[kind or kind_of(root)](existing(root), unpublished)


def existing(root: Path) -> Path:
    """`root`, unless it is not a folder that can be listed: InvalidInput."""
    if not root.is_dir():
        found = "a file" if root.exists() else "nothing"
        raise InvalidInput("not a model repository", where=str(root), found=found, expected="a folder")
    try:
        next(root.iterdir(), None)
    except OSError as error:
        raise InvalidInput(f"the folder cannot be read: {error.strerror}", where=str(root)) from error
    return root


def kind_of(root: Path) -> Kind:
    """The kind that `root` looks like. Raises InvalidInput for none, or for several, with what speaks for each."""
    existing(root)
    if one := next((hint for name, hint in ONE_MODEL.items() if (root / name).is_file()), None):
        raise InvalidInput("not a model repository", where=str(root), found=one)
    signs = dict(_signs(root))
    if len(signs) > 1:
        found = ", ".join(f"{kind} ({sign})" for kind, sign in signs.items())
        raise InvalidInput(
            "the folder looks like several kinds of repository", where=str(root), found=found, expected="--kind"
        )
    if signs:
        return next(iter(signs))
    if any(folders.is_model(each) for each in folders_in(root)):
        return "folders"
    names = sorted(each.name for each in root.iterdir())
    found = ", ".join(names[:5]) + (", …" if len(names) > 5 else "") if names else "an empty folder"
    expected = "; ".join(NAMES.values())
    raise InvalidInput("not a model repository that is known", where=str(root), found=found, expected=expected)


def _signs(root: Path) -> Iterator[tuple[Kind, str]]:
    """Kinds that something speaks for, and what that is."""
    models = folders_in(root)
    if described := mlserver.places(root):
        yield "mlserver", described[0].relative_to(root).as_posix()
    if sign := next((each.name for each in models if triton.is_model(each)), None):
        yield "triton", sign
    if (root / tensorflow.CONFIG).is_file():
        yield "tensorflow", tensorflow.CONFIG
    elif tensorflow.is_base(root):
        yield "tensorflow", "numbered SavedModels"
    elif sign := next((each.name for each in models if tensorflow.is_base(each) and not triton.is_model(each)), None):
        yield "tensorflow", sign
    if places := [*mlflow.exports(root), *mlflow.registries(root)]:
        yield "mlflow", places[0].relative_to(root).as_posix() or "."
