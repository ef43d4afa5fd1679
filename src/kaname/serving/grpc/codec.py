"""`ModelInfer` for one version: from the message to a call, and from its outcome to the bytes of an answer.

One row of numbers in raw form, the usual request, is read without numpy; the answer's names and shapes are written once
for all answers that have the same.
"""

from __future__ import annotations

import struct
from math import isfinite
from typing import Any, Protocol, cast

from kaname.call import Answer, Call
from kaname.errors import KanameError
from kaname.protobuf.messages import Message, kind
from kaname.serving.endpoint import HeaderMap
from kaname.serving.exchange import Body, Reply
from kaname.serving.grpc.contents import ContentsDecoder, fill_typed, given, parameters_of
from kaname.serving.grpc.status import refusal
from kaname.serving.oip.asked import ROWS, Asked, Reader
from kaname.serving.oip.binary import Blobs
from kaname.serving.oip.cells import check_for
from kaname.serving.oip.encode import top_classes
from kaname.serving.oip.messages import RequestedOutput
from kaname.signature import Signature
from kaname.tensors import Tensor, TensorSpec, datatype_of, encode_binary
from kaname.varint import varint

REQUEST = kind("inference.ModelInferRequest")
RESPONSE = kind("inference.ModelInferResponse")
REMEMBERED = 256
_FORMATS = {
    "FP32": "f", "FP64": "d", "INT8": "b", "INT16": "h", "INT32": "i", "INT64": "q",
    "UINT8": "B", "UINT16": "H", "UINT32": "I", "UINT64": "Q",
}  # fmt: skip
_ID, _RAW = b"\x1a", b"\x32"
"""Tags of the fields `id` and `raw_output_contents` of an answer."""
NO_BLOBS = Blobs(memoryview(b""))


class Asking(Reply, Protocol):
    """The reply of a gRPC call, which has the message that came, and until when its caller waits (0: no end)."""

    request: Message
    deadline_ns: int


class Form:
    """The codec's note on a call: the caller's own id, what it wants, and whether as typed contents."""

    __slots__ = ("asked", "id", "typed")

    def __init__(self, id: str, asked: Asked, typed: bool) -> None:  # noqa: A002  (the protocol's word)
        self.id = id
        self.asked = asked
        self.typed = typed

    def __str__(self) -> str:
        return ROWS


def limit(call: Call, deadline_ns: int) -> None:
    """Let the call end at `deadline_ns` if that is sooner; 0: no end."""
    if deadline_ns and (not call.deadline_ns or deadline_ns < call.deadline_ns):
        call.deadline_ns = deadline_ns


class Usual:
    """One row of a matrix of numbers, as the only input."""

    def __init__(self, spec: TensorSpec) -> None:
        self._name = spec.name
        self._datatype = spec.datatype
        self._width = spec.shape[1]
        row = struct.Struct(f"<{self._width}{_FORMATS[spec.datatype]}")
        self.size = row.size
        self.unpack = row.unpack

    @classmethod
    def of(cls, signature: Signature) -> Usual | None:
        """That of a signature; None when its requests are no such rows."""
        spec = signature.inputs[0] if len(signature.inputs) == 1 else None
        fits = spec is not None and (signature.layout == "matrix" or signature.plain_matrix)
        return cls(spec) if spec is not None and fits and spec.datatype in _FORMATS else None

    def describes(self, one: Message) -> bool:
        """Whether an input is such a row."""
        shape = one.shape
        return (
            one.name == self._name
            and one.datatype == self._datatype
            and len(shape) == 2
            and shape[0] == 1
            and shape[1] == self._width
            and not one.parameters
            and not one.HasField("contents")
        )


class GrpcCodec:
    """The gRPC form of the Open Inference Protocol, for one version. `max_rows` bounds the rows of one request."""

    def __init__(self, signature: Signature, model: str, version: str, max_rows: int) -> None:
        self.decoder = ContentsDecoder(signature, max_rows)
        self._reader = Reader(signature)
        self._signature = signature
        self._specs = signature.outputs
        self._model = model
        self._version = version
        self._usual = Usual.of(signature)
        self._check = check_for(signature.features)
        self.plain = Form("", self._reader.plain, False)
        self._heads: dict[Any, bytes] = {}

    def accepts(self, content_type: bytes) -> bool:
        return True

    def fill(self, call: Call, body: Body, headers: HeaderMap) -> None:
        request = self.begin(call)
        if self._usual is None or not self._fill_usual(call, request, self._usual):
            self.decoder.fill(call, given(request), NO_BLOBS)

    def begin(self, call: Call) -> Message:
        """The request of a call, all but its inputs noted in the call."""
        asking = cast("Asking", call.reply)
        limit(call, asking.deadline_ns)
        self._note(call, asking.request)
        return asking.request

    def _fill_usual(self, call: Call, request: Message, usual: Usual) -> bool:
        """Set the input when it is one row of finite numbers in raw form; else False."""
        raw, inputs = request.raw_input_contents, request.inputs
        if len(raw) != 1 or len(inputs) != 1 or len(raw[0]) != usual.size or not usual.describes(inputs[0]):
            return False
        row = usual.unpack(raw[0])
        if not isfinite(sum(row)):
            return False
        table = (row,)
        if self._check is not None:
            self._check(table)
        call.table = table
        call.rows = 1
        return True

    def _note(self, call: Call, request: Message) -> None:
        asked = self._reader.plain
        if request.parameters or request.outputs:
            requested = [
                RequestedOutput(name=one.name, parameters=parameters_of(one.parameters)) for one in request.outputs
            ]
            asked = self._reader.of(parameters_of(request.parameters), requested)
            if asked.timeout_us:
                limit(call, call.started_ns + asked.timeout_us * 1000)
        typed = not request.raw_input_contents
        if typed or request.id or asked is not self._reader.plain:
            call.form = Form(request.id, asked, typed)

    def answer(self, call: Call, answer: Answer, latency_ns: int) -> tuple[bytes, bytes]:
        form = call.form
        if form is None:
            form = self.plain
        assert isinstance(form, Form)
        tensors = self._wanted(answer, form.asked)
        if form.typed and not any(tensor.dtype == "float16" for tensor in tensors):
            return b"", self._typed(tensors, form)
        parts = [self._head(tensors, form.asked)]
        if form.id:
            caller_id = form.id.encode()
            parts += (_ID, varint(len(caller_id)), caller_id)
        for tensor in tensors:
            raw = tensor.tobytes() if tensor.dtype.kind not in "OSU" else encode_binary(tensor)
            parts += (_RAW, varint(len(raw)), raw)
        return b"", b"".join(parts)

    def _wanted(self, answer: Answer, asked: Asked) -> tuple[Tensor, ...]:
        tensors = answer.tensors()
        if asked is self._reader.plain:
            return tensors
        found = [tensors[wanted.index] for wanted in asked.outputs]
        labels, batched = self._signature.labels, self._signature.batched
        return tuple(
            top_classes(tensor, wanted.classes, labels, batched) if wanted.classes else tensor
            for tensor, wanted in zip(found, asked.outputs, strict=True)
        )

    def _head(self, tensors: tuple[Tensor, ...], asked: Asked) -> bytes:
        """Everything of an answer but its id and its data."""
        key = (asked.outputs, *[(tensor.shape, tensor.dtype.str) for tensor in tensors])
        found = self._heads.get(key)
        if found is None:
            found = self._described(tensors, asked).SerializeToString()
            if len(self._heads) >= REMEMBERED:
                self._heads.clear()
            self._heads[key] = found
        return found

    def _described(self, tensors: tuple[Tensor, ...], asked: Asked) -> Message:
        response = RESPONSE(model_name=self._model, model_version=self._version)
        for tensor, wanted in zip(tensors, asked.outputs, strict=True):
            name = self._specs[wanted.index].name
            response.outputs.add(name=name, datatype=datatype_of(tensor.dtype), shape=tensor.shape)
        return response

    def _typed(self, tensors: tuple[Tensor, ...], form: Form) -> bytes:
        response = self._described(tensors, form.asked)
        response.id = form.id
        for output, tensor in zip(response.outputs, tensors, strict=True):
            fill_typed(output.contents, tensor, output.datatype)
        return cast("bytes", response.SerializeToString())

    def refuse(
        self, error: KanameError, instance: str, request_id: str, status: int | None = None
    ) -> tuple[int, bytes, bytes]:
        return refusal(error, instance, request_id)
