"""From the scores of a native tree library to the outputs that a signature promises.

Every library gives one number per row, or one per row and class; labels, probabilities and values follow.
"""

from __future__ import annotations

import numpy as np

from kaname.signature import Label, OutputSpec, Signature
from kaname.tensors import NUMPY_OF, Tensor


class Scores:
    """Fills the outputs of one signature from scores of shape [rows] or [rows, classes]."""

    __slots__ = ("_labels", "_outputs")

    def __init__(self, signature: Signature) -> None:
        self._outputs = signature.outputs
        label = signature.output_of("label")
        self._labels = None if label is None else label_array(signature.labels, signature.outputs[label].datatype)

    def outputs(self, scores: Tensor) -> tuple[Tensor, ...]:
        """Outputs in the signature's order; `scores` is not kept."""
        return tuple([self._output(spec, scores) for spec in self._outputs])

    def _output(self, spec: OutputSpec, scores: Tensor) -> Tensor:
        if spec.role == "label" and self._labels is not None:
            winners = scores.argmax(axis=1) if scores.ndim == 2 else (scores > 0.5).astype(np.intp)
            found: Tensor = self._labels[winners]
            return found
        dtype = NUMPY_OF[spec.datatype]
        if spec.role == "probabilities" and scores.ndim == 1:
            both = np.empty((len(scores), 2), dtype)
            both[:, 1] = scores
            np.subtract(1.0, scores, out=both[:, 0], casting="same_kind")
            return both
        shape = (len(scores), *spec.shape[1:])
        return scores.reshape(shape).astype(dtype) if -1 not in spec.shape[1:] else scores.astype(dtype)


def label_array(labels: tuple[Label, ...], datatype: str) -> Tensor:
    """The labels as one array of `datatype`; BYTES hold their UTF-8."""
    if datatype != "BYTES":
        return np.array(labels, dtype=NUMPY_OF[datatype])
    out = np.empty(len(labels), dtype=object)
    out[:] = [str(label).encode() for label in labels]
    return out
