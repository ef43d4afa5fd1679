"""What a version takes and gives: tensors, and for tabular models the named features behind them."""

from __future__ import annotations

from typing import Literal

import msgspec

from kaname.tensors import Datatype, TensorSpec

Task = Literal["classification", "regression", "other"]
Role = Literal["label", "probabilities", "value", "other"]
Label = str | int | float | bool


class OutputSpec(TensorSpec, frozen=True, kw_only=True):
    """One output and what it means for an answer.

    `label`: the predicted class per row. `probabilities`: one column per class, in the order of
    `Signature.labels`. `value`: the predicted number per row. `other`: returned as it is.
    """

    role: Role = "other"


class Feature(msgspec.Struct, frozen=True, kw_only=True):
    """One named column of a tabular model.

    `nullable`: null (or a missing value) becomes NaN. `categories`: the value is one of these strings and the
    model receives its position; a string that is not among them is refused, or becomes NaN when nullable.
    """

    name: str
    datatype: Datatype
    nullable: bool = False
    categories: tuple[str, ...] | None = None


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """Inputs, outputs and their meaning; immutable part of a version.

    `features` is empty for models that take plain tensors. Otherwise the features are either the columns of
    the single input of shape [-1, n] (`layout` "matrix"), or each is its own input of shape [-1, 1]
    (`layout` "columns", same order as `inputs`). `batched` says that the first dimension of every input and
    output counts rows; when it is false a request is one run and is never merged with another. `deterministic` says
    that equal inputs give equal outputs; answers of a version that is not are never kept for other requests.
    """

    task: Task
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[OutputSpec, ...]
    features: tuple[Feature, ...] = ()
    labels: tuple[Label, ...] = ()
    batched: bool = True
    deterministic: bool = True

    @property
    def layout(self) -> Literal["tensors", "matrix", "columns"]:
        """How features become inputs; "tensors" when there are no features."""
        if not self.features:
            return "tensors"
        return (
            "matrix"
            if len(self.inputs) == 1
            and len(self.inputs[0].shape) == 2
            and len(self.features) == self.inputs[0].shape[1]
            else "columns"
        )

    @property
    def plain_matrix(self) -> bool:
        """Whether a model without features takes rows of a fixed number of numbers: they travel as a table, too."""
        if self.features or not self.batched or len(self.inputs) != 1:
            return False
        spec = self.inputs[0]
        return len(spec.shape) == 2 and spec.shape[1] > 0 and spec.datatype not in ("BYTES", "BOOL")

    @property
    def columns(self) -> tuple[tuple[str, Datatype], ...]:
        """Name and datatype of each column of a table: the features, or `input[0]`, `input[1]`, … of a plain matrix."""
        if self.plain_matrix:
            spec = self.inputs[0]
            return tuple((f"{spec.name}[{i}]", spec.datatype) for i in range(spec.shape[1]))
        return tuple((feature.name, feature.datatype) for feature in self.features)

    def output_of(self, role: Role) -> int | None:
        """Position of the first output with `role`, or None."""
        return next((i for i, output in enumerate(self.outputs) if output.role == role), None)
