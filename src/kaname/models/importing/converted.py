"""The signature of a converted model: what its ONNX outputs mean, and how labels look on the wire."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from kaname.errors import InvalidInput
from kaname.signature import Feature, Label, OutputSpec, Signature, Task
from kaname.tensors import Datatype, TensorSpec


def labels_of(classes: Iterable[Any]) -> tuple[Label, ...]:
    """Class labels as plain Python values. Raises InvalidInput for labels that are neither numbers nor strings."""
    found = tuple(item.item() if isinstance(item, np.generic) else item for item in classes)
    for label in found:
        if not isinstance(label, str | int | float | bool):
            raise InvalidInput("class labels must be numbers or strings", found=type(label).__name__)
    return found


def label_datatype(labels: Sequence[Label]) -> Datatype:
    """INT64 for whole numbers and booleans, BYTES for strings, FP32 for other numbers."""
    if all(isinstance(label, int) for label in labels):
        return "INT64"
    return "BYTES" if any(isinstance(label, str) for label in labels) else "FP32"


def classifier_outputs(labels: Sequence[Label], *, probabilities: bool = True) -> tuple[OutputSpec, ...]:
    """`label` and, where the model has them, `probabilities`: the names that the converters give too."""
    label = OutputSpec(name="label", datatype=label_datatype(labels), shape=(-1,), role="label")
    if not probabilities:
        return (label,)
    return (label, OutputSpec(name="probabilities", datatype="FP32", shape=(-1, len(labels)), role="probabilities"))


def value_output() -> tuple[OutputSpec, ...]:
    """The single number per row of a regressor, under the name that the converters give it."""
    return (OutputSpec(name="variable", datatype="FP32", shape=(-1,), role="value"),)


def matrix_signature(
    task: Task,
    features: Sequence[Feature],
    outputs: tuple[OutputSpec, ...],
    labels: tuple[Label, ...],
    datatype: Datatype,
) -> Signature:
    """A tabular model with one input, a matrix called `input` of one column per feature."""
    return Signature(
        task=task,
        inputs=(TensorSpec(name="input", datatype=datatype, shape=(-1, len(features))),),
        outputs=outputs,
        features=tuple(features),
        labels=labels,
    )
