"""TensorFlow's `TensorProto` and tensors, both ways. Source: tensorflow/core/framework/tensor.proto."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kaname.errors import InvalidInput
from kaname.protobuf.messages import Message, kind
from kaname.tensors import NUMPY_OF, TENSORFLOW_OF, Tensor, datatype_of, viewed

TENSOR = kind("tensorflow.TensorProto")
_NUMBER_OF: dict[str, int] = {
    datatype: TENSOR.DESCRIPTOR.fields_by_name["dtype"].enum_type.values_by_name[name].number
    for datatype, name in TENSORFLOW_OF.items()
}
_DATATYPE_OF = {number: datatype for datatype, number in _NUMBER_OF.items()}
FIELDS = {
    "FP32": "float_val",
    "FP64": "double_val",
    "FP16": "half_val",
    "INT8": "int_val",
    "INT16": "int_val",
    "INT32": "int_val",
    "INT64": "int64_val",
    "UINT8": "int_val",
    "UINT16": "int_val",
    "UINT32": "uint32_val",
    "UINT64": "uint64_val",
    "BOOL": "bool_val",
    "BYTES": "string_val",
}
"""Where the elements of a datatype are when they are not in `tensor_content`."""
MOST_REPEATED = 2**22
"""Elements of a tensor for which a few may stand: a message of some bytes could otherwise ask for all memory."""


def datatype(proto: Message, where: str) -> str:
    """The datatype of a TensorProto, or of a TensorInfo. Raises InvalidInput for one that models here do not take."""
    found = _DATATYPE_OF.get(proto.dtype)
    if found is None:
        expected = ", ".join(TENSORFLOW_OF.values())
        raise InvalidInput("no such datatype here", where=f"{where}.dtype", found=str(proto.dtype), expected=expected)
    return found


def shape(proto: Message, where: str) -> list[int]:
    """The shape of a TensorProto, or of a TensorInfo. Raises InvalidInput where there is none."""
    if proto.tensor_shape.unknown_rank:
        raise InvalidInput("a tensor without a shape", where=f"{where}.tensor_shape", found="unknown_rank")
    return [dim.size for dim in proto.tensor_shape.dim]


def tensor(proto: Message, datatype: str, shape: tuple[int, ...], where: str) -> Tensor:
    """The elements. Fewer than the shape has, but at least one: the last is repeated, as TensorFlow does. Raises
    InvalidInput."""
    if any(size < 0 for size in shape):
        raise InvalidInput("a size is negative", where=f"{where}.tensor_shape", found=str(list(shape)), expected="none")
    if proto.tensor_content:
        return viewed(memoryview(proto.tensor_content), datatype, shape, f"{where}.tensor_content")
    field = FIELDS[datatype]
    values: list[Any] = list(getattr(proto, field))
    count = math.prod(shape)
    if not (values or count == 0) or len(values) > count:
        raise InvalidInput(
            "number of elements does not fit the shape",
            where=f"{where}.{field}",
            found=f"{len(values)} elements",
            expected=f"{count} for shape {list(shape)}",
        )
    if count > max(len(values), MOST_REPEATED):
        found = f"{len(values)} elements for shape {list(shape)}"
        expected = f"all elements of a tensor of more than {MOST_REPEATED}"
        raise InvalidInput("too little stands for too much", where=f"{where}.{field}", found=found, expected=expected)
    flat = _array(values, datatype, f"{where}.{field}")
    return np.concatenate([flat, flat[-1:].repeat(count - len(flat))]).reshape(shape)


def _array(values: list[Any], datatype: str, where: str) -> Tensor:
    if datatype == "BYTES":
        texts = np.empty(len(values), dtype=object)
        texts[:] = values
        return texts
    dtype = NUMPY_OF["UINT16" if datatype == "FP16" else datatype]
    try:
        found = np.array(values, dtype)
    except OverflowError as error:
        raise InvalidInput(
            "value out of range", where=where, found=str(error), expected=f"what {datatype} can hold"
        ) from None
    return found.view(NUMPY_OF["FP16"]) if datatype == "FP16" else found


def write(proto: Message, tensor: Tensor) -> None:
    """Set a TensorProto to a tensor."""
    datatype = datatype_of(tensor.dtype)
    proto.dtype = _NUMBER_OF[datatype]
    for size in tensor.shape:
        proto.tensor_shape.dim.add(size=size)
    if datatype == "BYTES":
        flat = tensor.reshape(-1).tolist()
        proto.string_val.extend([one if isinstance(one, bytes) else str(one).encode() for one in flat])
    else:
        proto.tensor_content = np.ascontiguousarray(tensor).tobytes()


def info(proto: Message, described: dict[str, Any]) -> None:
    """Set a TensorInfo to what `tfs.describe` says of a tensor."""
    proto.name = described["name"]
    proto.dtype = _NUMBER_OF[next(datatype for datatype, name in TENSORFLOW_OF.items() if name == described["dtype"])]
    for dim in described["tensor_shape"]["dim"]:
        proto.tensor_shape.dim.add(size=int(dim["size"]))
