"""The input example of an MLflow folder as a sample: named values, or plain rows for what takes one tensor."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from kaname.errors import InvalidInput


def forms(folder: Path, info: dict[str, Any] | None, signature: dict[str, Any] | None, aside: Path) -> Iterator[Path]:
    """Files in `aside` that hold the folder's example, the more telling form first; none when it has no example."""
    example = None if info is None else _example(folder / str(info.get("artifact_path", "")))
    if example is None:
        return
    if isinstance(example, dict) and {"columns", "data"} <= set(example):
        yield _json(
            aside / "records.json", [dict(zip(example["columns"], row, strict=True)) for row in example["data"]]
        )
        yield _json(aside / "rows.json", example["data"])
        return
    tensors = tensor_dtypes(signature)
    named = isinstance(example, dict)
    if tensors and named == (None not in tensors):
        yield _arrays(aside, example if named else {None: example}, tensors)
    elif named:
        yield _json(aside / "records.json", _records(example))
    else:
        yield _json(aside / "rows.json", example)


def is_its_fault(error: InvalidInput) -> bool:
    """Whether an import was refused because of its sample."""
    return (error.where or "").startswith("sample") or "sample" in error.message


def tensor_dtypes(signature: dict[str, Any] | None) -> dict[str | None, str]:
    """The dtype of each input by name (None for the only one) of a signature of tensors; empty for another."""
    specs = [spec for spec in inputs_of(signature) if spec.get("type") == "tensor"]
    return {spec.get("name"): str(spec["tensor-spec"]["dtype"]) for spec in specs}


def inputs_of(signature: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The inputs that a signature declares: MLflow keeps them as JSON in a string."""
    declared = (signature or {}).get("inputs") or "[]"
    return list(json.loads(declared)) if isinstance(declared, str) else list(declared)


def _example(file: Path) -> Any:
    try:
        return msgspec.json.decode(file.read_bytes())
    except (OSError, msgspec.DecodeError):
        return None  # a sparse matrix or another form that is not read: the import goes on without


def _records(example: dict[str, Any]) -> list[dict[str, Any]]:
    columns = {name: value if isinstance(value, list) else [value] for name, value in example.items()}
    count = min(len(column) for column in columns.values())
    return [{name: column[i] for name, column in columns.items()} for i in range(count)]


def _json(path: Path, rows: Any) -> Path:
    path.write_bytes(msgspec.json.encode(rows))
    return path


def _arrays(aside: Path, example: dict[Any, Any], dtypes: dict[str | None, str]) -> Path:
    arrays = {name: np.array(value, dtype=dtypes[name]) for name, value in example.items() if name in dtypes}
    if None in arrays:
        np.save(aside / "rows.npy", arrays[None])
        return aside / "rows.npy"
    named: dict[str, Any] = {str(name): array for name, array in arrays.items()}
    np.savez(aside / "rows.npz", **named)
    return aside / "rows.npz"
