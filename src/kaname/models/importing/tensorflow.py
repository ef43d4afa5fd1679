"""SavedModels of TensorFlow: kept as they are, with the ONNX form of their serving signature beside them.

The only module that imports tf2onnx.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

from kaname.errors import MissingDependency
from kaname.models.importing import converted, plain, sample
from kaname.models.importing.types import ImportRequest, Prepared
from kaname.runtimes import tensorflow
from kaname.runtimes.catalog import FILES
from kaname.runtimes.onnx import describe

_OPSET = 18


def prepare(request: ImportRequest, folder: Path) -> Prepared:
    """Import the SavedModel in the folder that the request names."""
    shutil.copytree(request.path, (folder / FILES["tensorflow"]).parent)
    return from_folder(request, folder)


def from_folder(request: ImportRequest, folder: Path) -> Prepared:
    """Import the SavedModel that lies in `folder` already."""
    loaded, function = tensorflow.load((folder / FILES["tensorflow"]).parent)
    signature = plain.signature_of(*tensorflow.describe(function))
    notes: list[str] = []
    rows = plain.rows_for("tensorflow", folder, signature, request, notes)
    signature = plain.judged("tensorflow", folder, signature, rows)
    session = tensorflow.TensorFlowSession(loaded, function, signature)
    prepared = Prepared(
        folder=folder,
        source="tensorflow",
        signature=signature,
        runtimes=("tensorflow",),
        rows=rows,
        original=lambda rows: session.run(sample.narrow(rows, signature)),
        precise=frozenset({"tensorflow"}),
        given=request.sample is not None,
        notes=notes,
    )
    return converted.add_onnx(prepared, lambda file: _convert(function, file))


def _convert(function: Any, file: Path) -> None:
    try:
        import tf2onnx
    except ImportError as error:
        raise MissingDependency.of("tf2onnx", "tensorflow", "converting a TensorFlow model to ONNX") from error
    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)  # what it cannot convert is told by the graph
    tf = tensorflow.library()
    taken, _ = tensorflow.specs(function)
    specs = [tf.TensorSpec(spec.shape, spec.dtype, name=name) for name, spec in taken.items()]

    @tf.function(input_signature=specs)  # type: ignore[untyped-decorator]  # tensorflow is not installed where types are checked
    def named(*tensors: Any) -> dict[str, Any]:
        answer = function(**dict(zip(taken, tensors, strict=True)))
        return {name: tf.identity(value, name=name) for name, value in answer.items()}

    tf2onnx.convert.from_function(named, input_signature=specs, opset=_OPSET, output_path=str(file))
    describe(file)  # operations that it does not know are left in the graph, which then cannot be loaded
