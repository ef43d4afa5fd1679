"""TorchScript archives: kept as they are, their ONNX form beside them. They declare no sizes: a sample shows them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kaname.errors import InvalidInput
from kaname.models.importing import converted, guesses, plain, sample
from kaname.models.importing.pytorch import answers
from kaname.models.importing.types import ImportRequest, Prepared, Tensors
from kaname.runtimes import pytorch
from kaname.runtimes.catalog import FILES
from kaname.signature import OutputSpec, Signature
from kaname.tensors import Tensor, TensorSpec


def prepare(request: ImportRequest, folder: Path) -> Prepared:
    """Import what `torch.jit.save` wrote. Raises InvalidInput without a sample."""
    if request.sample is None:
        raise InvalidInput(
            "a TorchScript program does not say which sizes and types it takes: give rows with --sample",
            where=str(request.path),
        )
    target = folder / FILES["torchscript"]
    shutil.copyfile(request.path, target)
    script = pytorch.load_script(target)
    given = sample.read(request.sample)
    specs, rows = guesses.accepted(script.names, request.sample, given, lambda arrays: call(script, arrays))
    return from_folder(folder, specs, rows)


def from_folder(folder: Path, specs: tuple[TensorSpec, ...], rows: Tensors) -> Prepared:
    """Import the program that lies in `folder` already, with inputs that are known."""
    script = pytorch.load_script(folder / FILES["torchscript"])
    outputs = _observed(script, specs, rows)
    signature = plain.judged("torchscript", folder, plain.signature_of(specs, outputs), rows)
    prepared = Prepared(
        folder=folder,
        source="torchscript",
        signature=signature,
        runtimes=("torchscript",),
        rows=rows,
        original=answers(script, signature),
        precise=frozenset({"torchscript"}),
        given=True,
    )
    return converted.add_onnx(prepared, lambda file: _convert(script, signature, rows, file))


def call(program: Callable[[Sequence[Any]], Any], arrays: Sequence[Tensor]) -> dict[str, Any]:
    """The named tensors that a program answers arrays with."""
    torch = pytorch.library()
    with torch.inference_mode():
        return pytorch.named_outputs(program([torch.tensor(x) for x in arrays]))


def _observed(script: pytorch.Script, specs: tuple[TensorSpec, ...], rows: Tensors) -> tuple[OutputSpec, ...]:
    """What the outputs look like: sizes that differ between runs of several sizes vary."""
    runs = [call(script, arrays) for arrays in _runs(script, specs, rows)]
    if not runs:
        raise InvalidInput("the program answers neither one row of the sample nor several alike", where="sample")
    found = []
    for name, value in runs[0].items():
        spec = pytorch.spec_of(name, value)
        sizes = zip(*(run[name].shape for run in runs), strict=True)
        shape = tuple(each[0] if len(set(each)) == 1 else -1 for each in sizes)
        found.append(OutputSpec(name=name, datatype=spec.datatype, shape=shape))
    return tuple(found)


def _runs(script: pytorch.Script, specs: tuple[TensorSpec, ...], rows: Tensors) -> list[list[Tensor]]:
    """Several rows, one fewer, one alone, and shorter sequences, as far as the program takes them."""
    few = guesses.examples(specs, rows)
    tried = [
        few,
        [x[:-1] for x in few],
        [x[:1] for x in few],
        [_shorter(x, s) for x, s in zip(few, specs, strict=True)],
    ]
    return [arrays for arrays in tried if _takes(script, arrays)]


def _takes(script: pytorch.Script, arrays: list[Tensor]) -> bool:
    try:
        call(script, arrays)
    except Exception:  # noqa: BLE001  (the program decides what it takes)
        return False
    return True


def _shorter(array: Tensor, spec: TensorSpec) -> Tensor:
    """Every size behind the rows that may vary, less one."""
    cuts = [
        slice(0, max(1, have - 1)) if size == -1 else slice(None)
        for have, size in zip(array.shape, spec.shape, strict=True)
    ]
    return array[(slice(None), *cuts[1:])]


def _convert(script: pytorch.Script, signature: Signature, rows: Tensors, file: Path) -> None:
    torch = pytorch.library()
    tensors = tuple(torch.tensor(x) for x in guesses.examples(signature.inputs, rows))
    free = {
        spec.name: {k: f"{spec.name}_{k}" for k, size in enumerate(spec.shape) if size == -1}
        for spec in (*signature.inputs, *signature.outputs)
    }
    torch.onnx.export(
        _flat(script, tensors),
        tensors,
        str(file),
        dynamo=False,
        input_names=list(script.names),
        output_names=[spec.name for spec in signature.outputs],
        dynamic_axes=free,
    )


def _flat(script: pytorch.Script, tensors: tuple[Any, ...]) -> Any:
    """The program with a tuple as its answer, all that the converter knows; one with branches cannot be traced so."""
    torch, module = pytorch.library(), script.module
    graph = str(module.inlined_graph)
    if "prim::If" in graph or "prim::Loop" in graph:
        return module

    def forward(_: Any, *given: Any) -> tuple[Any, ...]:
        return tuple(pytorch.named_outputs(script(given)).values())

    flat = type("Flat", (torch.nn.Module,), {"forward": forward})()
    flat.add_module("script", module)
    return torch.jit.trace(flat, tensors, check_trace=False)
