"""Answers of the protocol, written from what a run has as text already."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from kaname.call import Answer, Call, Outputs, Render
from kaname.errors import ModelFailed
from kaname.serving.json_rows import B64
from kaname.signature import OutputSpec, Signature

BINARY_SUFFIX = "_bytes"
"""Outputs of texts whose names end so are answered as `{"b64": "…"}`."""

_encode = msgspec.json.encode
Write = Callable[[Call, Answer], str]
"""The JSON body of an answer."""


class Predictions:
    """Answers of `:predict`: `predictions` by row, or `outputs` by name."""

    def __init__(self, signature: Signature) -> None:
        self._batched = signature.batched
        self._specs = signature.outputs
        self._renders = [_column(i, spec) for i, spec in enumerate(signature.outputs)]
        self._names = [_encode(spec.name).decode() for spec in signature.outputs]

    def rows(self, call: Call, answer: Answer) -> str:
        """One element per row: the value of the only output, or an object of all."""
        columns = self._columns(call, answer)
        if len(columns) == 1:
            return f'{{"predictions":[{",".join(columns[0])}]}}'
        heads = [f"{name}:" for name in self._names]
        rows = [
            "{" + ",".join([head + value for head, value in zip(heads, row, strict=True)]) + "}"
            for row in zip(*columns, strict=True)
        ]
        return f'{{"predictions":[{",".join(rows)}]}}'

    def outputs(self, call: Call, answer: Answer) -> str:
        """The only output's values, or an object of the outputs."""
        columns = self._columns(call, answer)
        wholes = [f"[{','.join(column)}]" if self._batched else column[0] for column in columns]
        if len(wholes) == 1:
            return f'{{"outputs":{wholes[0]}}}'
        members = [f"{name}:{whole}" for name, whole in zip(self._names, wholes, strict=True)]
        return f'{{"outputs":{{{",".join(members)}}}}}'

    def _columns(self, call: Call, answer: Answer) -> list[list[str]]:
        """Of each output the JSON of the rows that are the call's; without batching, of the whole."""
        if not self._batched:
            return [[_whole(answer, i, spec)] for i, spec in enumerate(self._specs)]
        columns = []
        for i, (spec, render) in enumerate(zip(self._specs, self._renders, strict=True)):
            shape = answer.outputs.tensors[i].shape
            if not shape or (answer.stop is None and shape[0] != call.rows):
                raise ModelFailed(
                    "an output has not one element per row", where=spec.name, found=str(shape), expected=str(call.rows)
                )
            columns.append(answer.outputs.rendered(render)[answer.start : answer.start + call.rows])
        return columns


def _column(index: int, spec: OutputSpec) -> Render:
    """What writes each row of one output."""

    def flat(outputs: Outputs) -> list[str]:
        return outputs.as_texts(index)

    def vectors(outputs: Outputs) -> list[str]:
        return [f"[{text}]" for text in outputs.as_texts(index)]

    def values(outputs: Outputs) -> list[str]:
        return [_text(row, spec) for row in outputs.as_list(index)]

    if spec.datatype == "BYTES":
        return values
    return {1: flat, 2: vectors}.get(len(spec.shape), values)


def _whole(answer: Answer, index: int, spec: OutputSpec) -> str:
    return _text(answer.outputs.as_list(index), spec)


def _text(value: Any, spec: OutputSpec) -> str:
    return _encode(_readable(value, spec.name.endswith(BINARY_SUFFIX)) if spec.datatype == "BYTES" else value).decode()


def _readable(value: Any, binary: bool) -> Any:
    """Texts instead of bytes, or the bytes in base64."""
    if isinstance(value, list):
        return [_readable(one, binary) for one in value]
    if binary:
        return {B64: value if isinstance(value, bytes) else str(value).encode()}
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def classes(signature: Signature) -> Write | None:
    """Writes per row `[[label, score], …]` in the order of the labels; without probabilities the label that was
    predicted, with a score of null. None for models that do not classify."""
    if signature.task != "classification" or not signature.labels or not signature.batched:
        return None
    probabilities, label = signature.output_of("probabilities"), signature.output_of("label")
    if probabilities is not None:
        names = ",".join(f"[{_encode(str(name)).decode().replace('%', '%%')},%s]" for name in signature.labels)
        scored = f"[{names}]"
        return _results(lambda outputs: [scored % tuple(row.split(",")) for row in outputs.as_texts(probabilities)])
    if label is not None:
        return _results(lambda outputs: [f"[[{_name(value)},null]]" for value in outputs.as_list(label)])
    return None


def values(signature: Signature) -> Write | None:
    """Writes one number per row. None for models that do not regress."""
    value = signature.output_of("value")
    if signature.task != "regression" or value is None or signature.outputs[value].shape[1:] not in ((), (1,)):
        return None
    return _results(lambda outputs: outputs.as_texts(value))


def _results(render: Render) -> Write:
    def write(call: Call, answer: Answer) -> str:
        rows = answer.outputs.rendered(render)[answer.start : answer.start + call.rows]
        return f'{{"results":[{",".join(rows)}]}}'

    return write


def _name(value: Any) -> str:
    """A label as JSON: it may come in an array of one, or as bytes."""
    if isinstance(value, list):
        value = value[0]
    return _encode(value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)).decode()
