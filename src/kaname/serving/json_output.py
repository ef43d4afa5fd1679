"""Answers of `POST …/predict`, written from templates built once per version."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from kaname.call import Answer, Call, Outputs
from kaname.serving.json_rows import ONE
from kaname.signature import Label, OutputSpec, Signature

_encode = msgspec.json.encode
Part = Callable[[Answer, int], str]
"""The JSON of one row: the answer and the row's position in the run."""


def _text(value: object) -> str:
    return _encode(value).decode()


def _readable(value: Any) -> Any:
    """Texts instead of bytes, which JSON would have in base64."""
    if isinstance(value, list):
        return [_readable(one) for one in value]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


class JsonOutput:
    """Renders the answers of one version of one model."""

    def __init__(self, signature: Signature, model: str, version: str) -> None:
        self._row = _row_part(signature)
        self._batched = signature.batched
        self._tail = f',"model":{_text(model)},"version":{_text(version)},"request_id":"'

    def render(self, call: Call, answer: Answer, latency_ns: int) -> tuple[bytes, bytes]:
        """Header lines, and the body: `prediction`, `confidence`, `probabilities` of a single request, or
        `predictions` of many."""
        row = self._row
        if call.form is ONE:
            part = row(answer, answer.start)
        else:
            rows = ",".join([f"{{{row(answer, answer.start + i)}}}" for i in range(call.rows)])
            part = f'"predictions":[{rows}]'
        request_id = call.request_id
        body = f'{{{part}{self._tail}{request_id}","latency_ms":{latency_ns / 1e6:.3f}}}'
        return f"content-type: application/json\r\nx-request-id: {request_id}\r\n".encode(), body.encode()


def _row_part(signature: Signature) -> Part:
    if signature.task == "classification" and signature.labels:
        probabilities = signature.output_of("probabilities")
        label = signature.output_of("label")
        if probabilities is not None:
            return _classified(signature, probabilities, label)
        if label is not None:
            return _labelled(signature, label)
    if signature.task == "regression":
        value = signature.output_of("value")
        if value is not None and signature.outputs[value].shape[1:] in ((), (1,)):
            return _regressed(value)
    return _others(signature)


def _classified(signature: Signature, probabilities: int, label: int | None) -> Part:
    names = [str(name) for name in signature.labels]
    shares = '"probabilities":{' + ",".join(f"{_escaped(_text(name))}:%s" for name in names) + "}"
    predicted = [f'"prediction":{_text(name)},"confidence":' for name in signature.labels]
    by_value: dict[object, str] = dict(zip(signature.labels, predicted, strict=True))
    by_value |= {name.encode(): by_value[name] for name in signature.labels if isinstance(name, str)}
    flat = label is not None and len(signature.outputs[label].shape) == 1

    def render(outputs: Outputs) -> list[str]:
        rows, texts = outputs.as_list(probabilities), outputs.as_texts(probabilities)
        labels = rows if label is None else outputs.as_list(label)
        parts = []
        for values, text, value in zip(rows, texts, labels, strict=True):
            numbers = text.split(",")
            best = values.index(max(values))
            head = None if label is None else by_value.get(value if flat else _key(value))
            parts.append(f"{head or predicted[best]}{numbers[best]},{shares % tuple(numbers)}")
        return parts

    return lambda answer, row: answer.outputs.rendered(render)[row]


def _escaped(text: str) -> str:
    return text.replace("%", "%%")


def _key(value: Any) -> Any:
    """The label as the signature has it: labels may come in an array of one, or as bytes."""
    if isinstance(value, list):
        value = value[0]
    return value.decode() if isinstance(value, bytes) else value


def _labelled(signature: Signature, label: int) -> Part:
    texts: dict[Label, str] = {name: f'"prediction":{_text(name)},"confidence":null' for name in signature.labels}

    def part(answer: Answer, row: int) -> str:
        value = _key(answer.outputs.as_list(label)[row])
        return texts.get(value) or f'"prediction":{_text(value)},"confidence":null'

    return part


def _numeric(spec: OutputSpec) -> bool:
    return spec.datatype != "BYTES"


def _regressed(value: int) -> Part:
    def part(answer: Answer, row: int) -> str:
        return f'"prediction":{answer.outputs.as_texts(value)[row]},"confidence":null'

    return part


def _others(signature: Signature) -> Part:
    """One output: its row; several: an object of the rows by name. Without batching: the whole outputs."""
    outputs: Sequence[tuple[int, OutputSpec]] = list(enumerate(signature.outputs))
    batched = signature.batched
    texts = any(spec.datatype == "BYTES" for spec in signature.outputs)

    def rows(answer: Answer, row: int) -> list[Any]:
        lists: list[Any] = [answer.outputs.as_list(i) for i, _ in outputs]
        if texts:
            lists = [_readable(values) for values in lists]
        if batched and all(isinstance(values, list) and row < len(values) for values in lists):
            return [values[row] for values in lists]
        return lists

    def vector(answer: Answer, row: int) -> str:
        return f'"prediction":[{answer.outputs.as_texts(0)[row]}],"confidence":null'

    if batched and len(outputs) == 1 and len(signature.outputs[0].shape) == 2 and _numeric(signature.outputs[0]):
        return vector

    def part(answer: Answer, row: int) -> str:
        values = rows(answer, row)
        if len(outputs) == 1:
            return f'"prediction":{_text(values[0])},"confidence":null'
        named = {spec.name: value for (_, spec), value in zip(outputs, values, strict=True)}
        return f'"prediction":{_text(named)},"confidence":null'

    return part
