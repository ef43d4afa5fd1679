"""ONNX files: taken as they are, but for a ZipMap at the end, which no server can answer with."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from kaname.errors import InvalidInput, KanameError, MissingDependency
from kaname.models.importing import draw, sample
from kaname.models.importing.types import ImportRequest, Prepared, Tensors
from kaname.runtimes.catalog import FILES, open_session
from kaname.runtimes.onnx import describe
from kaname.runtimes.types import SessionOptions
from kaname.signature import Label, OutputSpec, Signature
from kaname.tensors import TensorSpec

_SIZES = (8, 1, 16, 32, 64, 128, 224, 256)
"""Tried in this order for dimensions that vary, when there is no sample."""
_LABELS = ("label", "output_label")
_PROBABILITIES = ("probabilities", "output_probability")


def prepare(request: ImportRequest, folder: Path) -> Prepared:
    """Copy the file (and the weights it keeps beside itself), read its signature and find rows that it answers."""
    target = folder / FILES["onnx"]
    shutil.copyfile(request.path, target)
    classes = _adapt(request.path, target)
    inputs, outputs = describe(target)
    signature = _signature(inputs, outputs, classes)
    notes: list[str] = []
    if request.sample is not None:
        rows = sample.rows_of(sample.read(request.sample), signature)
    else:
        rows = _invent(target, signature)
        notes.append("no sample was given: one of random numbers was made up")
    signature = _judge(target, signature, rows)
    return Prepared(
        folder=folder,
        source="onnx",
        signature=signature,
        runtimes=("onnx",),
        rows=rows,
        given=request.sample is not None,
        notes=notes,
    )


def _signature(
    inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...], classes: tuple[Label, ...]
) -> Signature:
    batched = bool(inputs) and all(s.shape and s.shape[0] in (-1, 1) for s in (*inputs, *outputs))
    label = next(
        (s for s in outputs if s.name in _LABELS and s.datatype in ("INT64", "BYTES") and len(s.shape) == 1), None
    )
    chances = next((s for s in outputs if s.name in _PROBABILITIES and len(s.shape) == 2), None)
    value = len(outputs) == 1 and outputs[0].name == "variable" and outputs[0].shape[1:] in ((), (1,))
    if label is None and not value:
        return Signature(task="other", inputs=inputs, outputs=_roles(outputs, {}), batched=batched)
    if label is None:
        return Signature(
            task="regression", inputs=inputs, outputs=_roles(outputs, {outputs[0].name: "value"}), batched=batched
        )
    roles = {label.name: "label", **({chances.name: "probabilities"} if chances else {})}
    if not classes and chances is not None and label.datatype == "INT64" and chances.shape[1] > 0:
        classes = tuple(range(chances.shape[1]))
    return Signature(
        task="classification", inputs=inputs, outputs=_roles(outputs, roles), labels=classes, batched=batched
    )


def _roles(specs: tuple[TensorSpec, ...], roles: dict[str, Any]) -> tuple[OutputSpec, ...]:
    return tuple(
        OutputSpec(name=s.name, datatype=s.datatype, shape=s.shape, role=roles.get(s.name, "other")) for s in specs
    )


def _invent(target: Path, signature: Signature) -> Tensors:
    """Rows of the first size that the model answers. Raises InvalidInput when it answers none."""
    session = open_session("onnx", target, signature, SessionOptions())
    sizes = _SIZES if any(-1 in spec.shape[1:] for spec in signature.inputs) else (1,)
    why: Exception | None = None
    for size in sizes:
        rows = draw.blank(signature, np.random.default_rng(4), 1 if _heavy(signature) else 8, size)
        try:
            session.run(sample.narrow(tuple(x[:1] if signature.batched else x for x in rows), signature))
        except Exception as error:  # noqa: BLE001  (the model decides what it can answer)
            why = error
            continue
        session.close()
        return rows
    session.close()
    raise InvalidInput(
        f"no made-up input satisfies the model ({str(why)[:300]}); give one with --sample",
        expected=", ".join(f"{s.name}: {s.datatype}{list(s.shape)}" for s in signature.inputs),
    )


def _heavy(signature: Signature) -> bool:
    return any(int(np.prod(np.abs(spec.shape))) > 1_000_000 for spec in signature.inputs)


def _judge(target: Path, signature: Signature, rows: Tensors) -> Signature:
    """The signature with `batched` as two rows prove it: every output must have as many rows as the inputs."""
    if not signature.batched:
        return signature
    session = open_session("onnx", target, signature, SessionOptions())
    try:
        one = session.run(sample.narrow(tuple(x[:1] for x in rows), signature))
        if any(s.shape[0] == 1 for s in signature.inputs):
            return signature
        two = session.run(sample.narrow(tuple(x[[0, 0]] for x in rows), signature))
    except KanameError:
        raise
    except Exception as error:
        if "one" not in locals():
            raise InvalidInput(f"the model cannot answer the sample: {error}", where="sample") from error
        return signature
    finally:
        session.close()
    counts = all(x.ndim and len(x) == 1 for x in one) and all(x.ndim and len(x) == 2 for x in two)
    return signature if counts else msgspec.structs.replace(signature, batched=False)


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
