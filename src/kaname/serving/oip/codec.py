"""`POST /v2/models/{model}[/versions/{v}]/infer` for one version.

The usual request (inputs in order, JSON, flat data) is read by a decoder made for the signature. Whatever that
decoder does not take goes the general way, which accepts everything that the protocol has and words the errors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgspec

from kaname.call import Answer, Call, Row
from kaname.errors import KanameError
from kaname.serving.endpoint import HeaderMap
from kaname.serving.exchange import Body
from kaname.serving.json_input import explain
from kaname.serving.json_rows import per_signature
from kaname.serving.oip.asked import Form, Reader, encoding_of
from kaname.serving.oip.binary import LENGTH_HEADER, parts
from kaname.serving.oip.cells import check_for
from kaname.serving.oip.decode import Decoder
from kaname.serving.oip.encode import Encoder, compressed, worth_compressing
from kaname.serving.oip.messages import NOTHING, InferRequest
from kaname.serving.oip.values import element_type, product, tensor_of
from kaname.signature import Signature
from kaname.tensors import TensorSpec
from kaname.web.problems import status_of

_UNREADABLE = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)
_JSON_HEAD = b"content-type: application/json\r\nx-request-id: %b\r\n"
_BINARY_HEAD = b"content-type: application/octet-stream\r\ninference-header-content-length: %d\r\nx-request-id: %b\r\n"
_ENCODING_HEAD = b"content-encoding: %b\r\nvary: accept-encoding\r\n"


class OipCodec:
    """The Open Inference Protocol's view of one version. `max_rows` bounds the rows of one request."""

    def __init__(self, signature: Signature, model: str, version: str, max_rows: int) -> None:
        self.decoder = Decoder(signature, max_rows)
        self._encoder = Encoder(signature, model, version)
        self._reader = Reader(signature)
        self.plain = Form(None, self._reader.plain, b"")
        self._max_rows = max_rows
        # Rows of numbers are handed on as rows: many calls' become one array at once.
        self._layout = "matrix" if signature.plain_matrix else signature.layout
        self._batched = signature.batched
        self._width = len(signature.columns)
        self._check = check_for(signature.features)
        self._decode = msgspec.json.Decoder(InferRequest).decode
        self._decode_usual = _usual_decoder(signature)
        self._encodings: dict[bytes, bytes] = {}

    def accepts(self, content_type: bytes) -> bool:
        kind = content_type.partition(b";")[0].strip()
        return kind in (b"application/json", b"application/octet-stream") or (
            kind.startswith(b"application/") and kind.endswith(b"+json")
        )

    def fill(self, call: Call, body: Body, headers: HeaderMap) -> None:
        length = headers.get(LENGTH_HEADER)
        if length is None and self._decode_usual is not None:
            try:
                request = self._decode_usual(body)
            except _UNREADABLE:
                pass
            else:
                self.note(call, request, headers)
                if self._fill_usual(call, request.inputs):
                    return
        json, blobs = parts(body, headers)
        decoded = self.read(json)
        self.note(call, decoded, headers)
        self.decoder.fill(call, decoded.inputs, blobs)

    def read(self, json: Body) -> InferRequest:
        """The JSON of any request. Raises InvalidInput."""
        try:
            decoded: InferRequest = self._decode(json)
        except _UNREADABLE as error:
            raise explain(error) from None
        return decoded

    def _fill_usual(self, call: Call, inputs: tuple[Any, ...]) -> bool:
        """Set the input; False when shapes and data do not fit (the general way then says what is wrong)."""
        rows = inputs[0].shape[0] if self._batched else 1
        if not 0 < rows <= self._max_rows:
            return False
        if self._layout == "matrix":
            table = self._matrix(inputs[0].data, rows)
        elif self._layout == "columns":
            table = _columns(inputs, rows)
        else:
            return self._fill_tensors(call, inputs, rows)
        if table is None:
            return False
        if self._check is not None:
            self._check(table)
        call.table = table
        call.rows = rows
        return True

    def _matrix(self, flat: list[Any], rows: int) -> Sequence[Row] | None:
        width = self._width
        if len(flat) != rows * width:
            return None
        return (flat,) if rows == 1 else [flat[i : i + width] for i in range(0, len(flat), width)]

    def _fill_tensors(self, call: Call, inputs: tuple[Any, ...], rows: int) -> bool:
        for one in inputs:
            shape = one.shape
            if min(shape, default=0) < 0 or product(shape) != len(one.data) or (self._batched and shape[0] != rows):
                return False
        call.tensors = tuple(
            [tensor_of(one.data, one.datatype, one.shape, f"inputs[{i}].data") for i, one in enumerate(inputs)]
        )
        call.rows = rows
        return True

    def note(self, call: Call, request: Any, headers: HeaderMap) -> None:
        """Keep in `call.form` how the answer should look; None: all outputs as plain JSON, without an id."""
        parameters, outputs = request.parameters, request.outputs
        asked = self._reader.plain
        if parameters is not NOTHING or outputs is not NOTHING:
            asked = self._reader.read(parameters, outputs)
            if asked.timeout_us:
                deadline = call.started_ns + asked.timeout_us * 1000
                call.deadline_ns = min(call.deadline_ns, deadline) if call.deadline_ns else deadline
        accepted = headers.get(b"accept-encoding")
        if accepted is not None or request.id is not None or asked is not self._reader.plain:
            call.form = Form(request.id, asked, b"" if accepted is None else self._encoding(accepted))

    def _encoding(self, accepted: bytes) -> bytes:
        found = self._encodings.get(accepted)
        if found is None:
            found = encoding_of(accepted)
            if len(self._encodings) < 64:
                self._encodings[accepted] = found
        return found

    def answer(self, call: Call, answer: Answer, latency_ns: int) -> tuple[bytes, bytes]:
        form = call.form
        if form is None:
            body = self._encoder.row(call, answer, None) if call.rows == 1 else None
            if body is not None:
                return _JSON_HEAD % call.request_id.encode(), body
            form = self.plain
        assert isinstance(form, Form)
        body = self._encoder.row(call, answer, form.id) if call.rows == 1 and form.asked.plain else None
        blobs: list[bytes] = []
        if body is None:
            body, blobs = self._encoder.whole(answer, form)
        request_id = call.request_id.encode()
        head = _BINARY_HEAD % (len(body), request_id) if blobs else _JSON_HEAD % request_id
        if blobs:
            body = b"".join((body, *blobs))
        if form.encoding and worth_compressing(len(body)):
            body = compressed(body, form.encoding)
            head += _ENCODING_HEAD % form.encoding
        return head, body

    def refuse(
        self, error: KanameError, instance: str, request_id: str, status: int | None = None
    ) -> tuple[int, bytes, bytes]:
        return refusal(error, request_id, status)


def refusal(error: KanameError, request_id: str, status: int | None = None) -> tuple[int, bytes, bytes]:
    """Status, header lines and body of an error in the protocol's own form: `{"error": "…"}`."""
    if status is None:
        status = status_of(error)
    head = _JSON_HEAD % request_id.encode("latin-1", "replace")
    if status in (429, 503):
        head += b"retry-after: %d\r\n" % max(1, math.ceil(error.retry_after_s or 1))
    elif status == 401:
        head += b'www-authenticate: Bearer realm="kaname"\r\n'
    return status, head, msgspec.json.encode({"error": str(error)})


def _columns(inputs: tuple[Any, ...], rows: int) -> Sequence[Row] | None:
    if any(one.shape[0] != rows or len(one.data) != rows for one in inputs):
        return None
    return list(zip(*[one.data for one in inputs], strict=True))


@per_signature
def _usual_decoder(signature: Signature) -> Callable[[Body], Any] | None:
    """A decoder of exactly the inputs of a signature, in their order, as flat JSON.

    None for inputs that need more than their datatype to be read.
    """
    if not all(spec.shape and spec.datatype not in ("BYTES", "BOOL") for spec in signature.inputs):
        return None
    inputs = tuple(
        _usual_input(f"Input{i}", spec, spec.datatype.startswith("FP") and _may_be_null(signature, i))
        for i, spec in enumerate(signature.inputs)
    )
    request = msgspec.defstruct(
        "UsualRequest",
        [
            ("inputs", tuple[inputs]),  # type: ignore[valid-type]  # built at run time
            ("id", str | None, None),
            ("parameters", msgspec.Raw, NOTHING),
            ("outputs", msgspec.Raw, NOTHING),
        ],
    )
    return msgspec.json.Decoder(request).decode


def _may_be_null(signature: Signature, position: int) -> bool:
    if signature.layout == "columns":
        return signature.features[position].nullable
    return any(feature.nullable for feature in signature.features)


def _usual_input(name: str, spec: TensorSpec, nullable: bool) -> type[msgspec.Struct]:
    sizes: list[Any] = [Literal[size] if size >= 0 else int for size in spec.shape]
    shape: Any = tuple.__class_getitem__(tuple(sizes))
    element = element_type(spec.datatype, nullable)
    return msgspec.defstruct(
        name,
        [
            ("name", Literal[spec.name]),
            ("shape", shape),
            ("datatype", Literal[spec.datatype]),
            ("data", list[element]),  # type: ignore[valid-type]  # built at run time
            ("parameters", None, None),
        ],
        gc=False,
    )
