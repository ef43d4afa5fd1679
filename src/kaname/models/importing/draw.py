"""Rows drawn where a model may be: among thresholds, categories and ranges, and near given rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kaname.models.importing.sample import assemble, wide
from kaname.models.importing.types import Domain, Tensors
from kaname.signature import Signature
from kaname.tensors import Tensor

_MISSING = 0.05
"""Share of cells of a nullable feature that are drawn as missing."""


def draw(
    domains: tuple[Domain, ...], signature: Signature, count: int, rng: np.random.Generator, *, missing: bool = True
) -> Tensors:
    """`count` rows of a tabular model, each cell from the domain of its feature, half of them at its points."""
    columns = []
    for domain, feature in zip(domains, signature.features, strict=True):
        cells = _cells(domain, count, rng)
        if feature.datatype == "BYTES":
            columns.append([str(cell).encode() for cell in cells])
            continue
        if missing and feature.nullable:
            cells = [np.nan if hit else cell for cell, hit in zip(cells, rng.random(count) < _MISSING, strict=True)]
        columns.append(cells)
    return assemble(columns, signature)


def _cells(domain: Domain, count: int, rng: np.random.Generator) -> list[Any]:
    if domain.choices:
        return [domain.choices[i] for i in rng.integers(len(domain.choices), size=count)]
    cells = rng.uniform(domain.low, domain.high, count)
    if domain.whole:
        cells = np.round(cells)
    if domain.points:
        points = np.array(domain.points)
        cells = np.where(rng.random(count) < 0.5, points[rng.integers(len(points), size=count)], cells)
    return list(cells.tolist())


def near(rows: Tensors, signature: Signature, count: int, rng: np.random.Generator) -> Tensors:
    """`count` rows that resemble the given ones: floats moved a little, everything else mixed among the rows.

    The given rows come first. Tabular inputs mix column by column, tensors row by row.
    """
    found = []
    for spec, given in zip(signature.inputs, rows, strict=True):
        have = len(given)
        index = rng.integers(have, size=max(0, count - have))
        extra = given[index]
        if given.ndim == 2 and signature.features:
            extra = np.stack([given[rng.integers(have, size=len(index)), k] for k in range(given.shape[1])], axis=1)
        if wide(spec).kind == "f":
            extra = _moved(extra, given, signature, rng)
        found.append(np.concatenate([given[:count], extra.astype(given.dtype, copy=False)]))
    return tuple(found)


def _moved(extra: Tensor, given: Tensor, signature: Signature, rng: np.random.Generator) -> Tensor:
    finite = given[np.isfinite(given)]
    spread = float(np.std(finite)) if finite.size else 1.0
    moved: Tensor = extra * (1 + rng.normal(0, 0.05, extra.shape)) + rng.normal(0, 0.02 * spread + 1e-6, extra.shape)
    for k, feature in enumerate(signature.features if signature.layout == "matrix" else ()):
        if feature.categories is not None:
            moved[:, k] = extra[:, k]
    return moved


def one_by_one(run: Callable[[Tensors], Tensors], rows: Tensors) -> Tensors:
    """What `run` answers to each row alone, as if it had answered them together."""
    answers = [run(tuple(x[i : i + 1] for x in rows)) for i in range(len(rows[0]))]
    return tuple(np.concatenate(parts) for parts in zip(*answers, strict=True))


def blank(signature: Signature, rng: np.random.Generator, count: int, free: int) -> Tensors:
    """Rows for plain tensors of which nothing is known; sizes that vary become `free`.

    Image-like inputs (four dimensions) are uniform in 0..1, other floats standard normal, integers 0 or 1.
    """
    found = []
    for spec in signature.inputs:
        tail = tuple(free if size == -1 else size for size in spec.shape[1:])
        head = () if not spec.shape else (count,) if spec.shape[0] == -1 else (spec.shape[0],)
        shape = (*head, *tail)
        dtype = wide(spec)
        if dtype.kind == "O":
            array: Tensor = np.full(shape, b"text", dtype=object)
        elif dtype.kind == "f":
            array = rng.random(shape) if len(shape) == 4 else rng.normal(size=shape)
            array = np.round(array, 4)
        else:
            array = rng.integers(0, 2, size=shape).astype(dtype)
        found.append(array)
    return tuple(found)
