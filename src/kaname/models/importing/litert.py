"""LiteRT files: taken as they are; whether they take several rows at once is found out, since few of them say."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import msgspec

from kaname.errors import InvalidInput
from kaname.models.importing import plain
from kaname.models.importing.types import ImportRequest, Prepared, Tensors
from kaname.runtimes.catalog import FILES
from kaname.runtimes.litert import describe, quantisation
from kaname.signature import Signature
from kaname.tensors import TensorSpec

Spec = TypeVar("Spec", bound=TensorSpec)


def prepare(request: ImportRequest, folder: Path) -> Prepared:
    """Copy the file, read its signature and find rows that it answers."""
    target = folder / FILES["litert"]
    shutil.copyfile(request.path, target)
    declared = plain.signature_of(*describe(target))
    notes = [_quantised(name, *how) for name, how in quantisation(target).items()]
    signature, rows = _widest(declared, folder, request, notes)
    return Prepared(
        folder=folder,
        source="litert",
        signature=signature,
        runtimes=("litert",),
        rows=rows,
        given=request.sample is not None,
        notes=notes,
    )


def _widest(declared: Signature, folder: Path, request: ImportRequest, notes: list[str]) -> tuple[Signature, Tensors]:
    """Any number of rows where two rows work although the file says one; else what the file says."""
    if declared.batched:
        wide = msgspec.structs.replace(declared, inputs=_any_rows(declared.inputs), outputs=_any_rows(declared.outputs))
        said: list[str] = []
        with suppress(InvalidInput):  # then the sizes that are declared decide, and their error is the one to show
            rows = plain.rows_for("litert", folder, wide, request, said)
            if plain.takes_rows("litert", folder, wide, rows):
                notes += said
                return wide, rows
    rows = plain.rows_for("litert", folder, declared, request, notes)
    return plain.judged("litert", folder, declared, rows), rows


def _any_rows(specs: Iterable[Spec]) -> tuple[Spec, ...]:
    return tuple(msgspec.structs.replace(spec, shape=(-1, *spec.shape[1:])) for spec in specs)


def _quantised(name: str, scale: float, zero: int) -> str:
    return f"{name} holds quantised numbers: value = {scale:g} × (number − {zero})"
