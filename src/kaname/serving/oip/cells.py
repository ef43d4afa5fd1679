"""Checks of tabular input that its datatype alone does not make: nulls, NaN, infinities, category codes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kaname.errors import InvalidInput
from kaname.signature import Feature, Signature
from kaname.tensors import FLOATS, Tensor

Check = Callable[[Sequence[Sequence[Any]]], None]


def check_for(features: Sequence[Feature]) -> Check | None:
    """The check of rows of cells; None when no row can fail it (JSON has no NaN, and the decoder knows null)."""
    nullable = [feature.nullable for feature in features]
    mixed = any(nullable) and not all(nullable)
    coded = [(i, feature, len(feature.categories)) for i, feature in enumerate(features) if feature.categories]
    if not mixed and not coded:
        return None
    required = [(i, feature) for i, feature in enumerate(features) if not feature.nullable] if mixed else []

    def check(table: Sequence[Sequence[Any]]) -> None:
        for r, row in enumerate(table):
            for i, feature in required:
                if row[i] is None:
                    raise InvalidInput("null", where=place(r, feature), found="null", expected="a value")
            for i, feature, count in coded:
                code = row[i]
                if code is not None and not (0 <= code < count and code == int(code)):
                    raise _no_code(code, r, feature)

    return check


def check_tensors(signature: Signature, tensors: Sequence[Tensor]) -> None:
    """Refuse what a tabular model may not be given in binary form, naming the row and the feature."""
    if signature.layout == "matrix":
        matrix = tensors[0]
        if matrix.dtype.kind == "f" and not np.isfinite(matrix).all():
            for i, feature in enumerate(signature.features):
                _check_floats(matrix[:, i], feature)
        for i, feature in enumerate(signature.features):
            if feature.categories:
                _check_codes(matrix[:, i], feature)
        return
    for tensor, feature in zip(tensors, signature.features, strict=True):
        column = tensor.reshape(-1)
        if tensor.dtype.kind == "f":
            _check_floats(column, feature)
        if feature.categories and tensor.dtype.kind != "O":
            _check_codes(column, feature)


def _check_floats(column: Tensor, feature: Feature) -> None:
    if feature.nullable:
        return
    bad = ~np.isfinite(column)
    if bad.any():
        row = int(np.argmax(bad))
        raise InvalidInput(
            "not a number", where=place(row, feature), found=str(column[row]), expected="a finite number"
        )


def _check_codes(column: Tensor, feature: Feature) -> None:
    values = column.astype(np.float64)
    missing = np.isnan(values) if feature.nullable else np.zeros(len(values), dtype=bool)
    good = (values >= 0) & (values < len(feature.categories or ())) & (values == np.floor(values))
    bad = ~(good | missing)
    if bad.any():
        row = int(np.argmax(bad))
        raise _no_code(values[row], row, feature)


def codes_of(values: Sequence[Any], feature: Feature) -> list[float | None]:
    """The positions of category names (str or UTF-8 bytes). An unknown one is missing when `feature` is nullable."""
    codes: dict[Any, float] = {name: float(i) for i, name in enumerate(feature.categories or ())}
    codes |= {name.encode(): code for name, code in codes.items()}
    found = [codes.get(value) for value in values]
    if not feature.nullable and None in found:
        row = found.index(None)
        expected = f"one of {_some(feature.categories or ())}"
        raise InvalidInput(
            "unknown category", where=place(row, feature), found=repr(values[row])[:80], expected=expected
        )
    return found


def place(row: int, feature: Feature) -> str:
    """A cell, for people."""
    return f"inputs: row {row}, feature {feature.name!r}"


def floating(datatype: str) -> bool:
    """Whether a missing value has a form in this datatype."""
    return datatype in FLOATS


def _no_code(code: object, row: int, feature: Feature) -> InvalidInput:
    names = feature.categories or ()
    expected = f"a whole number from 0 to {len(names) - 1} (the position in {_some(names)})"
    return InvalidInput("no such category code", where=place(row, feature), found=str(code), expected=expected)


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:12])
    return shown if len(names) <= 12 else f"{shown}, … ({len(names)} in all)"
