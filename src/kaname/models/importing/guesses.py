"""Inputs of a program that does not say what it takes: the sample's shapes, and the types that the program accepts."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from kaname.errors import InvalidInput
from kaname.models.importing import sample
from kaname.models.importing.sample import Sample
from kaname.models.importing.types import Tensors
from kaname.signature import Signature
from kaname.tensors import NUMPY_OF, Datatype, Tensor, TensorSpec, datatype_of

_TRIED: dict[str, tuple[Datatype, ...]] = {
    "f": ("FP32", "FP64"),
    "i": ("FP32", "INT64", "INT32"),
    "u": ("FP32", "INT64", "UINT8"),
    "b": ("BOOL", "FP32"),
}
"""By kind of the sample's values. Whole numbers in JSON are mostly meant as numbers; what looks them up in a table says
so by refusing fractions."""
_TYPED = (".npy", ".npz")
"""Samples whose own types come first."""
_EXAMPLES = 3

Answer = Callable[[Sequence[Tensor]], Any]


def parameters(function: Callable[..., Any], given: Sample) -> tuple[str, ...]:
    """Names of the tensors that a function takes: those of the sample, or its only parameter without a default."""
    known = inspect.signature(function).parameters
    if given.records is None:
        return (next(iter(known), "input"),)
    needed = [
        name for name, p in known.items() if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    _demand(needed, given)
    return tuple(name for name in known if name in given.names) or tuple(given.names)


def _demand(names: Sequence[str], given: Sample) -> None:
    if missing := [name for name in names if name not in given.names]:
        raise InvalidInput(
            "the sample lacks inputs", where="sample", found=", ".join(given.names), expected=", ".join(missing)
        )


def accepted(
    names: tuple[str, ...], path: Path, given: Sample, answer: Answer
) -> tuple[tuple[TensorSpec, ...], Tensors]:
    """The first types with which the program answers the sample, and its rows as such.

    Raises InvalidInput with what the program said of the first.
    """
    arrays = _arrays(names, given)
    said: Exception | None = None
    for datatypes in product(*(_candidates(array, path) for array in arrays)):
        specs = _specs(names, arrays, datatypes)
        try:
            answer([array.astype(NUMPY_OF[kind]) for array, kind in zip(arrays, datatypes, strict=True)])
        except Exception as error:  # noqa: BLE001  (the program decides what it takes)
            said = said or error
            continue
        return specs, sample.rows_of(given, Signature(task="other", inputs=specs, outputs=()))
    raise InvalidInput(f"the model cannot answer the sample: {str(said)[:300]}", where="sample") from said


def examples(specs: Sequence[TensorSpec], rows: Tensors) -> list[Tensor]:
    """A few rows, more than one so that their number is not taken for a fixed size."""
    index = [i % len(rows[0]) for i in range(_EXAMPLES)]
    return [x[index].astype(NUMPY_OF[spec.datatype]) for spec, x in zip(specs, rows, strict=True)]


def _arrays(names: tuple[str, ...], given: Sample) -> list[Tensor]:
    if given.records is None:
        return [given.array]
    _demand(names, given)
    return [np.array(given.column(name)) for name in names]


def _candidates(array: Tensor, path: Path) -> Iterator[Datatype]:
    tried = _TRIED.get(array.dtype.kind)
    if tried is None:
        raise InvalidInput("a PyTorch model takes numbers", where="sample", found=str(array.dtype))
    own: tuple[Datatype, ...] = (datatype_of(array.dtype),) if path.suffix.lower() in _TYPED else ()
    yield from dict.fromkeys((*own, *tried))


def _specs(names: tuple[str, ...], arrays: Sequence[Tensor], datatypes: Sequence[Datatype]) -> tuple[TensorSpec, ...]:
    """Any number of rows; sequences of whole numbers (words, say) may have any length, and what goes with them."""
    lengths = {
        size
        for array, kind in zip(arrays, datatypes, strict=True)
        for size in array.shape[1:]
        if kind in ("INT64", "INT32")
    }
    return tuple(
        TensorSpec(name=name, datatype=kind, shape=(-1, *(-1 if size in lengths else size for size in array.shape[1:])))
        for name, array, kind in zip(names, arrays, datatypes, strict=True)
    )
