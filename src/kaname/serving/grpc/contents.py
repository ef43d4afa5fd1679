"""Tensors of the gRPC messages: raw or typed contents in, raw or typed contents out."""

from __future__ import annotations

from typing import Any

import numpy as np

from kaname.errors import InvalidInput
from kaname.protobuf.contents import FIELDS
from kaname.protobuf.messages import Message
from kaname.serving.oip.binary import Blobs
from kaname.serving.oip.decode import Decoder
from kaname.serving.oip.messages import InferInput
from kaname.serving.oip.values import product, shown
from kaname.tensors import NUMPY_OF, Tensor, viewed


class GivenInput(InferInput, kw_only=True):
    """One input as it came: `raw` bytes, or None and `typed` contents, which may be absent, too."""

    raw: bytes | None
    typed: Message | None


class ContentsDecoder(Decoder):
    """Reads the inputs of gRPC requests for one signature: as `Decoder`, but for where the data is."""

    def data(self, one: InferInput, where: str, blobs: Blobs, *, nullable: bool) -> list[Any] | Tensor:
        assert isinstance(one, GivenInput)
        if one.raw is not None:
            place = where.replace("inputs", "raw_input_contents")
            return viewed(memoryview(one.raw), one.datatype, tuple(one.shape), place)
        return _typed(one, f"{where}.contents")


def given(request: Message) -> list[InferInput]:
    """The inputs of a request with their data. Raises InvalidInput where it is given twice or not for all."""
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise InvalidInput(
            "raw contents do not fit the inputs",
            where="raw_input_contents",
            found=f"{len(raw)} elements",
            expected=f"{len(request.inputs)}, one per input, or none",
        )
    return [
        _given(one, raw[i] if raw else None, f"inputs[{i}]", parameters_of(one.parameters))
        for i, one in enumerate(request.inputs)
    ]


def _given(one: Message, raw: bytes | None, where: str, parameters: dict[str, Any]) -> GivenInput:
    typed = one.contents if one.HasField("contents") else None
    if raw is not None and typed is not None and typed.ListFields():
        raise InvalidInput("data twice", where=where, found="contents and raw_input_contents", expected="one of them")
    return GivenInput(
        name=one.name, shape=list(one.shape), datatype=one.datatype, parameters=parameters, raw=raw, typed=typed
    )


def parameters_of(parameters: Message) -> dict[str, Any]:
    """A map of InferParameter as plain values; one without a value is None."""
    found = {}
    for name, value in parameters.items():
        choice = value.WhichOneof("parameter_choice")
        found[name] = None if choice is None else getattr(value, choice)
    return found


def _typed(one: GivenInput, where: str) -> Tensor:
    """The typed contents as a tensor. Raises InvalidInput for the wrong field, number of elements, or value."""
    field = FIELDS.get(one.datatype)
    if field is None:
        raise InvalidInput("no typed contents", where=where, found=one.datatype, expected="raw_input_contents")
    filled = [] if one.typed is None else [each.name for each, _ in one.typed.ListFields()]
    wrong = [name for name in filled if name != field]
    if wrong:
        raise InvalidInput(f"contents of another type than {one.datatype}", where=where, found=wrong[0], expected=field)
    values = [] if one.typed is None else list(getattr(one.typed, field))
    count = product(one.shape)
    if len(values) != count:
        nothing = one.typed is None and count > 0
        raise InvalidInput(
            "no data" if nothing else "number of elements does not fit the shape",
            where=where,
            found="neither contents nor raw_input_contents" if nothing else f"{len(values)} elements",
            expected=f"{count} in {field} for shape {shown(one.shape)}",
        )
    return _array(values, one.datatype, tuple(one.shape), f"{where}.{field}")


def _array(values: list[Any], datatype: str, shape: tuple[int, ...], where: str) -> Tensor:
    dtype = NUMPY_OF[datatype]
    if datatype == "BYTES":
        texts = np.empty(len(values), dtype=object)
        texts[:] = values
        return texts.reshape(shape)
    try:
        return np.array(values, dtype).reshape(shape)
    except OverflowError:
        bounds = np.iinfo(dtype)
        i = next(i for i, value in enumerate(values) if not bounds.min <= value <= bounds.max)
        raise InvalidInput(
            "value out of range", where=f"{where}[{i}]", found=str(values[i]), expected=f"what {datatype} can hold"
        ) from None


def fill_typed(contents: Message, tensor: Tensor, datatype: str) -> None:
    """Write a tensor as typed contents."""
    flat = tensor.reshape(-1).tolist()
    if datatype == "BYTES":
        flat = [value if isinstance(value, bytes) else str(value).encode() for value in flat]
    getattr(contents, FIELDS[datatype]).extend(flat)
