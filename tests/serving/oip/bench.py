"""What the tests of the codec share: signatures, requests, and a call to fill."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from kaname.call import Answer, Call, Outputs, Principal
from kaname.serving.endpoint import HeaderMap
from kaname.serving.oip.codec import OipCodec
from kaname.signature import Feature, OutputSpec, Signature
from kaname.tensors import Datatype, Tensor, TensorSpec

LENGTH = b"inference-header-content-length"
WHO = Principal("k1", "tester", may_predict=None, scopes=frozenset())
FEATURES = ("sepal_length", "sepal_width", "petal_length", "petal_width")
OUTPUTS = (
    OutputSpec(name="label", datatype="INT64", shape=(-1,), role="label"),
    OutputSpec(name="probabilities", datatype="FP32", shape=(-1, 3), role="probabilities"),
)

IRIS = Signature(
    task="classification",
    inputs=(TensorSpec(name="x", datatype="FP32", shape=(-1, 4)),),
    outputs=OUTPUTS,
    features=tuple(Feature(name=name, datatype="FP32") for name in FEATURES),
    labels=("setosa", "versicolor", "virginica"),
)
"""A matrix of four required features."""

FLIGHTS = Signature(
    task="regression",
    inputs=(TensorSpec(name="x", datatype="FP64", shape=(-1, 3)),),
    outputs=(OutputSpec(name="delay", datatype="FP64", shape=(-1, 1), role="value"),),
    features=(
        Feature(name="hour", datatype="FP64"),
        Feature(name="wind", datatype="FP64", nullable=True),
        Feature(name="carrier", datatype="FP64", categories=("AA", "UA", "WN")),
    ),
)
"""A matrix with a nullable and a categorical feature."""

PEOPLE = Signature(
    task="other",
    inputs=(
        TensorSpec(name="age", datatype="FP32", shape=(-1, 1)),
        TensorSpec(name="town", datatype="INT64", shape=(-1, 1)),
        TensorSpec(name="note", datatype="BYTES", shape=(-1, 1)),
    ),
    outputs=(OutputSpec(name="word", datatype="BYTES", shape=(-1,)),),
    features=(
        Feature(name="age", datatype="FP32", nullable=True),
        Feature(name="town", datatype="INT64", categories=("Bergen", "Oslo")),
        Feature(name="note", datatype="BYTES"),
    ),
)
"""A column per feature."""

PAIR = Signature(
    task="other",
    inputs=(
        TensorSpec(name="a", datatype="INT32", shape=(-1, 2, 2)),
        TensorSpec(name="b", datatype="BYTES", shape=(-1, -1)),
    ),
    outputs=(OutputSpec(name="y", datatype="FP32", shape=(-1, 2)),),
)
"""Plain tensors with rows."""

WHOLE = Signature(
    task="other",
    inputs=(TensorSpec(name="image", datatype="UINT8", shape=(2, -1)),),
    outputs=(OutputSpec(name="scores", datatype="FP32", shape=(3,)),),
    batched=False,
)
"""A model without rows."""


def tensors_of(datatype: Datatype, rank: int = 2) -> Signature:
    """Takes and gives one tensor of any size."""
    shape = (-1,) * rank
    return Signature(
        task="other",
        inputs=(TensorSpec(name="x", datatype=datatype, shape=shape),),
        outputs=(OutputSpec(name="y", datatype=datatype, shape=shape),),
    )


def codec(signature: Signature, max_rows: int = 100) -> OipCodec:
    return OipCodec(signature, "iris", "3", max_rows)


def new_call() -> Call:
    return Call("request-1", WHO, lambda *_: None, rows=0, started_ns=1_000, deadline_ns=30_000_000_000)


def filled(signature: Signature, body: object, headers: HeaderMap | None = None, max_rows: int = 100) -> Call:
    """The call that a body becomes; a dict is sent as JSON."""
    call = new_call()
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    codec(signature, max_rows).fill(call, raw, headers or {})
    return call


def request(*inputs: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"inputs": list(inputs), **fields}


def tensor(name: str, datatype: str, shape: list[int], data: object, **fields: Any) -> dict[str, Any]:
    return {"name": name, "shape": shape, "datatype": datatype, "data": data, **fields}


def one_row(**fields: Any) -> dict[str, Any]:
    return request(tensor("x", "FP32", [1, 4], [5.1, 3.5, 1.4, 0.2]), **fields)


def with_blobs(head: dict[str, Any], *blobs: bytes) -> tuple[bytes, HeaderMap]:
    """Body and headers of a request with binary data."""
    raw = json.dumps(head).encode()
    return raw + b"".join(blobs), {LENGTH: b"%d" % len(raw)}


def binary(name: str, datatype: str, shape: list[int], size: object, **parameters: Any) -> dict[str, Any]:
    return {
        "name": name,
        "shape": shape,
        "datatype": datatype,
        "parameters": {"binary_data_size": size, **parameters},
    }


def answered(signature: Signature, call: Call, *tensors: Tensor, start: int = 0, stop: int | None = None) -> Any:
    """Header lines, JSON and binary rest of the answer to `call`."""
    head, body = codec(signature).answer(call, Answer(Outputs(tensors), start, stop), 5_000)
    headers = dict(line.split(b": ", 1) for line in head.split(b"\r\n") if line)
    size = int(headers.get(LENGTH, len(body)))
    return headers, json.loads(body[:size]), body[size:]


def table_of(call: Call) -> list[list[Any]]:
    assert call.table is not None
    return [list(row) for row in call.table]


def inputs_of(call: Call) -> list[Any]:
    assert call.tensors is not None
    return [value.tolist() for value in call.tensors]


LABELS = np.array([2, 0], dtype=np.int64)
PROBABILITIES = np.array([[0.25, 0.25, 0.5], [0.75, 0.125, 0.125]], dtype=np.float32)
