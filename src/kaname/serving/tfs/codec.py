"""`POST /v1/models/{model}[/versions/{v}|/labels/{label}]:predict`, `:classify` and `:regress` for one version."""

from __future__ import annotations

from typing import Literal

from kaname.call import Answer, Call
from kaname.errors import InvalidInput, KanameError
from kaname.serving.endpoint import HeaderMap
from kaname.serving.exchange import Body
from kaname.serving.oip import codec as oip
from kaname.serving.tfs.body import examples_body, predict_body
from kaname.serving.tfs.columns import INPUTS
from kaname.serving.tfs.output import Predictions, Write, classes, values
from kaname.signature import Signature

Verb = Literal["predict", "classify", "regress"]
VERBS: tuple[Verb, ...] = ("predict", "classify", "regress")
_HEAD = b"content-type: application/json\r\nx-request-id: %b\r\n"
_TYPES = frozenset({b"application/json", b"application/x-www-form-urlencoded"})
"""The second is what `curl -d` says, with which the protocol's own documentation asks."""


class TfsCodec:
    """One verb for one version. `max_rows` bounds the rows of one request."""

    def __init__(self, signature: Signature, model: str, verb: Verb, max_rows: int) -> None:
        self.verb = verb
        self.cannot: InvalidInput | None = None
        """Why the model has no answer to this verb."""
        if verb == "predict":
            predictions = Predictions(signature)
            self._fill = predict_body(signature, max_rows).fill
            self._write: Write = predictions.rows
            self._write_columns: Write = predictions.outputs
            return
        self._fill = examples_body(signature, max_rows).fill
        write = classes(signature) if verb == "classify" else values(signature)
        if write is None:
            found = "no class labels" if verb == "classify" else f"a model of kind {signature.task}"
            self.cannot = InvalidInput(f"this model cannot {verb}", where=model, found=found, expected=":predict")
        else:
            self._write = self._write_columns = write

    def accepts(self, content_type: bytes) -> bool:
        kind = content_type.partition(b";")[0].strip()
        return kind in _TYPES or (kind.startswith(b"application/") and kind.endswith(b"+json"))

    def fill(self, call: Call, body: Body, _: HeaderMap) -> None:
        if self.cannot is not None:
            raise self.cannot
        self._fill(call, body)

    def answer(self, call: Call, answer: Answer, _: int) -> tuple[bytes, bytes]:
        write = self._write_columns if call.form is INPUTS else self._write
        return _HEAD % call.request_id.encode(), write(call, answer).encode()

    def refuse(
        self, error: KanameError, instance: str, request_id: str, status: int | None = None
    ) -> tuple[int, bytes, bytes]:
        return refusal(error, instance, request_id, status)


def refusal(error: KanameError, _: str, request_id: str, status: int | None = None) -> tuple[int, bytes, bytes]:
    """Status, header lines and body of an error: `{"error": "…"}`, as in the Open Inference Protocol."""
    if type(error) is InvalidInput and error.where is not None and error.where.startswith("features."):
        # A value that the model's datatype cannot hold is found behind the protocols, which call a lone row so.
        where = f"instances[0].{error.where.removeprefix('features.')}"
        error = InvalidInput(error.message, where=where, found=error.found, expected=error.expected)
    return oip.refusal(error, request_id, status)
