"""What reading a model would execute, and therefore needs to be trusted; told without executing it."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from kaname.errors import InvalidInput
from kaname.models.importing.types import ImportRequest, Kind

_ANY_CODE: dict[Kind, tuple[str, str]] = {
    "pickle": (
        "a pickle can run any code while it is read",
        "export the model to ONNX, LightGBM text or XGBoost JSON",
    ),
    "torch_pickle": ("a pickle can run any code while it is read", "export the model to ONNX"),
    "pytorch": (
        "an exported program can run any code while it is read, for PyTorch unpickles parts of it",
        "export the model to ONNX",
    ),
}
_SCRIPT_FILES = re.compile(rb"\.\s*(save|from_file)\s*\(")
"""Operations of TorchScript that write and read files; the rest of the language computes."""

_SAVED_MODEL = "saved_model.pb"
_GRAPH_OPERATIONS = re.compile(
    rb"(?<![A-Za-z0-9_/])(ReadFile|WriteFile|MatchingFiles|PrintV2|Save(?!V2)|SaveSlices|ImmutableConst|PyFunc|EagerPyFunc"
    rb"|TextLineDataset|TFRecordDataset|FixedLengthRecordDataset|SaveDataset|LoadDataset|DatasetToTFRecord"
    rb"|CreateSummaryFileWriter|CreateSummaryDbWriter|DebugIdentity)"
)
"""Operations of TensorFlow that touch files, call Python or speak to the network, beside those that every SavedModel
has to restore its own variables. What stands before a name is its length, however that is written."""


def demand(kind: Kind, request: ImportRequest) -> None:
    """Raise InvalidInput unless the request trusts what reading its file could do."""
    if request.trust_pickle:
        return
    if kind in _ANY_CODE:
        why, instead = _ANY_CODE[kind]
        raise InvalidInput(
            f"{why}; import it only if you trust who made it, with --trust-pickle (or {instead})",
            where=str(request.path),
        )
    if kind == "torchscript":
        _refuse(_script_operations(request.path), "a TorchScript program", request)
    if kind == "tensorflow":
        _refuse(_graph_operations(request.path / _SAVED_MODEL), "a SavedModel", request)


def _refuse(operations: Iterable[str], what: str, request: ImportRequest) -> None:
    if found := sorted(set(operations)):
        raise InvalidInput(
            f"{what} that reads or writes files, or leaves its own language, is imported only with --trust-pickle",
            where=str(request.path),
            found=", ".join(found),
            expected="operations that compute",
        )


def _script_operations(path: Path) -> Iterator[str]:
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if "/code/" in name and name.endswith(".py"):
                yield from (found.decode() for found in _SCRIPT_FILES.findall(archive.read(name)))


def _graph_operations(path: Path) -> Iterator[str]:
    yield from (found.decode() for found in _GRAPH_OPERATIONS.findall(path.read_bytes()))
    # TensorFlow would read the graph from another form of the file, if there were one.
    yield from (other.name for other in path.parent.glob("saved_model.*") if other.name != path.name)
