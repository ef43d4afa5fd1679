"""Answers of `POST …/predict`, written from templates built once per version."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from kaname.call import Answer, Call
from kaname.serving.json_input import ONE
from kaname.signature import Label, OutputSpec, Signature

_encode = msgspec.json.encode
Part = Callable[[Answer, int], str]
"""The JSON of one row: the answer and the row's position in the run."""


def _text(value: object) -> str:
    return _encode(value, enc_hook=_plain).decode()


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    raise TypeError(f"no JSON form of {type(value).__name__}")


class JsonOutput:
    """Renders the answers of one version of one model."""

    def __init__(self, signature: Signature, model: str, version: str) -> None:
        self._row = _row_part(signature)
        self._batched = signature.batched
        self._tail = f',"model":{_text(model)},"version":{_text(version)},"request_id":"'

    def render(self, call: Call, answer: Answer, latency_ns: int) -> bytes:
        """The body: `prediction`, `confidence`, `probabilities` of a single request, or `predictions` of many."""
        row = self._row
        if call.form is ONE:
            part = row(answer, answer.start)
        else:
            rows = ",".join([f"{{{row(answer, answer.start + i)}}}" for i in range(call.rows)])
            part = f'"predictions":[{rows}]'
        return f'{{{part}{self._tail}{call.request_id}","latency_ms":{latency_ns / 1e6:.3f}}}'.encode()


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
        if value is not None:
            return _regressed(value)
    return _others(signature)


def _classified(signature: Signature, probabilities: int, label: int | None) -> Part:
    names = [str(name) for name in signature.labels]
    shares = '"probabilities":{' + ",".join(f"{_escaped(_text(name))}:%s" for name in names) + "}"
    predicted = [f'"prediction":{_text(name)},"confidence":' for name in signature.labels]
    by_value: dict[object, str] = dict(zip(signature.labels, predicted, strict=True))
    by_value |= {name.encode(): by_value[name] for name in signature.labels if isinstance(name, str)}
    flat = label is not None and len(signature.outputs[label].shape) == 1

    def part(answer: Answer, row: int) -> str:
        values = answer.outputs.as_list(probabilities)[row]
        top = max(values)
        if top != top:  # a model that answers NaN: JSON has only null for it
            return f'"prediction":null,"confidence":null,"probabilities":{_text(dict(zip(names, values, strict=True)))}'
        if label is None:
            head = predicted[values.index(top)]
        else:
            value = answer.outputs.as_list(label)[row]
            head = by_value.get(value if flat else _key(value)) or predicted[values.index(top)]
        return f"{head}{top!r},{shares % tuple(values)}"

    return part


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


def _regressed(value: int) -> Part:
    def part(answer: Answer, row: int) -> str:
        number = answer.outputs.as_list(value)[row]
        if type(number) is list and len(number) == 1:
            number = number[0]
        if type(number) is float and number - number == 0.0:
            return f'"prediction":{number!r},"confidence":null'
        return f'"prediction":{_text(number)},"confidence":null'

    return part


def _others(signature: Signature) -> Part:
    """One output: its row; several: an object of the rows by name. Without batching: the whole outputs."""
    outputs: Sequence[tuple[int, OutputSpec]] = list(enumerate(signature.outputs))
    batched = signature.batched

    def rows(answer: Answer, row: int) -> list[Any]:
        lists: list[Any] = [answer.outputs.as_list(i) for i, _ in outputs]
        if batched and all(isinstance(values, list) and row < len(values) for values in lists):
            return [values[row] for values in lists]
        return lists

    def part(answer: Answer, row: int) -> str:
        values = rows(answer, row)
        if len(outputs) == 1:
            return f'"prediction":{_text(values[0])},"confidence":null'
        named = {spec.name: value for (_, spec), value in zip(outputs, values, strict=True)}
        return f'"prediction":{_text(named)},"confidence":null'

    return part
