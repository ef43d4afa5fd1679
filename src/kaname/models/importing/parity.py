"""Whether a conversion answers as the original does, on given rows and on rows drawn where it is sensitive."""

from __future__ import annotations

import sys

import numpy as np

from kaname.models.importing.types import Tensors
from kaname.models.types import Parity
from kaname.signature import Signature
from kaname.tensors import Tensor


def compare(original: Tensors, found: Tensors, signature: Signature, tolerance: float) -> Parity:
    """The largest difference of any number, and the share of rows with a number beyond `tolerance` or another label.

    The tolerance is absolute below 1 and relative above. A number that is missing on one side only counts as
    the largest possible difference. Where rows do not split, all is one row.
    """
    if not signature.batched:
        original, found = (tuple(np.asarray(x)[None] for x in side) for side in (original, found))
    rows = len(original[0])
    beyond = np.zeros(rows, dtype=bool)
    largest = 0.0
    for spec, left, right in zip(signature.outputs, original, found, strict=True):
        if left.shape != right.shape:
            beyond[:] = True
            largest = sys.float_info.max
        elif spec.role == "label" or left.dtype.kind not in "fiu":
            beyond |= _any_row(left != right)
        else:
            distance = _distance(left, right)
            largest = max(largest, float(distance.max(initial=0.0)))
            scale = np.maximum(1.0, np.abs(np.nan_to_num(left.astype(np.float64))))
            beyond |= _any_row(distance > tolerance * scale)
    share = float(beyond.mean()) if rows else 0.0
    return Parity(rows=rows, max_difference=largest, share_beyond=share, tolerance=tolerance)


def passes(parity: Parity, *, alternative: bool, max_share: float) -> bool:
    """With a native runtime to fall back to, no row may be beyond the tolerance; without, `max_share` of them."""
    return parity.share_beyond <= (0.0 if alternative else max_share)


def _distance(left: Tensor, right: Tensor) -> Tensor:
    with np.errstate(invalid="ignore", over="ignore"):
        distance = np.abs(left.astype(np.float64) - right.astype(np.float64))
    same = (left == right) | (np.isnan(left) & np.isnan(right))
    return np.where(same, 0.0, np.where(np.isfinite(distance), distance, sys.float_info.max))


def _any_row(different: Tensor) -> Tensor:
    return np.asarray(np.asarray(different, dtype=bool).reshape(len(different), -1).any(axis=1))
