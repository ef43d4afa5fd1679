"""What kind of model a file holds, from its name and its first bytes; nothing is executed."""

from __future__ import annotations

import zipfile
from pathlib import Path

from kaname.errors import InvalidInput
from kaname.models.importing.types import Kind

ACCEPTED = (
    "an ONNX file (.onnx), a scikit-learn, LightGBM or XGBoost model in a pickle (.joblib, .pkl) or skops file "
    "(.skops), a LightGBM text model (.txt), an XGBoost model (.json, .ubj), a LiteRT model (.tflite), a PyTorch "
    "program (.pt2), TorchScript archive or pickled module (.pt, .pth), a TensorFlow SavedModel (its folder), a Keras "
    "model (.keras, .h5), an MLflow model (its folder), a Python model (file.py:ClassName) or the description of a "
    "remote model (.yaml)"
)
_SUFFIXES: dict[str, Kind] = {
    ".onnx": "onnx",
    ".joblib": "pickle",
    ".pkl": "pickle",
    ".pickle": "pickle",
    ".ubj": "xgboost",
    ".py": "python",
    ".tflite": "litert",
    ".pt2": "pytorch",
    ".keras": "keras",
    ".h5": "keras",
    ".hdf5": "keras",
    ".skops": "skops",
    ".yaml": "remote",
    ".yml": "remote",
}
_TORCH = {".pt", ".pth"}
_FOREIGN = {".pb", ".safetensors"}
_FOLDERS: dict[str, Kind] = {"MLmodel": "mlflow", "saved_model.pb": "tensorflow"}
"""Folders are known by a file in them."""


def split_python(path: Path) -> tuple[Path, str | None]:
    """The file and class of `file.py:ClassName`; the class is None when only a file is named."""
    text = str(path)
    file, colon, name = text.rpartition(":")
    return (Path(file), name) if colon and file.endswith(".py") and name.isidentifier() else (path, None)


def detect(path: Path) -> Kind:
    """The kind of model at `path`. Raises InvalidInput when it does not exist or is none of those accepted."""
    file, _ = split_python(path)
    if not file.exists():
        raise InvalidInput("there is no such file", where=str(file), expected=ACCEPTED)
    if not file.is_file():
        return _folder(file)
    suffix = file.suffix.lower()
    kind = _torch(file) if suffix in _TORCH else _SUFFIXES.get(suffix) or _by_content(file)
    if kind is not None:
        return kind
    if file.name in _FOLDERS:
        raise InvalidInput("this model is added by its folder", where=str(file), expected=str(file.parent))
    if suffix in _FOREIGN:
        raise InvalidInput("this format is not read; export the model to ONNX", where=str(file), found=suffix)
    raise InvalidInput(
        "not a model file that is known", where=str(file), found=suffix or "no suffix", expected=ACCEPTED
    )


def _folder(folder: Path) -> Kind:
    for name, kind in _FOLDERS.items():
        if (folder / name).is_file():
            return kind
    raise InvalidInput("not a model", where=str(folder), found="a folder", expected=ACCEPTED)


def _by_content(file: Path) -> Kind | None:
    with file.open("rb") as stream:
        head = stream.read(4096)
    if head.startswith((b"tree\n", b"tree\r\n")) or b"\ntree_sizes=" in head:
        return "lightgbm"
    if head.lstrip().startswith(b"{") and b'"learner"' in head:
        return "xgboost"
    if head[:1] == b"\x80" and len(head) > 1 and head[1] in (2, 3, 4, 5):
        return "pickle"
    return None


def _torch(file: Path) -> Kind:
    """What of PyTorch's formats the file is: two of them are archives that say so in the names of their parts."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            parts = {name.partition("/")[2] for name in archive.namelist()}
        if "archive_format" in parts:
            return "pytorch"
        if "constants.pkl" in parts:
            return "torchscript"
    return "torch_pickle"
