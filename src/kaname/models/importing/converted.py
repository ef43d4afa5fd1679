"""The ONNX form of a model: added where it can be made; what its outputs mean, and how labels look on the wire."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kaname.errors import InvalidInput, KanameError
from kaname.models.importing.types import Prepared
from kaname.runtimes.catalog import FILES
from kaname.signature import Feature, Label, OutputSpec, Signature, Task
from kaname.tensors import Datatype, TensorSpec


def add_onnx(prepared: Prepared, convert: Callable[[Path], object]) -> Prepared:
    """Add the form that `convert` writes to a file; why it cannot be made is a note, not an error."""
    file = prepared.folder / FILES["onnx"]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            convert(file)
    except Exception as error:  # noqa: BLE001  (converters raise anything; the native runtime answers)
        for left in file.parent.glob(f"{file.name}*"):
            left.unlink()
        said = str(error) if isinstance(error, KanameError) else f"{type(error).__name__}: {str(error)[:200]}"
        prepared.notes.append(f"not converted to ONNX: {said}")
        return prepared
    prepared.runtimes = (*prepared.runtimes, "onnx")
    return prepared


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
