"""Answers of the protocol: a template per version for the usual one, output by output for the rest."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from kaname.call import Answer, Call
from kaname.serving.oip.asked import Form, Wanted
from kaname.signature import Label, OutputSpec, Signature
from kaname.tensors import Tensor, datatype_of, encode_binary

COMPRESS_FROM = 1024
COMPRESS_UPTO = 1024 * 1024
"""A larger body would hold up the other answers of this worker for longer than it saves anybody."""
REMEMBERED = 1024
LONGEST_WORD = 256
_DEFLATE = 15
_GZIP = 31

_json = msgspec.json.Encoder().encode


class Encoder:
    """Writes the answers of one version of one model."""

    def __init__(self, signature: Signature, model: str, version: str) -> None:
        self._specs = signature.outputs
        self._labels = signature.labels
        self._batched = signature.batched
        self._head = b'{"model_name":%b,"model_version":%b,' % (_json(model), _json(version))
        self._template = _template(signature, self._head)
        self._text = [spec.datatype == "BYTES" for spec in self._specs]
        self._words: dict[Any, bytes] = {}
        self._ndims = [len(spec.shape) for spec in self._specs]

    def row(self, call: Call, answer: Answer, caller_id: str | None) -> bytes | None:
        """The answer of one row with all outputs as JSON; None when the outputs are not what the template has."""
        if self._template is None:
            return None
        outputs = answer.outputs
        parts: list[Any] = [b"" if caller_id is None else b'"id":%b,' % _json(caller_id)]
        for i, ndim in enumerate(self._ndims):
            tensor = outputs.tensors[i]
            rows = outputs.as_list(i)
            if tensor.ndim != ndim or (answer.stop is None and len(rows) != 1):
                return None
            row = rows[answer.start]
            if ndim == 2:
                parts.append(len(row))
                parts.append(_json(_texts(row) if self._text[i] else row))
            elif self._text[i]:
                parts.append(self._word(row))
            else:
                parts.append(_json((row,)))
        return self._template % tuple(parts)

    def _word(self, value: Any) -> bytes:
        """One text as the data of an output; labels come again and again."""
        found = self._words.get(value)
        if found is None:
            found = _json(_texts((value,)))
            if len(self._words) < REMEMBERED and len(found) < LONGEST_WORD:
                self._words[value] = found
        return found

    def whole(self, answer: Answer, form: Form) -> tuple[bytes, list[bytes]]:
        """JSON and binary parts of any answer."""
        tensors = answer.tensors()
        blobs: list[bytes] = []
        pieces = [self._output(tensors[wanted.index], wanted, blobs) for wanted in form.asked.outputs]
        caller_id = b"" if form.id is None else b'"id":%b,' % _json(form.id)
        return b'%b%b"outputs":[%b]}' % (self._head, caller_id, b",".join(pieces)), blobs

    def _output(self, tensor: Tensor, wanted: Wanted, blobs: list[bytes]) -> bytes:
        spec = self._specs[wanted.index]
        if wanted.classes:
            tensor = top_classes(tensor, wanted.classes, self._labels, self._batched)
        head = b'{"name":%b,"datatype":"%b","shape":%b,' % (
            _json(spec.name),
            datatype_of(tensor.dtype).encode(),
            _json(tensor.shape),
        )
        if not wanted.binary:
            return b'%b"data":%b}' % (head, _json(_plain(tensor)))
        blob = encode_binary(tensor)
        blobs.append(blob)
        return b'%b"parameters":{"binary_data_size":%d}}' % (head, len(blob))


def _template(signature: Signature, head: bytes) -> bytes | None:
    """The answer of one row, with places for the caller's id and, per output, width and values."""
    if not signature.batched or any(len(spec.shape) not in (1, 2) for spec in signature.outputs):
        return None
    outputs = b",".join(_place(spec) for spec in signature.outputs)
    return b'%b%%b"outputs":[%b]}' % (head.replace(b"%", b"%%"), outputs)


def _place(spec: OutputSpec) -> bytes:
    name = _json(spec.name).replace(b"%", b"%%")
    shape = b"[1]" if len(spec.shape) == 1 else b"[1,%d]"
    return b'{"name":%b,"datatype":"%b","shape":%b,"data":%%b}' % (name, spec.datatype.encode(), shape)


def _plain(tensor: Tensor) -> list[Any]:
    """The elements, flat; NaN and infinities become null in JSON, and bytes that are no text are replaced."""
    flat: list[Any] = tensor.reshape(-1).tolist()
    return _texts(flat) if tensor.dtype.kind in "OS" else flat


def _texts(values: Sequence[Any]) -> list[str]:
    return [value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value) for value in values]


def top_classes(tensor: Tensor, count: int, labels: tuple[Label, ...], batched: bool) -> Tensor:
    """The highest values per row as `value:index[:label]` (classification extension), NaN last."""
    rows = tensor.reshape(tensor.shape[0], -1) if batched else tensor.reshape(1, -1)
    width = rows.shape[1]
    count = min(count, width)
    ranked = np.where(np.isnan(rows), -np.inf, rows) if rows.dtype.kind == "f" else rows
    # Sorted ascending from the back, so that of equal values the lower index comes first.
    order = (width - 1 - np.argsort(ranked[:, ::-1], axis=1, kind="stable"))[:, ::-1][:, :count]
    written = "%f" if rows.dtype.kind == "f" else "%d"
    named = len(labels) == width
    found = np.empty(order.shape, dtype=object)
    for r, indices in enumerate(order.tolist()):
        for c, i in enumerate(indices):
            text = f"{written % rows[r, i]}:{i}"
            found[r, c] = f"{text}:{labels[i]}".encode() if named else text.encode()
    return found if batched else found[0]


def compressed(body: bytes, encoding: bytes) -> bytes:
    """`body` as `gzip` or `deflate` (zlib) has it, quickly rather than small."""
    squeezer = zlib.compressobj(1, zlib.DEFLATED, _GZIP if encoding == b"gzip" else _DEFLATE)
    return squeezer.compress(body) + squeezer.flush()


def worth_compressing(size: int) -> bool:
    """Whether a body of this many bytes is compressed when the caller accepts it."""
    return COMPRESS_FROM <= size <= COMPRESS_UPTO
