"""Sample rows: reading what a person gives, fitting it to a signature, and the request body made of a row."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from kaname.errors import InvalidInput
from kaname.models.importing.types import Tensors
from kaname.signature import Feature, Signature
from kaname.tensors import FLOATS, NUMPY_OF, Tensor, TensorSpec

Record = dict[str, Any]


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """Rows as they were given: named values (`records`), or one array whose first dimension is rows."""

    records: list[Record] | None = None
    array: Any = None
    """A numpy array, or None."""

    def column(self, name: str) -> list[Any]:
        """The values of one named column, None where a record lacks it; empty when the rows have no names."""
        return [record.get(name) for record in self.records or ()]

    @property
    def names(self) -> list[str]:
        """The names in the first record."""
        return list(self.records[0]) if self.records else []


def read(path: Path) -> Sample:
    """The rows in `path`: JSON (`{"features": …}`, `{"instances": […]}` or a plain list), CSV with a header, numpy.

    Raises InvalidInput when it cannot be read or holds no row.
    """
    readers = {".json": _read_json, ".csv": _read_csv, ".npy": _read_numpy, ".npz": _read_numpy}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise InvalidInput(
            "not a kind of sample that is read", where=str(path), found=path.suffix, expected=", ".join(readers)
        )
    try:
        sample = reader(path)
    except (OSError, ValueError, msgspec.DecodeError, csv.Error) as error:
        raise InvalidInput(f"the sample cannot be read: {error}", where=str(path)) from error
    if not (sample.records or (sample.array is not None and sample.array.size)):
        raise InvalidInput("the sample holds no row", where=str(path))
    return sample


def _read_json(path: Path) -> Sample:
    body = msgspec.json.decode(path.read_bytes())
    if isinstance(body, dict):
        if "features" in body:
            body = [body["features"]]
        elif "instances" in body:
            body = body["instances"]
        else:
            body = [body]
    if not isinstance(body, list):
        raise ValueError("expected a list of rows, or an object with `features` or `instances`")
    if body and all(isinstance(row, dict) for row in body):
        return Sample(records=body)
    return Sample(array=_at_least_rows(np.array(body)))


def _read_csv(path: Path) -> Sample:
    with path.open(newline="", encoding="utf-8-sig") as stream:
        rows = list(csv.DictReader(stream))
    columns = {name: _numbers([row[name] for row in rows]) for name in (rows[0] if rows else {})}
    return Sample(records=[{name: values[i] for name, values in columns.items()} for i in range(len(rows))])


def _numbers(cells: list[str]) -> list[Any]:
    """The cells as numbers when all are (an empty one is missing), else as they are."""
    try:
        return [None if cell == "" else (int(cell) if cell.lstrip("-").isdigit() else float(cell)) for cell in cells]
    except ValueError:
        return [None if cell == "" else cell for cell in cells]


def _read_numpy(path: Path) -> Sample:
    found = np.load(path, allow_pickle=False)
    if isinstance(found, np.ndarray):
        return Sample(array=_at_least_rows(found))
    arrays = {name: np.asarray(found[name]) for name in found.files}
    count = min(len(array) for array in arrays.values())
    return Sample(records=[{name: array[i] for name, array in arrays.items()} for i in range(count)])


def _at_least_rows(array: Tensor) -> Tensor:
    return array.reshape(1, -1) if array.ndim < 2 and array.dtype != object else array


# --- rows for a signature -------------------------------------------------------------------------------


def rows_of(sample: Sample, signature: Signature) -> Tensors:
    """The sample as inputs in the signature's order, floats at double precision.

    Raises InvalidInput that names the row and the feature that does not fit.
    """
    if signature.layout == "tensors":
        return _tensors(sample, signature.inputs)
    records = sample.records
    if records is None:
        names = [feature.name for feature in signature.features]
        if sample.array.ndim != 2 or sample.array.shape[1] != len(names):
            raise InvalidInput(
                "rows of another length",
                where="sample",
                found=str(sample.array.shape[1:]),
                expected=f"{len(names)} values",
            )
        records = [dict(zip(names, row, strict=True)) for row in sample.array.tolist()]
    columns = [
        [cell_of(record.get(feature.name), feature, f"sample[{i}].{feature.name}") for i, record in enumerate(records)]
        for feature in signature.features
    ]
    return assemble(columns, signature)


def assemble(columns: Sequence[Sequence[Any]], signature: Signature) -> Tensors:
    """One list of cells per feature as inputs of the signature, floats at double precision."""
    if signature.layout == "matrix":
        spec = signature.inputs[0]
        if spec.datatype == "BYTES":
            return (np.array(columns, dtype=object).T.copy(),)
        return (np.array(columns, dtype=wide(spec)).T.copy(),)
    found = []
    for spec, cells in zip(signature.inputs, columns, strict=True):
        array = np.empty((len(cells), 1), dtype=wide(spec))
        array[:, 0] = cells
        found.append(array)
    return tuple(found)


def cell_of(value: Any, feature: Feature, where: str) -> Any:
    """One value as the model receives it; raises InvalidInput when the feature does not admit it."""
    if feature.categories is not None and isinstance(value, str):
        if value in feature.categories:
            return float(feature.categories.index(value))
        value = None
    if value is None or (isinstance(value, float) and math.isnan(value)):
        if feature.nullable:
            return math.nan
        raise InvalidInput("a value is missing or unknown", where=where, found="null", expected=feature.datatype)
    if feature.datatype == "BYTES":
        return value if isinstance(value, bytes) else str(value).encode()
    if not isinstance(value, int | float | np.number | np.bool_):
        raise InvalidInput("not a number", where=where, found=repr(value), expected=feature.datatype)
    return value


def _tensors(sample: Sample, specs: Sequence[TensorSpec]) -> Tensors:
    if sample.records is None:
        if len(specs) != 1:
            raise InvalidInput(
                "the sample must name its inputs", where="sample", expected=", ".join(spec.name for spec in specs)
            )
        return (_fit(sample.array, specs[0]),)
    found = []
    for spec in specs:
        values = sample.column(spec.name)
        if any(value is None for value in values):
            raise InvalidInput(
                "the sample lacks an input", where="sample", found=", ".join(sample.names), expected=spec.name
            )
        found.append(_fit(np.array(values), spec))
    return tuple(found)


def _fit(array: Tensor, spec: TensorSpec) -> Tensor:
    """`array` in the shape of `spec`, a missing first dimension added."""
    if array.ndim == len(spec.shape) - 1:
        array = array[None]
    if array.ndim != len(spec.shape) or any(
        w not in (-1, s) for s, w in zip(array.shape[1:], spec.shape[1:], strict=True)
    ):
        raise InvalidInput(
            "the sample has another shape", where=spec.name, found=str(array.shape), expected=str(spec.shape)
        )
    if spec.datatype != "BYTES":
        return array.astype(wide(spec))
    out = np.empty(array.size, dtype=object)
    out[:] = [x if isinstance(x, bytes) else str(x).encode() for x in array.ravel().tolist()]
    return out.reshape(array.shape)


def wide(spec: TensorSpec) -> np.dtype[Any]:
    """Double precision for floats, the datatype's own for the rest."""
    return np.dtype(np.float64) if spec.datatype in FLOATS else NUMPY_OF[spec.datatype]


def narrow(rows: Tensors, signature: Signature) -> Tensors:
    """The rows as the runtime receives them: rounded to the signature's datatypes."""
    return tuple(
        np.ascontiguousarray(x.astype(NUMPY_OF[spec.datatype], copy=False))
        for x, spec in zip(rows, signature.inputs, strict=True)
    )


# --- a request body -------------------------------------------------------------------------------------


def body_of(rows: Tensors, signature: Signature) -> dict[str, object]:
    """The first row as the body of `POST …/predict`."""
    if signature.layout == "tensors":
        values = tuple(x[0] for x in rows) if signature.batched else rows
        return {"features": {s.name: _plain(x) for s, x in zip(signature.inputs, values, strict=True)}}
    cells = list(rows[0][0]) if signature.layout == "matrix" else [x[0, 0] for x in rows]
    return {"features": {f.name: _cell(c, f) for f, c in zip(signature.features, cells, strict=True)}}


def _cell(value: Any, feature: Feature) -> object:
    found = _plain(np.asarray(value, dtype=object)) if isinstance(value, bytes) else _plain(np.asarray(value))
    if isinstance(found, float) and not math.isfinite(found):
        return None
    if feature.categories is not None and isinstance(found, float | int) and 0 <= found < len(feature.categories):
        return feature.categories[int(found)]
    return int(found) if isinstance(found, float) and found.is_integer() and abs(found) < 2**53 else found


def _plain(array: Tensor) -> Any:
    def text(value: Any) -> Any:
        if isinstance(value, list):
            return [text(item) for item in value]
        return value.decode(errors="replace") if isinstance(value, bytes) else value

    return text(np.asarray(array).tolist())
