"""Answers of `POST …/predict`: one Struct per version holds what an answer says and is written in one pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from kaname.call import Answer, Call, Outputs
from kaname.serving.json_rows import ONE
from kaname.signature import OutputSpec, Signature

_encode = msgspec.json.Encoder().encode
Row = tuple[Any, Any, Any]
"""What is said of a row: the prediction, the confidence, the probabilities (UNSET where the model gives none)."""
Reader = Callable[[Answer, int], Row]
"""The row at a position of the run."""
_UNSET = msgspec.UNSET


class _One(msgspec.Struct, gc=False):
    """The answer to a single request."""

    prediction: Any
    confidence: Any
    probabilities: Any
    model: msgspec.Raw
    version: msgspec.Raw
    request_id: str
    latency_ms: float


class _Item(msgspec.Struct, gc=False):
    """A row of the answer to many."""

    prediction: Any
    confidence: Any
    probabilities: Any


class _Many(msgspec.Struct, gc=False):
    """The answer to a request of many rows."""

    predictions: list[_Item]
    model: msgspec.Raw
    version: msgspec.Raw
    request_id: str
    latency_ms: float


class JsonOutput:
    """Renders the answers of one version of one model."""

    def __init__(self, signature: Signature, model: str, version: str) -> None:
        self._row = _reader(signature)
        self._model = msgspec.Raw(_encode(model))
        self._version = msgspec.Raw(_encode(version))

    def render(self, call: Call, answer: Answer, latency_ns: int) -> tuple[bytes, bytes]:
        """Header lines, and the body: `prediction`, `confidence`, `probabilities` of a single request, or
        `predictions` of many."""
        row, request_id, start, latency_ms = self._row, call.request_id, answer.start, latency_ns // 1000 / 1000
        said: _One | _Many
        if call.form is ONE:
            said = _One(*row(answer, start), self._model, self._version, request_id, latency_ms)
        else:
            items = [_Item(*row(answer, at)) for at in range(start, start + call.rows)]
            said = _Many(items, self._model, self._version, request_id, latency_ms)
        body = _encode(said)
        return f"content-type: application/json\r\nx-request-id: {request_id}\r\n".encode(), body


def _reader(signature: Signature) -> Reader:
    if signature.task == "classification" and signature.labels:
        probabilities = signature.output_of("probabilities")
        label = signature.output_of("label")
        if probabilities is not None:
            return _classified(signature, probabilities, label)
        if label is not None:
            return _labelled(label)
    if signature.task == "regression":
        value = signature.output_of("value")
        if value is not None and signature.outputs[value].shape[1:] in ((), (1,)):
            return _regressed(value, flat=len(signature.outputs[value].shape) == 1)
    return _others(signature)


def _classified(signature: Signature, probabilities: int, label: int | None) -> Reader:
    labels = signature.labels
    shares = _shares([str(name) for name in labels])
    by_value: dict[object, object] = dict(zip(labels, labels, strict=True))
    by_value |= {name.encode(): name for name in labels if isinstance(name, str)}
    flat = label is not None and len(signature.outputs[label].shape) == 1

    def row(answer: Answer, at: int) -> Row:
        outputs = answer.outputs
        values = outputs.as_list(probabilities)[at]
        best = max(values)
        if label is None:
            found = None
        else:
            value = outputs.as_list(label)[at]
            found = by_value.get(value if flat else _key(value))
        return labels[values.index(best)] if found is None else found, best, shares(*values)

    return row


def _shares(names: list[str]) -> Callable[..., object]:
    """Makes the object of a value per name of its arguments, fast where the names may be those of a Struct's fields."""
    fields: list[Any] = [(f"p{i}", float, msgspec.field(name=name)) for i, name in enumerate(names)]
    try:
        return msgspec.defstruct("Probabilities", fields, gc=False)
    except ValueError:  # a name has a character that JSON escapes, or comes twice
        return lambda *values: dict(zip(names, values, strict=True))


def _key(value: Any) -> Any:
    """The label as the signature has it: labels may come in an array of one, or as bytes."""
    if isinstance(value, list):
        value = value[0]
    return value.decode() if isinstance(value, bytes) else value


def _labelled(label: int) -> Reader:
    def row(answer: Answer, at: int) -> Row:
        return _key(answer.outputs.as_list(label)[at]), None, _UNSET

    return row


def _regressed(value: int, *, flat: bool) -> Reader:
    def row(answer: Answer, at: int) -> Row:
        found = answer.outputs.as_list(value)[at]
        return found if flat else found[0], None, _UNSET

    return row


def _numeric(spec: OutputSpec) -> bool:
    return spec.datatype != "BYTES"


def _others(signature: Signature) -> Reader:
    """One output: its row; several: an object of the rows by name. Without batching: the whole outputs."""
    names = [spec.name for spec in signature.outputs]
    batched, texts = signature.batched, not all(map(_numeric, signature.outputs))

    def rows(outputs: Outputs, at: int) -> list[Any]:
        lists: list[Any] = [outputs.as_list(i) for i in range(len(names))]
        if texts:
            lists = [_readable(values) for values in lists]
        if batched and all(isinstance(values, list) and at < len(values) for values in lists):
            return [values[at] for values in lists]
        return lists

    def row(answer: Answer, at: int) -> Row:
        values = rows(answer.outputs, at)
        return values[0] if len(values) == 1 else dict(zip(names, values, strict=True)), None, _UNSET

    return row


def _readable(value: Any) -> Any:
    """Texts instead of bytes, which JSON would have in base64."""
    if isinstance(value, list):
        return [_readable(one) for one in value]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
