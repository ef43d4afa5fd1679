"""From the columns of a view, and what a request gives in their place, to the rows that a model takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Protocol, TypeAlias

import msgspec

from kaname.call import Call, Row
from kaname.errors import InvalidInput
from kaname.features.types import Type
from kaname.features.views.types import View
from kaname.serving.json_rows import cell_coder, cell_type, element_type, nested, place, tensor_builder
from kaname.signature import Feature, Signature
from kaname.tensors import TensorSpec

Values: TypeAlias = Mapping[str, Any]
_NUMBERS = ("int32", "int64", "float32", "float64", "decimal", "bool")
_WHOLE = ("int32", "int64", "bool")
_JSON: dict[str, Any] = {
    "string": str, "bool": bool, "int32": int, "int64": int, "float32": float, "float64": float, "decimal": Decimal,
    "timestamp": Annotated[datetime, msgspec.Meta(tz=True)], "date": date, "bytes": bytes, "vector": list[float],
    "json": Any,
}  # fmt: skip
"""What JSON must hold for a column that is only there for others."""


class Rows(Protocol):
    """Makes the input of a call; one for a signature and a view."""

    names: tuple[str, ...]
    """The columns of the view that the model takes."""
    given: dict[str, Any]
    """What a request may give, by name, and its type in JSON."""

    straight: tuple[str, ...]
    """The columns that make a whole row, in its order, for `fill_straight`; empty: there is no such way."""

    def fill(self, call: Call, rows: Sequence[Values]) -> None:
        """Set the table or the tensors of a call. Raises InvalidInput with the place in the request."""

    def fill_straight(self, call: Call, row: Sequence[Any]) -> None:
        """Set the table of a call of one row whose values are those of `straight`."""


def rows_of(signature: Signature, view: View) -> Rows:
    """What makes rows of a view's columns for a signature. Raises InvalidInput where types do not fit."""
    return _Table(signature, view) if signature.features else _Tensors(signature, view)


class _Table:
    """Tabular models: a cell per feature."""

    def __init__(self, signature: Signature, view: View) -> None:
        columns, features = view.types, signature.features
        self.names = tuple(feature.name for feature in features if feature.name in columns)
        extra = {name: _JSON[of.name] | None for name, of in columns.items()}
        self.given = extra | {feature.name: cell_type(feature) for feature in features}
        self._wanted = tuple(feature.name for feature in features)
        self.straight = self._wanted if len(self.names) == len(features) else ()
        self._filled = frozenset(feature.name for feature in features if not feature.nullable)
        self._optional = {
            feature.name: None for feature in features if feature.nullable and feature.name not in columns
        }
        self._coders: list[tuple[int, str, Callable[[Any, str], Any]]] = []
        for i, feature in enumerate(features):
            coder = _coder(feature, columns.get(feature.name))
            if coder is not None:
                self._coders.append((i, feature.name, coder))

    def fill(self, call: Call, rows: Sequence[Values]) -> None:
        call.table = [self._row(values, call, i) for i, values in enumerate(rows)]

    def fill_straight(self, call: Call, row: Sequence[Any]) -> None:
        if self._coders:
            row = list(row)
            for at, _, coder in self._coders:
                row[at] = coder(row[at], place(call, 0))
        call.table = (row,)

    def _row(self, values: Values, call: Call, i: int) -> Row:
        try:
            row = [values[name] for name in self._wanted]
        except KeyError:
            values = {**self._optional, **values}
            missing = next((name for name in self._wanted if name not in values), None)
            if missing is not None:
                raise _absent(missing, place(call, i)) from None
            row = [values[name] for name in self._wanted]
        if None in row:
            self._check_null(row, place(call, i))
        for at, _, coder in self._coders:
            row[at] = coder(row[at], place(call, i))
        return row

    def _check_null(self, row: Sequence[object], where: str) -> None:
        for name, value in zip(self._wanted, row, strict=True):
            if value is None and name in self._filled:
                raise InvalidInput("null, for which the model has no place", where=f"{where}.{name}", found="null")


class _Tensors:
    """Models that take tensors: a column per input."""

    straight: tuple[str, ...] = ()

    def __init__(self, signature: Signature, view: View) -> None:
        columns = view.types
        ranks = {spec.name: len(spec.shape) - signature.batched for spec in signature.inputs}
        for spec in signature.inputs:
            if spec.name in columns:
                _check_tensor(spec, ranks[spec.name], columns[spec.name])
        self.names = tuple(spec.name for spec in signature.inputs if spec.name in columns)
        extra = {name: _JSON[of.name] | None for name, of in columns.items()}
        self.given = extra | {spec.name: nested(element_type(spec), ranks[spec.name]) for spec in signature.inputs}
        self._wanted = tuple(spec.name for spec in signature.inputs)
        self._plain = signature.plain_matrix
        self._size = signature.inputs[0].shape[-1] if self._plain else 0
        self._build = tensor_builder(signature)
        self._item = msgspec.defstruct("Inputs", [f"f{i}" for i in range(len(self._wanted))])

    def fill(self, call: Call, rows: Sequence[Values]) -> None:
        items = [self._values(values, place(call, i)) for i, values in enumerate(rows)]
        if not self._plain:
            call.tensors = self._build([self._item(*item) for item in items], call)
            return
        for i, (item,) in enumerate(items):
            if len(item) != self._size:
                where = f"{place(call, i)}.{self._wanted[0]}"
                raise InvalidInput("wrong size", where=where, found=str(len(item)), expected=str(self._size))
        call.table = [item for (item,) in items]

    def fill_straight(self, call: Call, row: Sequence[Any]) -> None:
        self.fill(call, [dict(zip(self._wanted, row, strict=True))])

    def _values(self, values: Values, where: str) -> list[Any]:
        for name in self._wanted:
            if name not in values:
                raise _absent(name, where)
            if values[name] is None:
                raise InvalidInput("null, for which the model has no place", where=f"{where}.{name}", found="null")
        return [values[name] for name in self._wanted]


def _absent(name: str, where: str) -> InvalidInput:
    return InvalidInput("missing", where=f"{where}.{name}", expected="a value: the model's view has no such column")


def _coder(feature: Feature, of: Type | None) -> Callable[[Any, str], Any] | None:
    """What makes the model's cell of a value of the view, or of one from the request; None: it is one already."""
    text = feature.categories is not None or feature.datatype == "BYTES"
    if of is None or (text and of.name == "string"):
        return cell_coder(feature)
    if text and of.name == "bytes" and feature.categories is None:
        return lambda value, _: value if isinstance(value, bytes) else str(value or "").encode()
    if feature.datatype == "BOOL" and of.name == "bool":
        return None
    if not text and feature.datatype != "BOOL" and of.name in _NUMBERS:
        if feature.datatype.startswith("FP"):
            return None if of.name != "decimal" else lambda value, _: None if value is None else float(value)
        return None if of.name in _WHOLE else _whole(feature.name)
    wanted = "text" if text else feature.datatype
    raise InvalidInput("a column that the model cannot take", where=feature.name, found=str(of), expected=wanted)


def _whole(name: str) -> Callable[[Any, str], Any]:
    def code(value: Any, where: str) -> Any:
        if value is None or value == int(value):
            return None if value is None else int(value)
        raise InvalidInput("not a whole number", where=f"{where}.{name}", found=str(value))

    return code


def _check_tensor(spec: TensorSpec, rank: int, of: Type) -> None:
    if of.name == "vector":
        fits = rank == 1 and spec.shape[-1] in (-1, of.length) and spec.datatype not in ("BYTES", "BOOL")
    elif of.name in ("string", "bytes"):
        fits = rank == 0 and spec.datatype == "BYTES"
    else:
        fits = rank == 0 and of.name in (*_NUMBERS, "bool") and spec.datatype != "BYTES"
    if not fits:
        expected = f"{spec.datatype} of shape {list(spec.shape)}"
        raise InvalidInput("a column that the model cannot take", where=spec.name, found=str(of), expected=expected)
