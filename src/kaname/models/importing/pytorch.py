"""Exported programs of PyTorch: kept as they are, with their ONNX form beside them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from kaname.errors import MissingDependency
from kaname.models.importing import converted, plain, sample
from kaname.models.importing.types import ImportRequest, Prepared, Tensors
from kaname.runtimes import pytorch
from kaname.runtimes.catalog import FILES
from kaname.signature import Signature

_EXTERNAL_BYTES = 1_000_000_000
"""Weights larger than this lie beside the ONNX file, which cannot hold two gigabytes."""
_FIXED = "exported for a fixed number of rows: with a dynamic first dimension, requests could share runs"


def prepare(request: ImportRequest, folder: Path) -> Prepared:
    """Import what `torch.export.save` wrote."""
    shutil.copyfile(request.path, folder / FILES["pytorch"])
    return from_folder(request, folder)


def from_folder(request: ImportRequest, folder: Path) -> Prepared:
    """Import the exported program that lies in `folder` already."""
    program = pytorch.load_exported(folder / FILES["pytorch"])
    signature = plain.signature_of(*program.describe())
    notes: list[str] = []
    rows = plain.rows_for("pytorch", folder, signature, request, notes)
    signature = plain.judged("pytorch", folder, signature, rows)
    if not all(spec.shape and spec.shape[0] == -1 for spec in signature.inputs):
        notes.append(_FIXED)
    prepared = Prepared(
        folder=folder,
        source="pytorch",
        signature=signature,
        runtimes=("pytorch",),
        rows=rows,
        original=answers(program, signature),
        precise=frozenset({"pytorch"}),
        given=request.sample is not None,
        notes=notes,
    )
    return converted.add_onnx(prepared, lambda file: _convert(program, file))


def answers(program: pytorch.Program, signature: Signature) -> Callable[[Tensors], Tensors]:
    """What the program itself answers to rows."""
    session = pytorch.PyTorchSession(program, signature)
    return lambda rows: session.run(sample.narrow(rows, signature))


def _convert(program: pytorch.ExportedProgram, file: Path) -> None:
    if find_spec("onnxscript") is None:
        raise MissingDependency.of("onnxscript", "pytorch", "converting a PyTorch model to ONNX")
    weights = sum(value.numel() * value.element_size() for value in program.exported.state_dict.values())
    pytorch.library().onnx.export(
        program.exported,
        (),
        str(file),
        dynamo=True,
        verbose=False,
        external_data=weights > _EXTERNAL_BYTES,
        input_names=list(program.names),
        output_names=[spec.name for spec in program.describe()[1]],
    )
