"""TensorFlow Serving's gRPC services, as a client speaks them: tensors by name, as TensorProtos.

Source: https://github.com/tensorflow/serving (tensorflow_serving/apis). Needs the extra `grpc`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kaname.errors import Unavailable
from kaname.protobuf import tensors
from kaname.protobuf.messages import Message, kind
from kaname.runtimes.remote.grpc import GrpcLink
from kaname.runtimes.remote.specs import spec_of
from kaname.runtimes.remote.types import Described, Tensors, Trouble
from kaname.runtimes.remote.values import in_order, unlike
from kaname.signature import Signature
from kaname.tensors import Tensor, TensorSpec

PREDICTION = "/tensorflow.serving.PredictionService"
STATUS = "/tensorflow.serving.ModelService/GetModelStatus"
_REQUEST = kind("tensorflow.serving.PredictRequest")
_SPEC = kind("tensorflow.serving.ModelSpec")
_STATES = kind("tensorflow.serving.ModelVersionStatus").State


class TensorFlowGrpc:
    """See `grpc.Dialect`."""

    method = f"{PREDICTION}/Predict"
    answered = kind("tensorflow.serving.PredictResponse")

    def __init__(self, model: str, version: str | None, signature: Signature, signature_name: str) -> None:
        """`version`: a number, or the label of a version. `signature`: without inputs and outputs where only
        descriptions are asked for."""
        self._inputs = [spec.name for spec in signature.inputs]
        self._outputs = [spec.name for spec in signature.outputs]
        self._signature_name = signature_name
        self._spec = _SPEC(name=model)
        if version is not None and version.isdecimal() and int(version) < 2**63:
            self._spec.version.value = int(version)
        elif version is not None:
            self._spec.version_label = version

    def request(self, inputs: Tensors) -> Message:
        """See `Dialect.request`."""
        request = _REQUEST(model_spec=self._spec, output_filter=self._outputs)
        request.model_spec.signature_name = self._signature_name
        for name, tensor in zip(self._inputs, inputs, strict=True):
            tensors.write(request.inputs[name], tensor)
        return request

    def answer(self, message: Message) -> Tensors:
        """See `Dialect.answer`."""
        found = {name: _tensor(proto, name) for name, proto in message.outputs.items()}
        return in_order(found, self._outputs)

    def ready(self, link: GrpcLink, timeout_s: float) -> None:
        """See `Dialect.ready`: a version is available."""
        request = kind("tensorflow.serving.GetModelStatusRequest")(model_spec=self._spec)
        found = link.ask(STATUS, request, kind("tensorflow.serving.GetModelStatusResponse"), timeout_s)
        states = [one.state for one in found.model_version_status]
        if _STATES.Value("AVAILABLE") not in states:
            shown = ", ".join(_STATES.Name(one) if one in _STATES.values() else str(one) for one in states)
            not_there = "the remote has not loaded the model"
            raise Trouble(Unavailable(not_there, where=link.address, found=shown or "no version"))

    def described(self, link: GrpcLink, timeout_s: float) -> Described:
        """See `Dialect.described`."""
        request = kind("tensorflow.serving.GetModelMetadataRequest")(
            model_spec=self._spec, metadata_field=["signature_def"]
        )
        answered = kind("tensorflow.serving.GetModelMetadataResponse")
        found = link.ask(f"{PREDICTION}/GetModelMetadata", request, answered, timeout_s)
        definitions = kind("tensorflow.serving.SignatureDefMap")()
        if not found.metadata["signature_def"].Unpack(definitions):
            raise unlike("the model's metadata are not of the protocol", expected="signature_def")
        known = definitions.signature_def
        if self._signature_name not in known:
            raise unlike("the model has no such signature", ", ".join(sorted(known)), self._signature_name)
        signature = known[self._signature_name]
        return Described(_specs(signature.inputs), _specs(signature.outputs), binary=True)


def _specs(infos: Mapping[str, Any]) -> tuple[TensorSpec, ...]:
    """In the order of the names: a map of the protocol has none."""
    return tuple(
        spec_of(name, tensors.datatype(infos[name], name), tensors.shape(infos[name], name)) for name in sorted(infos)
    )


def _tensor(proto: Message, name: str) -> Tensor:
    where = f"output {name}"
    return tensors.tensor(proto, tensors.datatype(proto, where), tuple(tensors.shape(proto, where)), where)
