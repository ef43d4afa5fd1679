"""Models that take plain tensors: what their outputs mean, rows that they answer, and whether those are independent."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from kaname.errors import InvalidInput, KanameError
from kaname.models.importing import draw, sample
from kaname.models.importing.types import ImportRequest, Tensors
from kaname.runtimes.catalog import open_session
from kaname.runtimes.types import SessionOptions
from kaname.signature import Label, OutputSpec, Signature
from kaname.tensors import TensorSpec

_SIZES = (8, 1, 16, 32, 64, 128, 224, 256)
"""Tried in this order for dimensions that vary, when there is no sample."""
_LABELS = ("label", "output_label")
_PROBABILITIES = ("probabilities", "output_probability")


def signature_of(
    inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], classes: tuple[Label, ...] = ()
) -> Signature:
    """What the names of the outputs say: those that converters of classifiers and regressors use have a meaning."""
    batched = bool(inputs) and all(s.shape and s.shape[0] in (-1, 1) for s in (*inputs, *outputs))
    label = next(
        (s for s in outputs if s.name in _LABELS and s.datatype in ("INT64", "BYTES") and len(s.shape) == 1), None
    )
    chances = next((s for s in outputs if s.name in _PROBABILITIES and len(s.shape) == 2), None)
    value = len(outputs) == 1 and outputs[0].name == "variable" and outputs[0].shape[1:] in ((), (1,))
    inputs = tuple(inputs)
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


def _roles(specs: Sequence[TensorSpec], roles: dict[str, Any]) -> tuple[OutputSpec, ...]:
    return tuple(
        OutputSpec(name=s.name, datatype=s.datatype, shape=s.shape, role=roles.get(s.name, "other")) for s in specs
    )


def rows_for(runtime: str, folder: Path, signature: Signature, request: ImportRequest, notes: list[str]) -> Tensors:
    """The rows of the request's sample, or made-up ones that `runtime` answers; a note then says so."""
    if request.sample is not None:
        return sample.rows_of(sample.read(request.sample), signature)
    notes.append("no sample was given: one of random numbers was made up")
    return _invent(runtime, folder, signature)


def _invent(runtime: str, folder: Path, signature: Signature) -> Tensors:
    """Rows of the first size that the model answers. Raises InvalidInput when it answers none."""
    session = open_session(runtime, folder, signature, SessionOptions())
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


def judged(runtime: str, folder: Path, signature: Signature, rows: Tensors) -> Signature:
    """The signature with `batched` as its rows prove it. Raises InvalidInput when not even one is answered."""
    if not signature.batched or takes_rows(runtime, folder, signature, rows) is not False:
        return signature
    return msgspec.structs.replace(signature, batched=False)


def takes_rows(runtime: str, folder: Path, signature: Signature, rows: Tensors) -> bool | None:
    """Whether one row and two are answered with as many; None when two are refused, or none but one is declared.

    Raises InvalidInput when not even one is answered.
    """
    session = open_session(runtime, folder, signature, SessionOptions())
    try:
        one = session.run(sample.narrow(tuple(x[:1] for x in rows), signature))
        if any(s.shape[0] == 1 for s in signature.inputs):
            return None
        two = session.run(sample.narrow(tuple(x[[0, 0]] for x in rows), signature))
    except KanameError:
        raise
    except Exception as error:
        if "one" not in locals():
            raise InvalidInput(f"the model cannot answer the sample: {error}", where="sample") from error
        return None
    finally:
        session.close()
    return all(x.ndim and len(x) == 1 for x in one) and all(x.ndim and len(x) == 2 for x in two)
