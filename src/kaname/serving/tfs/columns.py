"""The column form: each feature's values, or each input's whole tensor, under its name; of a single one without it."""

from __future__ import annotations

from typing import Annotated, Any, Union

import msgspec

from kaname.call import Call, Row
from kaname.errors import InvalidInput
from kaname.serving.json_rows import cell_coder, cell_type, element_type, nested, tensor_of
from kaname.serving.tfs.rows import Rows
from kaname.signature import Feature, Signature
from kaname.tensors import TensorSpec

INPUTS = "inputs"


class Columns:
    """Columns of one signature. `kind` is the type that the member `inputs` is decoded to."""

    def __init__(self, signature: Signature, rows: Rows) -> None:
        self._features = signature.features
        self._specs = signature.inputs
        self._batched = signature.batched
        self._plain = signature.plain_matrix
        self._rows = rows
        if signature.features:
            self.kind = _feature_columns(signature, rows)
        elif self._plain:
            self.kind = _matrix(signature, rows)
        else:
            self.kind = _tensors(signature)

    def fill(self, call: Call, found: Any) -> None:
        """Set the call's rows, and its table or tensors."""
        if type(found) is list and (self._features or self._plain):
            call.rows = len(found)
            self._rows.fill(call, found)
        elif self._plain:
            call.table = found.f0
            call.rows = len(found.f0)
        elif self._features:
            call.table = self._table([getattr(found, f"f{i}") for i in range(len(self._features))])
            call.rows = len(call.table)
        else:
            self._fill_tensors(call, found)

    def _table(self, columns: list[list[Any] | None]) -> list[Row]:
        rows = next((len(column) for column in columns if column is not None), 0)
        cells: list[list[Any]] = []
        for feature, column in zip(self._features, columns, strict=True):
            where = f"{INPUTS}.{feature.name}"
            if column is None:
                column = [None] * rows
            if len(column) != rows:
                raise InvalidInput("columns of different rows", where=where, found=str(len(column)), expected=str(rows))
            cells.append(_coded(feature, column))
        return list(zip(*cells, strict=True))

    def _fill_tensors(self, call: Call, found: Any) -> None:
        values = [found]
        places = [INPUTS]
        if isinstance(found, msgspec.Struct):
            values = [getattr(found, f"f{i}") for i in range(len(self._specs))]
            places = [f"{INPUTS}.{spec.name}" for spec in self._specs]
        tensors = tuple(
            tensor_of(value, spec, spec.shape, where)
            for value, spec, where in zip(values, self._specs, places, strict=True)
        )
        call.tensors = tensors
        call.rows = 1
        if self._batched:
            call.rows = rows = tensors[0].shape[0]
            for tensor, where in zip(tensors, places, strict=True):
                if tensor.shape[0] != rows:
                    raise InvalidInput(
                        "inputs of different rows", where=where, found=str(tensor.shape[0]), expected=str(rows)
                    )


def _coded(feature: Feature, column: list[Any]) -> list[Any]:
    if cell_coder(feature) is None:
        return column
    return [_code(feature, value, i) for i, value in enumerate(column)]


def _code(feature: Feature, value: Any, index: int) -> Any:
    coder = cell_coder(feature, behind=f"[{index}]")
    assert coder is not None
    return coder(value, INPUTS)


def _feature_columns(signature: Signature, rows: Rows) -> Any:
    fields: list[Any] = []
    for i, feature in enumerate(signature.features):
        kind: Any = list[cell_type(feature, binary=True)]  # type: ignore[misc]  # built at run time
        field = msgspec.field(name=feature.name)
        if feature.nullable and len(signature.features) > 1:
            kind, field = Union[kind, None], msgspec.field(name=feature.name, default=None)  # noqa: UP007
        fields.append((f"f{i}", kind, field))
    named = msgspec.defstruct("Columns", fields, forbid_unknown_fields=True, kw_only=True)
    alone = signature.layout == "matrix" or len(signature.features) == 1
    return Union[named, list[rows.kind]] if alone else named  # type: ignore[name-defined]  # noqa: UP007


def _matrix(signature: Signature, rows: Rows) -> Any:
    spec = signature.inputs[0]
    of = msgspec.defstruct(
        "Inputs",
        [("f0", list[_row_of(signature)], msgspec.field(name=spec.name))],  # type: ignore[misc]  # built at run time
        forbid_unknown_fields=True,
        kw_only=True,
    )
    return Union[of, list[rows.kind]]  # type: ignore[name-defined]  # noqa: UP007


def _row_of(signature: Signature) -> Any:
    size = signature.inputs[0].shape[1]
    return Annotated[list[element_type(signature.inputs[0])], msgspec.Meta(min_length=size, max_length=size)]  # type: ignore[misc]


def _tensors(signature: Signature) -> Any:
    kinds = [_whole(spec) for spec in signature.inputs]
    fields: list[Any] = [
        (f"f{i}", kind, msgspec.field(name=spec.name))
        for i, (kind, spec) in enumerate(zip(kinds, signature.inputs, strict=True))
    ]
    named = msgspec.defstruct("Inputs", fields, forbid_unknown_fields=True, kw_only=True)
    if len(kinds) > 1:
        return named
    alone = kinds[0] if signature.inputs[0].shape else element_type(signature.inputs[0])
    return Union[named, alone]  # noqa: UP007


def _whole(spec: TensorSpec) -> Any:
    return nested(element_type(spec, binary=True), len(spec.shape))
