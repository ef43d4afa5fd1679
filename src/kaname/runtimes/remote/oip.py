"""The Open Inference Protocol v2 over HTTP, as a client speaks it.

Sources: https://github.com/kserve/open-inference-protocol (inference_rest.md) and, for tensors in binary, the binary
data extension of https://github.com/triton-inference-server/server (docs/protocol).
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec
import numpy as np

from kaname.client.exchanged import Reply
from kaname.errors import InvalidInput, RemoteFailed
from kaname.runtimes.remote.http import Asked, HttpLink
from kaname.runtimes.remote.specs import spec_of
from kaname.runtimes.remote.types import Described, Tensors, Trouble
from kaname.signature import Signature
from kaname.tensors import NUMPY_OF, Tensor, TensorSpec, binary_view, decode_binary

LENGTH = "inference-header-content-length"
BINARY = "binary_tensor_data"
_encode = msgspec.json.Encoder().encode


class _Tensor(msgspec.Struct):
    """An output of an answer."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: Any = None
    parameters: dict[str, Any] | None = None


class _Answer(msgspec.Struct):
    outputs: list[_Tensor]


class _Spec(msgspec.Struct):
    name: str
    datatype: str
    shape: tuple[int, ...]


class _Metadata(msgspec.Struct):
    """`$metadata_model_response`, as far as it matters here."""

    inputs: list[_Spec]
    outputs: list[_Spec]


class _Server(msgspec.Struct):
    """`$metadata_server_response`, likewise."""

    extensions: list[str] = []


class Oip:
    """See `http.Dialect`."""

    def __init__(self, model: str, version: str | None, signature: Signature, *, binary: bool) -> None:
        """`signature`: without inputs and outputs where only descriptions are asked for."""
        self._path = f"/v2/models/{quote(model, safe='')}" + (
            "" if version is None else f"/versions/{quote(version, safe='')}"
        )
        self._inputs = signature.inputs
        self._names = [spec.name for spec in signature.outputs]
        self._binary = binary
        self._wanted = [
            {"name": name, "parameters": {"binary_data": True}} if binary else {"name": name} for name in self._names
        ]

    def request(self, inputs: Tensors) -> Asked:
        """See `Dialect.request`."""
        path = f"{self._path}/infer"
        if not self._binary:
            listed = [
                {"name": spec.name, "datatype": spec.datatype, "shape": tensor.shape, "data": _flat(tensor)}
                for spec, tensor in zip(self._inputs, inputs, strict=True)
            ]
            body = _encode({"inputs": listed, "outputs": self._wanted})
            return Asked(path, body, {"content-type": "application/json"})
        pieces = [binary_view(tensor) for tensor in inputs]
        described: list[dict[str, Any]] = [
            {
                "name": spec.name,
                "datatype": spec.datatype,
                "shape": tensor.shape,
                "parameters": {"binary_data_size": len(piece)},
            }
            for spec, tensor, piece in zip(self._inputs, inputs, pieces, strict=True)
        ]
        head = _encode({"inputs": described, "outputs": self._wanted})
        headers = {"content-type": "application/octet-stream", LENGTH: str(len(head))}
        return Asked(path, b"".join([head, *pieces]), headers)

    def answer(self, reply: Reply) -> Tensors:
        """See `Dialect.answer`."""
        head, raw = _split(reply)
        try:
            found = msgspec.json.decode(head, type=_Answer)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise _unlike(f"the answer is not one of the protocol: {error}") from error
        tensors: dict[str, Tensor] = {}
        for one in found.outputs:
            size = (one.parameters or {}).get("binary_data_size")
            if size is None:
                tensors[one.name] = _from_json(one)
            else:
                piece, raw = raw[:size], raw[size:]
                tensors[one.name] = _from_binary(one, piece)
        missing = [name for name in self._names if name not in tensors]
        if missing:
            raise _unlike("the answer lacks an output", found=", ".join(tensors), expected=missing[0])
        return tuple(tensors[name] for name in self._names)

    def ready(self, link: HttpLink, timeout_s: float) -> None:
        """See `Dialect.ready`."""
        link.get(f"{self._path}/ready", timeout_s)

    def described(self, link: HttpLink, timeout_s: float) -> Described:
        """See `Dialect.described`; `GET /v2` says whether the server knows binary tensors."""
        try:
            about = msgspec.json.decode(link.get(self._path, timeout_s).body, type=_Metadata)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise _unlike(f"the model's metadata are not of the protocol: {error}") from error
        try:
            binary = BINARY in msgspec.json.decode(link.get("/v2", timeout_s).body, type=_Server).extensions
        except (msgspec.MsgspecError, UnicodeDecodeError, Trouble):
            binary = False
        return Described(tuple(map(_spec, about.inputs)), tuple(map(_spec, about.outputs)), binary)


def _spec(one: _Spec) -> TensorSpec:
    return spec_of(one.name, one.datatype, one.shape)


def _flat(tensor: Tensor) -> list[Any]:
    flat: list[Any] = tensor.reshape(-1).tolist()
    return [one.decode("utf-8", "replace") if isinstance(one, bytes) else one for one in flat]


def _split(reply: Reply) -> tuple[memoryview, memoryview]:
    body, text = memoryview(reply.body), reply.headers.get(LENGTH)
    if text is None:
        return body, body[:0]
    if not text.isdigit() or int(text) > len(body):
        raise _unlike("not the length of the answer's JSON", found=text, expected=f"at most {len(body)}")
    return body[: int(text)], body[int(text) :]


def _from_binary(one: _Tensor, piece: memoryview) -> Tensor:
    if one.datatype not in NUMPY_OF:
        raise _unlike(f"output {one.name} has no datatype of the protocol", found=one.datatype)
    try:
        return decode_binary(piece, one.datatype, one.shape, one.name).copy()
    except InvalidInput as error:
        raise _unlike(f"output {one.name}: {error.message}", found=error.found, expected=error.expected) from error


def _from_json(one: _Tensor) -> Tensor:
    try:
        if one.datatype != "BYTES":
            return np.array(one.data, NUMPY_OF[one.datatype]).reshape(one.shape)
        flat = np.array(one.data, dtype=object).reshape(one.shape)
        texts = np.empty(flat.size, dtype=object)
        texts[:] = [str(text).encode() for text in flat.ravel().tolist()]
        return texts.reshape(one.shape)
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        raise _unlike(f"output {one.name} is not the tensor that it says: {error}") from error


def _unlike(message: str, found: str | None = None, expected: str | None = None) -> RemoteFailed:
    return RemoteFailed(message, found=found, expected=expected)
