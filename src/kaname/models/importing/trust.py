"""What reading a model would execute, and therefore needs to be trusted; told without executing it."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
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
_GRAPH_OPERATIONS = (
    b"ReadFile", b"WriteFile", b"MatchingFiles", b"PrintV2", b"Save", b"SaveSlices", b"ImmutableConst",
    b"PyFunc", b"PyFuncStateless", b"EagerPyFunc",
    b"TextLineDataset", b"TFRecordDataset", b"FixedLengthRecordDataset", b"FixedLengthRecordDatasetV2",
    b"SaveDataset", b"SaveDatasetV2", b"LoadDataset", b"DatasetToTFRecord",
    b"CreateSummaryFileWriter", b"CreateSummaryDbWriter", b"DebugIdentity", b"DebugIdentityV2", b"DebugIdentityV3",
)  # fmt: skip
"""Operations of TensorFlow that touch files, call Python or speak to the network, beside those that every SavedModel
has to restore its own variables."""


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
        _refuse(sorted(set(_script_operations(request.path))), "a TorchScript program", request)
    if kind == "tensorflow":
        _refuse(list(_graph_operations(request.path / _SAVED_MODEL)), "a SavedModel", request)


def _refuse(operations: list[str], what: str, request: ImportRequest) -> None:
    if operations:
        raise InvalidInput(
            f"{what} that reads or writes files, or leaves its own language, is imported only with --trust-pickle",
            where=str(request.path),
            found=", ".join(operations),
            expected="operations that compute",
        )


def _script_operations(path: Path) -> Iterator[str]:
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if "/code/" in name and name.endswith(".py"):
                yield from (found.decode() for found in _SCRIPT_FILES.findall(archive.read(name)))


def _graph_operations(path: Path) -> Iterator[str]:
    """Searches for `NodeDef.op`, field 2 of its message: a tag, a length and the name."""
    raw = path.read_bytes()
    yield from (name.decode() for name in _GRAPH_OPERATIONS if b"\x12" + bytes([len(name)]) + name in raw)
