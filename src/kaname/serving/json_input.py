"""Bodies of `POST …/predict`: `{"features": …}` or `{"instances": […]}` to the rows or tensors of a call.

One typed decoder is built per version from its signature, so that a body is checked and converted in one pass.
Of duplicate JSON keys the last one counts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Union

import msgspec
import numpy as np

from kaname.call import Call, Row
from kaname.errors import InvalidInput, TooLarge
from kaname.signature import Feature, Signature
from kaname.tensors import NUMPY_OF, Tensor, TensorSpec, fits

_AT = re.compile(r"^(.*?)(?: - at `\$?\.?(.*)`)?$", re.DOTALL)
_GOT = re.compile(r"^Expected `(.+)`, got `(.+)`$")
_ANY_ROWS = -1

ONE = "features"
MANY = "instances"


def explain(error: Exception) -> InvalidInput:
    """What msgspec found wrong with a body, as an error that names the place, what was found and expected."""
    if isinstance(error, RecursionError):
        return InvalidInput("the body is nested too deeply", where="body")
    if isinstance(error, UnicodeDecodeError):
        return InvalidInput("the body is not UTF-8", where="body", found=f"byte {error.object[error.start]:#x}")
    matched = _AT.match(str(error))
    assert matched is not None
    message, where = matched.group(1), matched.group(2) or "body"
    got = _GOT.match(message)
    if got is None:
        return InvalidInput(message[:1].lower() + message[1:], where=where)
    return InvalidInput("wrong type", where=where, found=got.group(2), expected=got.group(1))


class JsonInput:
    """Decodes the bodies for one signature. `max_rows` bounds the rows of one request."""

    def __init__(self, signature: Signature, max_rows: int) -> None:
        self._signature = signature
        self._max_rows = max_rows
        one = _feature_type(signature) if signature.features else _tensor_type(signature)
        body = msgspec.defstruct(
            "PredictBody",
            [
                (ONE, Union[one, msgspec.UnsetType], msgspec.UNSET),  # noqa: UP007  (built at run time)
                (MANY, Union[list[one], msgspec.UnsetType], msgspec.UNSET),  # type: ignore[valid-type]  # noqa: UP007
            ],
            forbid_unknown_fields=True,
        )
        self._decode: Callable[[bytes], Any] = msgspec.json.Decoder(body).decode
        self._encode_row: Callable[[Any, str], Row] | None = None
        self._tensors: Callable[[Sequence[Any], Call], tuple[Tensor, ...]] | None = None
        self._plain = signature.plain_matrix
        if self._plain:
            self._encode_row = lambda item, _: item if type(item) is list else item.f0
        elif signature.features:
            self._encode_row = _row_encoder(signature.features)
        else:
            self._tensors = _tensor_builder(signature)

    def fill(self, call: Call, body: bytes, _: object = None) -> None:
        """Set the call's rows, its table or tensors, and its form (`features` or `instances`).

        Raises InvalidInput, or TooLarge for too many rows.
        """
        try:
            decoded = self._decode(body)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise explain(error) from None
        one = decoded.features
        if one is not msgspec.UNSET:
            if decoded.instances is not msgspec.UNSET:
                raise InvalidInput("both given", where="body", found="features and instances", expected="one of them")
            call.form = ONE
            call.rows = 1
            if self._plain:
                call.table = (one if type(one) is list else one.f0,)
            elif self._encode_row is not None:
                call.table = (self._encode_row(one, ONE),)
            else:
                self._fill(call, (one,))
            return
        many = decoded.instances
        if many is msgspec.UNSET:
            raise InvalidInput("nothing to predict", where="body", expected='"features" or "instances"')
        if not 0 < len(many) <= self._max_rows:
            kind = TooLarge if many else InvalidInput
            raise kind("number of rows", where=MANY, found=str(len(many)), expected=f"1 to {self._max_rows}")
        call.form = MANY
        call.rows = len(many)
        self._fill(call, many)

    def _fill(self, call: Call, items: Sequence[Any]) -> None:
        if self._encode_row is not None:
            encode = self._encode_row
            call.table = [encode(item, _place(call, i)) for i, item in enumerate(items)]
        else:
            assert self._tensors is not None
            call.tensors = self._tensors(items, call)


def _place(call: Call, index: int) -> str:
    return ONE if call.form is ONE else f"{MANY}[{index}]"


# --- tabular models -------------------------------------------------------------------------------------


def _cell_type(feature: Feature) -> object:
    if feature.categories is not None or feature.datatype == "BYTES":
        kind: type = str
    elif feature.datatype == "BOOL":
        kind = bool
    elif feature.datatype.startswith("FP"):
        kind = float
    else:
        kind = int
    return kind | None if feature.nullable else kind


def _feature_type(signature: Signature) -> Any:
    """A Struct with the features' names, or an array with their values in order."""
    features = signature.features
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    for i, feature in enumerate(features):
        default = {"default": None} if feature.nullable else {}
        fields.append((f"f{i}", _cell_type(feature), msgspec.field(name=feature.name, **default)))
    named = msgspec.defstruct("Features", fields, forbid_unknown_fields=True, kw_only=True, gc=False)
    return Union[named, tuple[tuple(_cell_type(feature) for feature in features)]]  # type: ignore[misc]  # noqa: UP007


def _row_encoder(features: tuple[Feature, ...]) -> Callable[[Any, str], Row]:
    astuple = msgspec.structs.astuple
    coded = [(i, feature) for i, feature in enumerate(features) if feature.categories or feature.datatype == "BYTES"]
    if not coded:
        return lambda item, _: item if type(item) is tuple else astuple(item)
    maps = [
        (i, feature, None if feature.categories is None else {c: float(n) for n, c in enumerate(feature.categories)})
        for i, feature in coded
    ]

    def encode(item: Any, place: str) -> Row:
        row = list(item if type(item) is tuple else astuple(item))
        for i, feature, codes in maps:
            value = row[i]
            if codes is None:
                row[i] = b"" if value is None else value.encode()
            elif value is not None:
                code = codes.get(value)
                if code is None and not feature.nullable:
                    raise InvalidInput(
                        "unknown category",
                        where=f"{place}.{feature.name}",
                        found=repr(value)[:80],
                        expected=f"one of {_some(feature.categories or ())}",
                    )
                row[i] = code
        return row

    return encode


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:12])
    return shown if len(names) <= 12 else f"{shown}, … ({len(names)} in all)"


# --- tensor models --------------------------------------------------------------------------------------


def _nested(kind: type, rank: int) -> Any:
    nested: Any = kind
    for _ in range(rank):
        nested = list[nested]
    return nested


def _row_shape(spec: TensorSpec, batched: bool) -> tuple[int, ...]:
    return spec.shape[1:] if batched else spec.shape


def _element(spec: TensorSpec) -> type:
    if spec.datatype == "BYTES":
        return str
    if spec.datatype == "BOOL":
        return bool
    return float if spec.datatype.startswith("FP") else int


def _tensor_type(signature: Signature) -> Any:
    """An object of the inputs by name; with one input also its nested list alone."""
    types = [_nested(_element(spec), len(_row_shape(spec, signature.batched))) for spec in signature.inputs]
    if signature.plain_matrix:
        size = signature.inputs[0].shape[1]
        types = [Annotated[types[0], msgspec.Meta(min_length=size, max_length=size)]]
    fields = [
        (f"f{i}", kind, msgspec.field(name=spec.name))
        for i, (spec, kind) in enumerate(zip(signature.inputs, types, strict=True))
    ]
    named = msgspec.defstruct("Inputs", fields, forbid_unknown_fields=True, kw_only=True)
    return Union[named, types[0]] if len(types) == 1 else named  # noqa: UP007


def _tensor_builder(signature: Signature) -> Callable[[Sequence[Any], Call], tuple[Tensor, ...]]:
    specs, batched = signature.inputs, signature.batched
    names = [f"f{i}" for i in range(len(specs))]

    def build(items: Sequence[Any], call: Call) -> tuple[Tensor, ...]:
        if not batched and len(items) != 1:
            raise InvalidInput("this model takes one request at a time", where=MANY, found=f"{len(items)} instances")
        tensors = []
        for name, spec in zip(names, specs, strict=True):
            values = [getattr(item, name) if isinstance(item, msgspec.Struct) else item for item in items]
            shape = _row_shape(spec, batched)
            row_tensors = [
                _tensor(value, spec, shape, f"{_place(call, i)}.{spec.name}") for i, value in enumerate(values)
            ]
            tensors.append(_stack(row_tensors, spec, call) if batched else row_tensors[0])
        return tuple(tensors)

    return build


def _stack(rows: list[Tensor], spec: TensorSpec, call: Call) -> Tensor:
    if len(rows) == 1:
        return rows[0][np.newaxis]
    first = rows[0].shape
    for i, row in enumerate(rows):
        if row.shape != first:
            where = f"{_place(call, i)}.{spec.name}"
            raise InvalidInput("instances of different shapes", where=where, found=str(row.shape), expected=str(first))
    return np.stack(rows)


def _tensor(value: Any, spec: TensorSpec, shape: tuple[int, ...], where: str) -> Tensor:
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
    out.reshape(-1)[:] = [text.encode() for text in texts.reshape(-1).tolist()]
    return out


def _shown(shape: tuple[int, ...]) -> str:
    return "[" + ", ".join("any" if size == _ANY_ROWS else str(size) for size in shape) + "]"
