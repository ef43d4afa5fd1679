"""Pickled modules of PyTorch: exported here for the rows of a sample, or traced where that cannot be done."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kaname.errors import CorruptData, InvalidInput
from kaname.models.importing import draw, guesses, pytorch, sample, torchscript
from kaname.models.importing.pickles import importable
from kaname.models.importing.types import ImportRequest, Prepared
from kaname.runtimes.catalog import FILES
from kaname.runtimes.pytorch import library
from kaname.tensors import Tensor, TensorSpec

_EXPECTED = "a torch.nn.Module, or better what torch.export.save writes"


class Module:
    """A module under the names of the inputs that its sample has; see `runtimes.pytorch.Program`."""

    dtypes = None

    def __init__(self, module: Any, names: tuple[str, ...]) -> None:
        self.module = module
        self.names = names

    def __call__(self, tensors: Sequence[Any]) -> Any:
        """See `Program`."""
        return self.module(**dict(zip(self.names, tensors, strict=True)))


def prepare(request: ImportRequest, folder: Path) -> Prepared:
    """Import what `torch.save(module)` wrote, with a sample, for any number of rows like those of the sample."""
    with importable(request.path.parent):
        return from_module(_unpickled(request.path), request, folder)


def from_module(module: Any, request: ImportRequest, folder: Path) -> Prepared:
    """Import a module that is in memory."""
    if request.sample is None:
        raise InvalidInput(
            "a PyTorch module does not say what it takes: give rows with --sample", where=str(request.path)
        )
    given = sample.read(request.sample)
    program = Module(module.eval(), guesses.parameters(module.forward, given))
    specs, rows = guesses.accepted(
        program.names, request.sample, given, lambda arrays: torchscript.call(program, arrays)
    )
    examples = guesses.examples(specs, rows)
    try:
        _export(program, specs, examples, folder / FILES["pytorch"])
    except Exception as error:  # noqa: BLE001  (torch raises anything; a trace may do)
        _trace(program, examples, folder / FILES["torchscript"], error)
        prepared = torchscript.from_folder(folder, specs, rows)
        # The module itself is what a trace must agree with, wherever each row alone makes it go.
        original = pytorch.answers(program, prepared.signature)
        prepared.original = lambda rows: draw.one_by_one(original, rows)
        prepared.precise = frozenset()
        prepared.notes.append(f"torch.export cannot express it, so it was traced ({_first_line(error)})")
        return prepared
    return pytorch.from_folder(request, folder)


def _export(program: Module, specs: tuple[TensorSpec, ...], examples: list[Tensor], file: Path) -> None:
    torch = library()
    free = [{k: torch.export.Dim.AUTO for k, size in enumerate(spec.shape) if size == -1} for spec in specs]
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exported = torch.export.export(
            program.module,
            (),
            {name: torch.tensor(x) for name, x in zip(program.names, examples, strict=True)},
            dynamic_shapes=dict(zip(program.names, free, strict=True)),
        )
        torch.export.save(exported, str(file))


def _trace(program: Module, examples: list[Tensor], file: Path, why: Exception) -> None:
    torch = library()
    inputs = {name: torch.tensor(x) for name, x in zip(program.names, examples, strict=True)}
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.jit.save(torch.jit.trace(program.module, example_kwarg_inputs=inputs), str(file))
    except Exception as error:
        raise InvalidInput(
            f"the module can neither be exported ({_first_line(why)}) nor traced ({_first_line(error)}); wrap it in a "
            "Python model (file.py:ClassName)",
            found=type(program.module).__name__,
        ) from error


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200] if str(error).strip() else ''}"


def _unpickled(path: Path) -> Any:
    """The module in the pickle. Runs whatever code the file names."""
    torch = library()
    try:
        found = torch.load(str(path), map_location="cpu", weights_only=False)
    except Exception as error:
        raise CorruptData(f"the pickle cannot be read: {type(error).__name__}: {error}", where=str(path)) from error
    if isinstance(found, torch.nn.Module):
        return found
    if isinstance(found, dict):
        raise InvalidInput(
            "the file holds weights without their model", where=str(path), found="a dict", expected=_EXPECTED
        )
    raise InvalidInput(
        "the pickle holds no PyTorch module", where=str(path), found=type(found).__name__, expected=_EXPECTED
    )
