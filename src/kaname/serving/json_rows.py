"""Rows as JSON has them: the type of one row for a signature, and how decoded rows become the input of a call.

`binary`: a text may also come as `{"b64": "…"}`, its bytes in base64 (the form of TensorFlow Serving).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Annotated, Any, Union

import msgspec
import numpy as np

from kaname.call import Call, Row
from kaname.errors import InvalidInput
from kaname.signature import Feature, Signature
from kaname.tensors import NUMPY_OF, Tensor, TensorSpec, fits

_ANY_ROWS = -1
per_signature = lru_cache(maxsize=512)
"""Makes what reads a signature's bodies once for all versions that have that signature: it is types made at run time,
dear to make, and whatever held them is only found by the collector, which holds up every request."""
ONE = "features"
"""The form of a call for one row; other calls' form is the name of the list that their rows came in."""
B64 = "b64"


class Binary(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bytes in the place of a text."""

    b64: bytes


def place(call: Call, index: int) -> str:
    """One row of a body, for people."""
    return ONE if call.form is ONE else f"{call.form}[{index}]"


def raw_text(value: Any) -> bytes:
    """A text, Binary, or bytes that a view has read, as the bytes that a model gets."""
    if type(value) is str:
        return value.encode()
    return value.b64 if type(value) is Binary else value


# --- tabular models -------------------------------------------------------------------------------------


def cell_type(feature: Feature, *, binary: bool = False) -> Any:
    """What JSON must hold for one cell."""
    if feature.categories is not None:
        kind: Any = str
    elif feature.datatype == "BYTES":
        kind = str | Binary if binary else str
    elif feature.datatype == "BOOL":
        kind = bool
    elif feature.datatype.startswith("FP"):
        kind = float
    else:
        kind = int
    return kind | None if feature.nullable else kind


def feature_type(signature: Signature, *, binary: bool = False) -> Any:
    """A Struct with the features' names, or an array with their values in order."""
    features = signature.features
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    for i, feature in enumerate(features):
        default = {"default": None} if feature.nullable else {}
        fields.append((f"f{i}", cell_type(feature, binary=binary), msgspec.field(name=feature.name, **default)))
    named = msgspec.defstruct("Features", fields, forbid_unknown_fields=True, kw_only=True, gc=False)
    cells = tuple(cell_type(feature, binary=binary) for feature in features)
    return Union[named, tuple[cells]]  # type: ignore[valid-type]  # noqa: UP007


Code = Callable[[Any, str], Any]
"""A cell as the model gets it, given the place of the row; raises InvalidInput."""


def cell_coder(feature: Feature, *, behind: str = "") -> Code | None:
    """The coder of a text or category column; None for numbers, which stay as they are.

    `behind` follows the feature's name in the place of an error.
    """
    if feature.datatype == "BYTES" and feature.categories is None:
        return lambda value, _: b"" if value is None else raw_text(value)
    if not feature.categories:
        return None
    codes = {category: float(n) for n, category in enumerate(feature.categories)}

    def code(value: Any, row: str) -> Any:
        if value is None:
            return None
        found = codes.get(value)
        if found is None and not feature.nullable:
            raise InvalidInput(
                "unknown category",
                where=f"{row}.{feature.name}{behind}",
                found=repr(value)[:80],
                expected=f"one of {_some(feature.categories or ())}",
            )
        return found

    return code


def row_encoder(features: tuple[Feature, ...]) -> Callable[[Any, str], Row]:
    """From one decoded row and its place to the row's cells."""
    astuple = msgspec.structs.astuple
    coders = [(i, coder) for i, feature in enumerate(features) if (coder := cell_coder(feature)) is not None]
    if not coders:
        return lambda item, _: item if type(item) is tuple else astuple(item)

    def encode(item: Any, where: str) -> Row:
        row = list(item if type(item) is tuple else astuple(item))
        for i, coder in coders:
            row[i] = coder(row[i], where)
        return row

    return encode


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:12])
    return shown if len(names) <= 12 else f"{shown}, … ({len(names)} in all)"


# --- tensor models --------------------------------------------------------------------------------------


def nested(kind: Any, rank: int) -> Any:
    """The type of `rank` lists in each other around `kind`."""
    for _ in range(rank):
        kind = list[kind]
    return kind


def _row_shape(spec: TensorSpec, batched: bool) -> tuple[int, ...]:
    return spec.shape[1:] if batched else spec.shape


def element_type(spec: TensorSpec, *, binary: bool = False) -> Any:
    """What JSON must hold for one element of a tensor."""
    if spec.datatype == "BYTES":
        return str | Binary if binary else str
    if spec.datatype == "BOOL":
        return bool
    return float if spec.datatype.startswith("FP") else int


def tensor_type(signature: Signature, *, binary: bool = False) -> Any:
    """An object of the inputs by name; with one input also its nested list alone."""
    ranks = [len(_row_shape(spec, signature.batched)) for spec in signature.inputs]
    types = [
        nested(element_type(spec, binary=binary), rank) for spec, rank in zip(signature.inputs, ranks, strict=True)
    ]
    if signature.plain_matrix:
        size = signature.inputs[0].shape[1]
        types = [Annotated[types[0], msgspec.Meta(min_length=size, max_length=size)]]
    fields: list[Any] = [
        (f"f{i}", kind, msgspec.field(name=spec.name))
        for i, (spec, kind) in enumerate(zip(signature.inputs, types, strict=True))
    ]
    if binary and ranks == [0] and signature.inputs[0].datatype == "BYTES":
        return _lone_text(signature.inputs[0].name)
    named = msgspec.defstruct("Inputs", fields, forbid_unknown_fields=True, kw_only=True)
    return Union[named, types[0]] if len(types) == 1 else named  # noqa: UP007


def _lone_text(name: str) -> Any:
    """The type of a row that is one text: the text, `{"b64": …}`, or either of them under the input's name."""
    text: Any = str | Binary
    fields: list[Any] = [("f0", text, msgspec.field(name=name))]
    if name != B64:
        fields = [
            ("f0", Union[text, msgspec.UnsetType], msgspec.field(name=name, default=msgspec.UNSET)),  # noqa: UP007
            (B64, Union[bytes, msgspec.UnsetType], msgspec.UNSET),  # noqa: UP007
        ]
    return Union[msgspec.defstruct("Inputs", fields, forbid_unknown_fields=True, kw_only=True), str]  # noqa: UP007


def tensor_builder(signature: Signature) -> Callable[[Sequence[Any], Call], tuple[Tensor, ...]]:
    """From decoded rows to the input tensors."""
    specs, batched = signature.inputs, signature.batched
    names = [f"f{i}" for i in range(len(specs))]

    def build(items: Sequence[Any], call: Call) -> tuple[Tensor, ...]:
        if not batched and len(items) != 1:
            found = f"{len(items)} {call.form}"
            raise InvalidInput("this model takes one request at a time", where=str(call.form), found=found)
        tensors = []
        for name, spec in zip(names, specs, strict=True):
            values = [_value(item, name, spec, call, i) for i, item in enumerate(items)]
            shape = _row_shape(spec, batched)
            row_tensors = [
                tensor_of(value, spec, shape, f"{place(call, i)}.{spec.name}") for i, value in enumerate(values)
            ]
            tensors.append(_stack(row_tensors, spec, call) if batched else row_tensors[0])
        return tuple(tensors)

    return build


def _value(item: Any, name: str, spec: TensorSpec, call: Call, index: int) -> Any:
    """The value of one input in a row."""
    if not isinstance(item, msgspec.Struct):
        return item
    value = getattr(item, name)
    if value is not msgspec.UNSET:
        return value
    found = getattr(item, B64)
    if found is msgspec.UNSET:
        raise InvalidInput("nothing to predict", where=place(call, index), found="{}", expected=f"{spec.name} or {B64}")
    return Binary(b64=found)


def _stack(rows: list[Tensor], spec: TensorSpec, call: Call) -> Tensor:
    if len(rows) == 1:
        return rows[0][np.newaxis]
    first = rows[0].shape
    for i, row in enumerate(rows):
        if row.shape != first:
            where = f"{place(call, i)}.{spec.name}"
            raise InvalidInput("instances of different shapes", where=where, found=str(row.shape), expected=str(first))
    return np.stack(rows)


def tensor_of(value: Any, spec: TensorSpec, shape: tuple[int, ...], where: str) -> Tensor:
    """One nested list as a tensor of the spec's datatype. Raises InvalidInput when ragged, misshapen or too big."""
    try:
        if spec.datatype == "BYTES":
            tensor = _bytes(value, len(shape))
        else:
            with np.errstate(over="raise"):
                tensor = np.array(value, dtype=NUMPY_OF[spec.datatype])
    except (FloatingPointError, OverflowError):
        raise InvalidInput(
            "value out of range", where=where, expected=f"values that {spec.datatype} can hold"
        ) from None
    except ValueError:
        raise InvalidInput("ragged nested lists", where=where, expected=_shown(shape)) from None
    if not fits(tensor.shape, shape):
        raise InvalidInput("wrong shape", where=where, found=_shown(tensor.shape), expected=_shown(shape))
    return tensor


def _bytes(value: Any, rank: int) -> Tensor:
    """Nested texts as objects: numpy's own strings lose NULs at the end, and all take the room of the longest."""
    texts = np.array(value, dtype=object)
    if texts.ndim != rank:
        raise ValueError("ragged")
    out = np.empty(texts.shape, dtype=object)
    out.reshape(-1)[:] = [raw_text(text) for text in texts.reshape(-1).tolist()]
    return out


def _shown(shape: tuple[int, ...]) -> str:
    return "[" + ", ".join("any" if size == _ANY_ROWS else str(size) for size in shape) + "]"
