"""The service `tensorflow.serving.PredictionService`: Predict, Classify, Regress, GetModelMetadata.

Tensors are read as they are; examples, and columns by feature name, are handed to the readers of the REST form, so that
both forms accept and refuse the same.
"""

from __future__ import annotations

import base64
import math
from typing import Any, cast

import grpc
import msgspec

from kaname.call import Answer, Call
from kaname.errors import InvalidInput, KanameError, TooLarge
from kaname.models.types import VersionInfo
from kaname.protobuf import tensors
from kaname.protobuf.messages import Message, kind, parse
from kaname.serving.endpoint import HeaderMap
from kaname.serving.exchange import Body
from kaname.serving.grpc.codec import Asking, limit
from kaname.serving.grpc.door import Door
from kaname.serving.grpc.rpc import Access, Method, Rpcs
from kaname.serving.grpc.status import refusal
from kaname.serving.grpc.ticket import Asked
from kaname.serving.oip.binary import Blobs
from kaname.serving.oip.decode import Decoder
from kaname.serving.oip.messages import InferInput
from kaname.serving.oip.types import Catalog
from kaname.serving.routes import Form
from kaname.serving.tfs import describe
from kaname.serving.tfs.codec import TfsCodec, Verb
from kaname.serving.tfs.labels import labelled
from kaname.tensors import Tensor

SERVICE = "tensorflow.serving.PredictionService"
SIGNATURES = ("", describe.SIGNATURE)
_RESPONSE = {name: kind(f"tensorflow.serving.{name}Response") for name in ("Predict", "Classification", "Regression")}
_DEFINITIONS = kind("tensorflow.serving.SignatureDefMap")
_METADATA = kind("tensorflow.serving.GetModelMetadataResponse")
_NO_BLOBS = memoryview(b"")


class ProtoInput(InferInput, kw_only=True):
    """One input as a TensorProto."""

    proto: Message


class ProtoDecoder(Decoder):
    """Reads TensorProtos for one signature: as `Decoder`, but for where the data is."""

    def data(self, one: InferInput, where: str, blobs: Blobs, *, nullable: bool) -> list[Any] | Tensor:
        assert isinstance(one, ProtoInput)
        return tensors.tensor(one.proto, one.datatype, tuple(one.shape), where)


class _Codec:
    """What the three verbs share."""

    def __init__(self, info: VersionInfo, verb: Verb, max_rows: int) -> None:
        self._info = info
        self._rest = TfsCodec(info.signature, info.model, verb, max_rows)

    def accepts(self, content_type: bytes) -> bool:
        return True

    def fill(self, call: Call, body: Body, headers: HeaderMap) -> None:
        asking = cast("Asking", call.reply)
        limit(call, asking.deadline_ns)
        name = asking.request.model_spec.signature_name
        if name not in SIGNATURES:
            where = "model_spec.signature_name"
            raise InvalidInput("no such signature", where=where, found=repr(name)[:80], expected=describe.SIGNATURE)
        self._read(call, asking.request, headers)

    def _read(self, call: Call, request: Message, headers: HeaderMap) -> None:
        raise NotImplementedError

    def _answered(self, name: str) -> Message:
        """An empty answer that says which version it is of."""
        response = _RESPONSE[name]()
        _write_spec(response.model_spec, self._info)
        return response

    def refuse(
        self, error: KanameError, instance: str, request_id: str, status: int | None = None
    ) -> tuple[int, bytes, bytes]:
        return refusal(error, instance, request_id)


class PredictCodec(_Codec):
    """`Predict` for one version."""

    def __init__(self, info: VersionInfo, max_rows: int) -> None:
        super().__init__(info, "predict", max_rows)
        self._max_rows = max_rows
        self._decoder = ProtoDecoder(info.signature, max_rows)
        self._names = [spec.name for spec in info.signature.outputs]
        self._inputs = {spec.name for spec in info.signature.inputs}

    def _read(self, call: Call, request: Message, headers: HeaderMap) -> None:
        wanted = list(request.output_filter) or self._names
        for i, name in enumerate(wanted):
            if name not in self._names:
                expected = ", ".join(self._names)
                raise InvalidInput("no such output", where=f"output_filter[{i}]", found=repr(name), expected=expected)
        given = dict(sorted(request.inputs.items()))
        if self._info.signature.features and not self._inputs.issuperset(given):
            self._rest.fill(call, columns(given, self._max_rows), headers)
        else:
            self._tensors(call, given)
        call.form = wanted

    def _tensors(self, call: Call, given: dict[str, Message]) -> None:
        names = list(given)
        inputs: list[InferInput] = []
        for name, proto in given.items():
            where = f"inputs[{name!r}]"
            datatype, shape = tensors.datatype(proto, where), tensors.shape(proto, where)
            inputs.append(ProtoInput(name=name, shape=shape, datatype=datatype, proto=proto))
        try:
            self._decoder.fill(call, inputs, Blobs(_NO_BLOBS))
        except KanameError as error:
            for i, name in enumerate(names):  # a map has names, not places
                error.where = (error.where or "").replace(f"inputs[{i}]", f"inputs[{name!r}]")
            raise

    def answer(self, call: Call, answer: Answer, latency_ns: int) -> tuple[bytes, bytes]:
        response = self._answered("Predict")
        found = dict(zip(self._names, answer.tensors(), strict=True))
        for name in cast("list[str]", call.form):
            tensors.write(response.outputs[name], found[name])
        return b"", response.SerializeToString()


class ExamplesCodec(_Codec):
    """`Classify` or `Regress` for one version."""

    def __init__(self, info: VersionInfo, verb: Verb, max_rows: int) -> None:
        super().__init__(info, verb, max_rows)
        self._classifies = verb == "classify"

    def _read(self, call: Call, request: Message, headers: HeaderMap) -> None:
        self._rest.fill(call, _examples(request.input), headers)

    def answer(self, call: Call, answer: Answer, latency_ns: int) -> tuple[bytes, bytes]:
        results = msgspec.json.decode(self._rest.answer(call, answer, latency_ns)[1])["results"]
        response = self._answered("Classification" if self._classifies else "Regression")
        for one in results:
            if self._classifies:
                row = response.result.classifications.add()
                for label, score in one:
                    row.classes.add(label=label, score=score or 0.0)
            else:
                response.result.regressions.add(value=float("nan") if one is None else one)
        return b"", response.SerializeToString()


def columns(given: dict[str, Message], max_rows: int) -> bytes:
    """Tensors by feature name as the REST form's `inputs`."""
    found = {}
    for name, proto in given.items():
        where = f"inputs[{name!r}]"
        shape = tensors.shape(proto, where)
        if math.prod(shape) > max_rows:  # a few bytes may stand for any number of elements
            raise TooLarge(
                "too many rows", where=f"{where}.tensor_shape", found=str(shape), expected=f"{max_rows} at most"
            )
        tensor = tensors.tensor(proto, tensors.datatype(proto, where), tuple(shape), where)
        found[name] = [_readable(one) for one in tensor.reshape(-1).tolist()]
    return msgspec.json.encode({"inputs": found})


def _examples(given: Message) -> bytes:
    """Examples as the REST form has them."""
    which = given.WhichOneof("kind")
    if which is None:
        raise InvalidInput("no examples", where="input", expected="example_list or example_list_with_context")
    chosen = getattr(given, which)
    body: dict[str, Any] = {"examples": [_example(one) for one in chosen.examples]}
    if which == "example_list_with_context":
        body["context"] = _example(chosen.context)
    return msgspec.json.encode(body)


def _example(example: Message) -> dict[str, Any]:
    found = {}
    for name, feature in example.features.feature.items():
        which = feature.WhichOneof("kind")
        values = [] if which is None else [_readable(one) for one in getattr(feature, which).value]
        found[name] = values[0] if len(values) == 1 else values
    return found


def _readable(value: Any) -> Any:
    """Bytes as text, or in base64 where they are none."""
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(value).decode()}


def _write_spec(spec: Message, info: VersionInfo) -> None:
    spec.name = info.model
    spec.signature_name = describe.SIGNATURE
    numbered = number(info.version)
    if numbered is not None:
        spec.version.value = numbered


def number(version: str) -> int | None:
    """A version as the protocol has them; None: its name is no such number."""
    return int(version) if version.isdigit() and int(version) < 2**63 else None


FORMS = {
    "Predict": Form(refusal, PredictCodec),
    "Classify": Form(refusal, lambda info, most: ExamplesCodec(info, "classify", most)),
    "Regress": Form(refusal, lambda info, most: ExamplesCodec(info, "regress", most)),
}
_REQUEST = {"Predict": "PredictRequest", "Classify": "ClassificationRequest", "Regress": "RegressionRequest"}


def methods(rpcs: Rpcs, door: Door, catalog: Catalog, access: Access) -> dict[str, Method]:
    """The methods by path."""

    def describe_model(request: Message, context: grpc.ServicerContext) -> Message:
        spec = request.model_spec
        access.need(context, "read", spec.name)
        for i, field in enumerate(request.metadata_field):
            if field != "signature_def":
                where = f"metadata_field[{i}]"
                raise InvalidInput("no such metadata", where=where, found=repr(field)[:80], expected="signature_def")
        return _metadata(catalog.version(spec.name, version(spec, catalog)))

    found = {verb: _verb(rpcs, door, verb) for verb in FORMS}
    found["GetModelMetadata"] = rpcs.unary(kind("tensorflow.serving.GetModelMetadataRequest"), describe_model)
    return {f"/{SERVICE}/{name}": method for name, method in found.items()}


def _verb(rpcs: Rpcs, door: Door, verb: str) -> Method:
    request_kind, form, instance = kind(f"tensorflow.serving.{_REQUEST[verb]}"), FORMS[verb], f"/{SERVICE}/{verb}"

    def read(body: bytes) -> tuple[Asked, Message]:
        request = parse(request_kind, body)
        spec = request.model_spec
        by_label = spec.WhichOneof("version_choice") == "version_label"
        return Asked(form, instance, spec.name, spec.version_label if by_label else _version(spec), by_label), request

    return rpcs.predicting(read, door)


def _version(spec: Message) -> str | None:
    return str(spec.version.value) if spec.HasField("version") else None


def version(spec: Message, catalog: Catalog) -> str | None:
    """The name of the version that a ModelSpec asks for, by number or label; None: the one that answers."""
    if spec.WhichOneof("version_choice") == "version_label":
        return labelled(catalog.entry(spec.name), spec.version_label)
    return _version(spec)


def _metadata(info: VersionInfo) -> Message:
    described = describe.metadata(info)["metadata"]["signature_def"]["signature_def"][describe.SIGNATURE]
    definitions = _DEFINITIONS()
    signature = definitions.signature_def[describe.SIGNATURE]
    signature.method_name = described["method_name"]
    for side in ("inputs", "outputs"):
        for name, tensor in described[side].items():
            tensors.info(getattr(signature, side)[name], tensor)
    answer = _METADATA()
    _write_spec(answer.model_spec, info)
    answer.metadata["signature_def"].Pack(definitions)
    return answer
