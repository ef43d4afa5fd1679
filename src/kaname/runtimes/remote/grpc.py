"""The Open Inference Protocol v2 over gRPC, as a client speaks it: one channel per address, tensors in raw form.

Source: https://github.com/kserve/open-inference-protocol (open_inference_grpc.proto). Needs the extra `grpc`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc

from kaname import errors
from kaname.errors import KanameError, RemoteFailed
from kaname.protobuf.contents import FIELDS
from kaname.protobuf.messages import Message, kind
from kaname.runtimes.remote.refusals import understood
from kaname.runtimes.remote.specs import spec_of
from kaname.runtimes.remote.types import Described, Tensors, Trouble
from kaname.runtimes.remote.values import from_binary, in_order, tensor_of
from kaname.signature import Signature
from kaname.telemetry.tracecontext import OUTGOING
from kaname.tensors import Tensor, encode_binary

SERVICE = "inference.GRPCInferenceService"
Code = grpc.StatusCode
_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_retries", 0),  # the session's budget decides
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
]
_REQUEST = frozenset({Code.INVALID_ARGUMENT, Code.OUT_OF_RANGE, Code.FAILED_PRECONDITION})
_OURS = {
    Code.UNAUTHENTICATED: "the remote does not accept our credentials",
    Code.PERMISSION_DENIED: "the remote does not let us ask this model",
    Code.NOT_FOUND: "the remote does not know this model",
    Code.UNIMPLEMENTED: "the remote does not speak as described",
}


class GrpcLink:
    """See `types.Link`."""

    def __init__(
        self,
        url: str,
        model: str,
        version: str | None,
        signature: Signature,
        *,
        headers: Mapping[str, str],
        ca_file: str | None,
    ) -> None:
        """`url`: `grpc://HOST:PORT`, or `grpcs://` with TLS."""
        self.address = url
        scheme, _, target = url.partition("://")
        self._named = {"name": model, "version": version or ""}
        self._signature = signature
        self._headers = tuple(headers.items())
        self._channel = grpc.insecure_channel(target, _OPTIONS) if scheme == "grpc" else _secure(target, ca_file)
        self._infer = self._method("ModelInfer")
        self._ready = self._method("ModelReady")
        self._metadata = self._method("ModelMetadata")

    def _method(self, name: str) -> Any:
        return self._channel.unary_unary(
            f"/{SERVICE}/{name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=kind(f"inference.{name}Response").FromString,
        )

    def infer(self, inputs: Tensors, timeout_s: float) -> Tensors:
        """See `Link.infer`; the deadline is the call's own."""
        request = kind("inference.ModelInferRequest")(
            model_name=self._named["name"], model_version=self._named["version"]
        )
        for spec, tensor in zip(self._signature.inputs, inputs, strict=True):
            request.inputs.add(name=spec.name, datatype=spec.datatype, shape=tensor.shape)
            request.raw_input_contents.append(encode_binary(tensor))
        for output in self._signature.outputs:
            request.outputs.add(name=output.name)
        answer = self._call(self._infer, request, timeout_s)
        return understood(lambda: self._outputs(answer), self.address)

    def _outputs(self, answer: Message) -> Tensors:
        raw = list(answer.raw_output_contents)
        tensors = {one.name: _tensor(one, raw.pop(0) if raw else None) for one in answer.outputs}
        return in_order(tensors, [spec.name for spec in self._signature.outputs])

    def probe(self, timeout_s: float) -> None:
        """See `Link.probe`."""
        request = kind("inference.ModelReadyRequest")(**self._named)
        if not self._call(self._ready, request, timeout_s).ready:
            raise Trouble(errors.Unavailable("the remote's model is not ready", where=self.address))

    def described(self, timeout_s: float) -> Described:
        """See `Link.described`."""
        found = self._call(self._metadata, kind("inference.ModelMetadataRequest")(**self._named), timeout_s)
        return understood(lambda: _described(found), self.address)

    def _call(self, method: Any, request: Message, timeout_s: float) -> Message:
        try:
            return method(request, timeout=timeout_s, metadata=(*self._headers, *OUTGOING.get().items()))
        except grpc.RpcError as error:
            raise refused(error, self.address) from error
        except ValueError as error:  # the channel was closed meanwhile
            closed = errors.Unavailable(f"the connection is closed: {error}", where=self.address)
            raise Trouble(closed) from error

    def close(self) -> None:
        """See `Link.close`."""
        self._channel.close()


def _secure(target: str, ca_file: str | None) -> grpc.Channel:
    try:
        roots = None if ca_file is None else Path(ca_file).read_bytes()
    except OSError as error:
        raise errors.InvalidInput("unusable certificates", where="remotes: ca_file", found=str(error)) from error
    return grpc.secure_channel(target, grpc.ssl_channel_credentials(roots), _OPTIONS)


def _described(found: Message) -> Described:
    inputs = tuple(spec_of(one.name, one.datatype, one.shape) for one in found.inputs)
    outputs = tuple(spec_of(one.name, one.datatype, one.shape) for one in found.outputs)
    return Described(inputs, outputs, binary=True)


def _tensor(one: Message, raw: bytes | None) -> Tensor:
    shape = tuple(one.shape)
    if raw is not None:
        return from_binary(raw, one.datatype, shape, one.name)
    values = list(getattr(one.contents, FIELDS[one.datatype])) if one.datatype in FIELDS else None
    return tensor_of(values, one.datatype, shape, one.name)


def refused(error: Any, address: str) -> Trouble:
    """The failure that a status stands for."""
    code: grpc.StatusCode = error.code()
    found = f"{code.name}: {str(error.details() or 'nothing')[:300]}"
    known: KanameError
    if code is Code.UNAVAILABLE:
        known = errors.Unavailable("the remote cannot answer now", where=address, found=found)
        known.retry_after_s = _pushback_s(error)
        return Trouble(known, again=True, blame=True)
    if code is Code.DEADLINE_EXCEEDED:
        known = errors.DeadlineExceeded("the remote did not answer in time", where=address, found=found)
        return Trouble(known, blame=True)
    if code is Code.RESOURCE_EXHAUSTED:
        known = errors.Overloaded("the remote limits us", where=address, found=found)
        known.retry_after_s = _pushback_s(error)
        return Trouble(known)
    if code in _REQUEST:
        return Trouble(errors.InvalidInput("the remote refused the request", where=address, found=found))
    return Trouble(RemoteFailed(_OURS.get(code, "the remote failed"), where=address, found=found))


def _pushback_s(error: Any) -> float | None:
    """When the server wants to be asked again, if it says so."""
    for name, value in error.trailing_metadata() or ():
        if name == "grpc-retry-pushback-ms" and value.isdigit():
            return int(value) / 1000
    return None
