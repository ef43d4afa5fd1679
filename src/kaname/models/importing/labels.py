"""Names of classes that lie beside a model which does not know them itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from kaname.models.importing.types import Prepared
from kaname.signature import OutputSpec, Signature
from kaname.tensors import FLOATS


def named_classes(signature: Signature, labels: Mapping[str, Sequence[str]], notes: list[str]) -> Signature:
    """The signature of a classifier whose output of that name has one column per label.

    Labels that do not fit (another number of columns, a classifier that has its own) are left and said in the notes.
    """
    for output, names in labels.items():
        if reason := _unfit(signature, output, names):
            notes.append(f"the labels of output {output} are not used: {reason}")
            continue
        signature = _labelled(signature, output, tuple(names))
        notes.append(f"output {output} has a column per label of {len(names)}: the highest is the answer")
    return signature


def name_classes(prepared: Prepared, labels: Mapping[str, Sequence[str]]) -> None:
    """The same for what an importer hands on."""
    prepared.signature = named_classes(prepared.signature, labels, prepared.notes)


def _unfit(signature: Signature, output: str, names: Sequence[str]) -> str:
    spec = next((each for each in signature.outputs if each.name == output), None)
    if spec is None:
        return "there is no such output"
    if signature.labels:
        return "the model has labels of its own"
    if not signature.batched or spec.datatype not in FLOATS or spec.shape[1:] != (len(names),):
        return f"{len(names)} labels for {spec.datatype} {list(spec.shape)}"
    return "" if len({*names}) == len(names) else "two classes have the same label"


def _labelled(signature: Signature, output: str, names: tuple[str, ...]) -> Signature:
    def with_role(spec: OutputSpec) -> OutputSpec:
        return msgspec.structs.replace(spec, role="probabilities") if spec.name == output else spec

    return msgspec.structs.replace(
        signature, task="classification", outputs=tuple(map(with_role, signature.outputs)), labels=names
    )
