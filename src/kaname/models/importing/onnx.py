"""ONNX files: taken as they are, but for a ZipMap at the end, which no server can answer with."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from kaname.errors import InvalidInput, MissingDependency
from kaname.models.importing import plain
from kaname.models.importing.types import ImportRequest, Prepared
from kaname.runtimes.catalog import FILES
from kaname.runtimes.onnx import describe
from kaname.signature import Label


def prepare(request: ImportRequest, folder: Path) -> Prepared:
    """Copy the file (and the weights it keeps beside itself), read its signature and find rows that it answers."""
    target = folder / FILES["onnx"]
    shutil.copyfile(request.path, target)
    classes = _adapt(request.path, target)
    inputs, outputs = describe(target)
    signature = plain.signature_of(inputs, outputs, classes)
    notes: list[str] = []
    rows = plain.rows_for("onnx", folder, signature, request, notes)
    signature = plain.judged("onnx", folder, signature, rows)
    return Prepared(
        folder=folder,
        source="onnx",
        signature=signature,
        runtimes=("onnx",),
        rows=rows,
        given=request.sample is not None,
        notes=notes,
    )


# --- with the onnx library, where it is installed -------------------------------------------------------


def _adapt(source: Path, target: Path) -> tuple[Label, ...]:
    """Fetch external weights, cut a final ZipMap off, and return the classifier's labels if it names them."""
    try:
        import onnx
    except ImportError:
        beside = source.with_name(source.name + ".data")
        if beside.exists():
            shutil.copyfile(beside, target.parent / beside.name)
        _refuse_zipmap(target)
        return ()
    try:
        model = onnx.load(str(source), load_external_data=False)
    except Exception as error:
        raise InvalidInput(f"not an ONNX file: {error}", where=str(source)) from error
    _copy_weights(model, source, target.parent)
    if _cut_zipmap(model):
        target.write_bytes(model.SerializeToString())
    return _classes(model)


def _refuse_zipmap(target: Path) -> None:
    try:
        describe(target)
    except InvalidInput as error:
        if error.found is not None and error.found.startswith("seq(map"):
            raise MissingDependency.of("onnx", "onnx", "removing the ZipMap at the end of this model") from error
        raise


def _copy_weights(model: Any, source: Path, folder: Path) -> None:
    names = {e.value for t in model.graph.initializer for e in t.external_data if e.key == "location"}
    for name in sorted(names):
        beside = (source.parent / name).resolve()
        if source.parent.resolve() not in beside.parents:
            raise InvalidInput("the model's weights lie outside its folder", where=str(source), found=name)
        if not beside.is_file():
            raise InvalidInput("the model's weights are missing", where=str(source), expected=str(beside))
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(beside, folder / name)


def _cut_zipmap(model: Any) -> bool:
    """Let the graph answer with the tensor that goes into each ZipMap."""
    from onnx import TensorProto, helper

    maps = [node for node in model.graph.node if node.op_type == "ZipMap"]
    for node in maps:
        kept = [output for output in model.graph.output if output.name != node.output[0]]
        count = max(len(_attribute(node, "classlabels_int64s")), len(_attribute(node, "classlabels_strings")))
        shaped = helper.make_tensor_value_info(node.input[0], TensorProto.FLOAT, [None, count or None])
        del model.graph.output[:]
        model.graph.output.extend([*kept, shaped])
        model.graph.node.remove(node)
    return bool(maps)


def _classes(model: Any) -> tuple[Label, ...]:
    for node in reversed(model.graph.node):
        for name in ("classlabels_strings", "classlabels_int64s", "classlabels_ints", "cats_strings"):
            found = _attribute(node, name)
            if found and "Classifier" in node.op_type:
                return tuple(x.decode() if isinstance(x, bytes) else int(x) for x in found)
    return ()


def _attribute(node: Any, name: str) -> list[Any]:
    for attribute in node.attribute:
        if attribute.name == name:
            return list(attribute.strings or attribute.ints)
    return []
