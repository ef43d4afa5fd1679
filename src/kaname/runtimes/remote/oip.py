"""The Open Inference Protocol v2 over HTTP, as a client speaks it.

Sources: https://github.com/kserve/open-inference-protocol (inference_rest.md) and, for tensors in binary, the binary
data extension of https://github.com/triton-inference-server/server (docs/protocol).
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec

from kaname.client.exchanged import Reply
from kaname.runtimes.remote.http import Asked, HttpLink
from kaname.runtimes.remote.specs import spec_of
from kaname.runtimes.remote.types import Described, Tensors, Trouble
from kaname.runtimes.remote.values import from_binary, in_order, nested, tensor_of, unlike
from kaname.signature import Signature
from kaname.tensors import Tensor, TensorSpec, binary_view

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
        listed: list[dict[str, Any]] = [
            {"name": spec.name, "datatype": spec.datatype, "shape": tensor.shape}
            for spec, tensor in zip(self._inputs, inputs, strict=True)
        ]
        pieces: list[bytes | memoryview] = []
        for one, tensor in zip(listed, inputs, strict=True):
            if self._binary:
                pieces.append(binary_view(tensor))
                one["parameters"] = {"binary_data_size": len(pieces[-1])}
            else:
                one["data"] = nested(tensor.reshape(-1))
        head = _encode({"inputs": listed, "outputs": self._wanted})
        path = f"{self._path}/infer"
        if not self._binary:
            return Asked(path, head, {"content-type": "application/json"})
        headers = {"content-type": "application/octet-stream", LENGTH: str(len(head))}
        return Asked(path, b"".join([head, *pieces]), headers)

    def answer(self, reply: Reply) -> Tensors:
        """See `Dialect.answer`."""
        head, raw = _split(reply)
        try:
            found = msgspec.json.decode(head, type=_Answer)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise unlike(f"the answer is not one of the protocol: {error}") from error
        tensors: dict[str, Tensor] = {}
        for one in found.outputs:
            size = (one.parameters or {}).get("binary_data_size")
            if size is None:
                tensors[one.name] = tensor_of(one.data, one.datatype, one.shape, one.name)
            else:
                tensors[one.name], raw = from_binary(raw[:size], one.datatype, one.shape, one.name), raw[size:]
        return in_order(tensors, self._names)

    def ready(self, link: HttpLink, timeout_s: float) -> None:
        """See `Dialect.ready`."""
        link.get(f"{self._path}/ready", timeout_s)

    def described(self, link: HttpLink, timeout_s: float) -> Described:
        """See `Dialect.described`; `GET /v2` says whether the server knows binary tensors."""
        try:
            about = msgspec.json.decode(link.get(self._path, timeout_s).body, type=_Metadata)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise unlike(f"the model's metadata are not of the protocol: {error}") from error
        try:
            binary = BINARY in msgspec.json.decode(link.get("/v2", timeout_s).body, type=_Server).extensions
        except (msgspec.MsgspecError, UnicodeDecodeError, Trouble):
            binary = False
        return Described(tuple(map(_spec, about.inputs)), tuple(map(_spec, about.outputs)), binary)


def _spec(one: _Spec) -> TensorSpec:
    return spec_of(one.name, one.datatype, one.shape)


def _split(reply: Reply) -> tuple[memoryview, memoryview]:
    body, text = memoryview(reply.body), reply.headers.get(LENGTH)
    if text is None:
        return body, body[:0]
    if not text.isdigit() or int(text) > len(body):
        raise unlike("not the length of the answer's JSON", text, f"at most {len(body)}")
    return body[: int(text)], body[int(text) :]
