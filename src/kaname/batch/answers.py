"""The outputs of a run as columns: what an answer over HTTP says of a row, for all rows at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kaname.arrow import Array, DataType, Field, arrow
from kaname.batch.types import PURPOSE
from kaname.signature import Label, OutputSpec, Signature
from kaname.tensors import NUMPY_OF, Tensor


class Answers:
    """The columns of one signature.

    A classification has `prediction`, `confidence` (the largest probability) and `probabilities.<label>`, as far as
    the model gives them; a regression has `prediction`. Any other model has its single output as `prediction`, or
    each output as `prediction.<output>`; what is no number or text is a list.
    """

    def __init__(self, signature: Signature) -> None:
        self._signature = signature
        self._label = signature.output_of("label")
        self._shares = signature.output_of("probabilities")
        self._value = signature.output_of("value")
        classifies = signature.task == "classification" and bool(signature.labels)
        self._classified = classifies and self._shares is not None
        self._labelled = classifies and not self._classified and self._label is not None
        shape = () if self._value is None else signature.outputs[self._value].shape[1:]
        self._regressed = signature.task == "regression" and self._value is not None and shape in ((), (1,))
        self.fields = tuple(self._fields())

    def columns(self, outputs: tuple[Tensor, ...]) -> list[Array]:
        """The columns, in the order of `fields`, for the outputs of some rows."""
        if self._classified:
            assert self._shares is not None
            label = None if self._label is None else outputs[self._label]
            return self._classes(outputs[self._shares], label)
        if self._labelled:
            assert self._label is not None
            return [_column(self._signature.outputs[self._label], outputs[self._label].reshape(-1))]
        if self._regressed:
            assert self._value is not None
            return [_column(self._signature.outputs[self._value], outputs[self._value].reshape(-1))]
        return [_column(spec, tensor) for spec, tensor in zip(self._signature.outputs, outputs, strict=True)]

    def _fields(self) -> list[Field]:
        pa, signature = arrow(PURPOSE).pa, self._signature
        if self._classified:
            assert self._shares is not None
            share = _type(signature.outputs[self._shares].datatype)
            return [
                pa.field("prediction", self._labels().type),
                pa.field("confidence", share),
                *(pa.field(f"probabilities.{_text(label)}", share) for label in signature.labels),
            ]
        if self._labelled or self._regressed:
            at = self._label if self._labelled else self._value
            assert at is not None
            return [pa.field("prediction", _type(signature.outputs[at].datatype))]
        outputs = signature.outputs
        if len(outputs) == 1:
            return [pa.field("prediction", _nested(outputs[0]))]
        return [pa.field(f"prediction.{spec.name}", _nested(spec)) for spec in outputs]

    def _labels(self) -> Array:
        """The labels; text unless all are of one kind."""
        labels, pa = self._signature.labels, arrow(PURPOSE).pa
        kinds = {type(label) for label in labels}
        return pa.array(labels if len(kinds) == 1 else [_text(label) for label in labels])

    def _classes(self, shares: Tensor, label: Tensor | None) -> list[Array]:
        pa = arrow(PURPOSE).pa
        best = shares.argmax(axis=1) if len(shares) else np.empty(0, np.intp)
        chosen = best if label is None else self._positions(label.reshape(-1), best)
        confidence = np.take_along_axis(shares, best[:, None], axis=1)[:, 0]
        columns = [np.ascontiguousarray(shares[:, at]) for at in range(len(self._signature.labels))]
        return [self._labels().take(pa.array(chosen)), pa.array(confidence), *map(pa.array, columns)]

    def _positions(self, label: Tensor, best: NDArray[np.intp]) -> NDArray[np.intp]:
        """Which label each row got; the most probable where the model says one that the signature does not know."""
        places: dict[object, int] = {name: at for at, name in enumerate(self._signature.labels)}
        if label.dtype == object:
            found = [places.get(v.decode() if isinstance(v, bytes) else v, -1) for v in label.tolist()]
            positions = np.array(found, np.intp)
        else:
            different, which = np.unique(label, return_inverse=True)
            positions = np.array([places.get(v, -1) for v in different.tolist()], np.intp)[which]
        return np.where(positions < 0, best, positions) if len(positions) else best


def _text(label: Label) -> str:
    return str(label)


def _type(datatype: str) -> DataType:
    pa = arrow(PURPOSE).pa
    return pa.string() if datatype == "BYTES" else pa.from_numpy_dtype(NUMPY_OF[datatype])


def _nested(spec: OutputSpec) -> DataType:
    kind = _type(spec.datatype)
    for _ in spec.shape[1:]:
        kind = arrow(PURPOSE).pa.list_(kind)
    return kind


def _column(spec: OutputSpec, tensor: Tensor) -> Array:
    """One value per row: the first dimension; the others are lists."""
    pa = arrow(PURPOSE).pa
    flat = np.ascontiguousarray(tensor).reshape(-1)
    values = pa.array(_readable(flat.tolist()), pa.string()) if spec.datatype == "BYTES" else pa.array(flat)
    count = flat.size
    for size in reversed(tensor.shape[1:]):
        count = count // size if size else int(np.prod(tensor.shape[: tensor.ndim - 1]))
        offsets = np.arange(0, (count + 1) * size, size) if size else np.zeros(count + 1)
        values = pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), values)
    return values


def _readable(values: Sequence[object]) -> list[str]:
    return [v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in values]
