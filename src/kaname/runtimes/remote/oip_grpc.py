"""The Open Inference Protocol v2 over gRPC, as a client speaks it: tensors in raw form.

Source: https://github.com/kserve/open-inference-protocol (open_inference_grpc.proto). Needs the extra `grpc`.
"""

from __future__ import annotations

from kaname.errors import Unavailable
from kaname.protobuf.contents import FIELDS
from kaname.protobuf.messages import Message, kind
from kaname.runtimes.remote.grpc import GrpcLink
from kaname.runtimes.remote.specs import spec_of
from kaname.runtimes.remote.types import Described, Tensors, Trouble
from kaname.runtimes.remote.values import from_binary, in_order, tensor_of
from kaname.signature import Signature
from kaname.tensors import Tensor, encode_binary

SERVICE = "/inference.GRPCInferenceService"


class OipGrpc:
    """See `grpc.Dialect`."""

    method = f"{SERVICE}/ModelInfer"
    answered = kind("inference.ModelInferResponse")

    def __init__(self, model: str, version: str | None, signature: Signature) -> None:
        """`signature`: without inputs and outputs where only descriptions are asked for."""
        self._named = {"name": model, "version": version or ""}
        self._signature = signature

    def request(self, inputs: Tensors) -> Message:
        """See `Dialect.request`."""
        request = kind("inference.ModelInferRequest")(
            model_name=self._named["name"], model_version=self._named["version"]
        )
        for spec, tensor in zip(self._signature.inputs, inputs, strict=True):
            request.inputs.add(name=spec.name, datatype=spec.datatype, shape=tensor.shape)
            request.raw_input_contents.append(encode_binary(tensor))
        for output in self._signature.outputs:
            request.outputs.add(name=output.name)
        return request

    def answer(self, message: Message) -> Tensors:
        """See `Dialect.answer`: the tensors may be raw or typed."""
        raw = list(message.raw_output_contents)
        tensors = {one.name: _tensor(one, raw.pop(0) if raw else None) for one in message.outputs}
        return in_order(tensors, [spec.name for spec in self._signature.outputs])

    def ready(self, link: GrpcLink, timeout_s: float) -> None:
        """See `Dialect.ready`."""
        if not self._ask("ModelReady", link, timeout_s).ready:
            raise Trouble(Unavailable("the remote's model is not ready", where=link.address))

    def described(self, link: GrpcLink, timeout_s: float) -> Described:
        """See `Dialect.described`."""
        found = self._ask("ModelMetadata", link, timeout_s)
        inputs = tuple(spec_of(one.name, one.datatype, one.shape) for one in found.inputs)
        outputs = tuple(spec_of(one.name, one.datatype, one.shape) for one in found.outputs)
        return Described(inputs, outputs, binary=True)

    def _ask(self, name: str, link: GrpcLink, timeout_s: float) -> Message:
        request = kind(f"inference.{name}Request")(**self._named)
        return link.ask(f"{SERVICE}/{name}", request, kind(f"inference.{name}Response"), timeout_s)


def _tensor(one: Message, raw: bytes | None) -> Tensor:
    shape = tuple(one.shape)
    if raw is not None:
        return from_binary(raw, one.datatype, shape, one.name)
    values = list(getattr(one.contents, FIELDS[one.datatype])) if one.datatype in FIELDS else None
    return tensor_of(values, one.datatype, shape, one.name)
