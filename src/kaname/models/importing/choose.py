"""The last part of every import: compare each runtime with the original, profile it, keep the fastest that passes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

from kaname.errors import InvalidInput, KanameError, ModelFailed, Unavailable
from kaname.models.importing import draw, parity, sample
from kaname.models.importing.devices import agree_with_cpu
from kaname.models.importing.types import Imported, ImportRequest, Prepared, Tensors
from kaname.models.types import Parity, RuntimeChoice, VersionInfo
from kaname.runtimes.catalog import FILES, HEAVY, begin, open_session
from kaname.runtimes.device_memory import used_bytes
from kaname.runtimes.memory import measured
from kaname.runtimes.profile import profile
from kaname.runtimes.types import PLAIN, Profile, Session, SessionOptions
from kaname.signature import OutputSpec, Signature

_DRAWN_ROWS = 4_000
_PROFILE_ROWS = 64
_TIE = 0.03
_WORTH = 2.0
"""How many times faster a runtime must be that costs every worker half a gigabyte."""
_NAMES = {
    "onnx": "ONNX Runtime",
    "lightgbm": "native LightGBM",
    "xgboost": "native XGBoost",
    "python": "Python",
    "litert": "LiteRT",
    "pytorch": "PyTorch",
    "torchscript": "TorchScript",
    "tensorflow": "TensorFlow",
}


def finish(prepared: Prepared, request: ImportRequest) -> Imported:
    """Turn a prepared artefact into an imported one.

    Raises InvalidInput with the figures when no runtime answers as the original does.
    """
    rng = np.random.default_rng(20)
    checked = _parity_rows(prepared, rng)
    originals = None if prepared.original is None else _answers(prepared.original, checked, prepared.signature)
    signature = prepared.signature
    company = sample.narrow(_head(_profile_rows(prepared, rng), _PROFILE_ROWS), signature)
    choices = [_measure(name, prepared, request, checked, originals, company) for name in prepared.runtimes]
    chosen = _fastest(choices)
    if chosen is None:
        raise _refusal(choices, request)
    choices = _explain(choices, chosen)
    assert chosen.profile is not None
    signature = _precise(signature) if chosen.runtime in prepared.precise else signature
    body = _body(prepared, signature, rng)
    return Imported(
        files=prepared.folder,
        source=prepared.source,
        runtime=chosen.runtime,
        signature=signature,
        profile=chosen.profile,
        choices=tuple(choices),
        sample=body,
        notes=(*prepared.notes, *_notes(choices, prepared)),
    )


def again(
    version: VersionInfo, artefact: Path, options: SessionOptions = PLAIN
) -> tuple[Profile, str, tuple[RuntimeChoice, ...]]:
    """Profile every runtime of a version that passed parity at its import; the fastest is chosen."""
    rng = np.random.default_rng(20)
    signature = version.signature
    rows = _rows_again(version, rng)
    company = sample.narrow(rows, signature)
    known = version.choices or (RuntimeChoice(runtime=version.runtime, file=FILES[version.runtime], chosen=True),)
    choices = []
    for choice in known:
        if choice.profile is None and not choice.chosen:
            choices.append(choice)
            continue
        found = _profile(choice.runtime, artefact, signature, company, options)
        choices.append(msgspec.structs.replace(choice, profile=found, chosen=False))
    chosen = _fastest(choices)
    assert chosen is not None
    assert chosen.profile is not None
    return chosen.profile, chosen.runtime, tuple(_explain(choices, chosen))


# --- rows -----------------------------------------------------------------------------------------------


def _parity_rows(prepared: Prepared, rng: np.random.Generator) -> Tensors:
    """Given rows first, then rows like them, then rows drawn from the domains."""
    parts = [prepared.rows] if _count(prepared.rows) else []
    if parts and prepared.signature.batched:
        parts = [draw.near(prepared.rows, prepared.signature, _count(prepared.rows) + 200, rng)]
    if prepared.domains:
        parts.append(draw.draw(prepared.domains, prepared.signature, _DRAWN_ROWS, rng))
    return tuple(np.concatenate(columns) for columns in zip(*parts, strict=True)) if len(parts) > 1 else parts[0]


def _profile_rows(prepared: Prepared, rng: np.random.Generator) -> Tensors:
    if not prepared.signature.batched:
        return prepared.rows
    if prepared.given or not prepared.domains:
        return draw.near(prepared.rows, prepared.signature, _PROFILE_ROWS, rng)
    return draw.draw(prepared.domains, prepared.signature, _PROFILE_ROWS, rng, missing=False)


def _rows_again(version: VersionInfo, rng: np.random.Generator) -> Tensors:
    signature = version.signature
    if version.sample is None:
        return draw.blank(signature, rng, _PROFILE_ROWS, 1)
    features = version.sample["features"]
    assert isinstance(features, dict)
    if not signature.batched:
        return tuple(np.array(features[s.name], dtype=sample.wide(s)) for s in signature.inputs)
    return draw.near(sample.rows_of(sample.Sample(records=[features]), signature), signature, _PROFILE_ROWS, rng)


def _body(prepared: Prepared, signature: Signature, rng: np.random.Generator) -> dict[str, object]:
    if _count(prepared.rows):
        return sample.body_of(prepared.rows, signature)
    rows = draw.draw(prepared.domains, signature, 1, rng, missing=False)
    rounded = tuple(np.round(x, 4) if x.dtype.kind == "f" else x for x in rows)
    return sample.body_of(rounded, signature)


def _count(rows: Tensors) -> int:
    return len(rows[0]) if rows and rows[0].ndim else len(rows)


def _head(rows: Tensors, count: int) -> Tensors:
    return tuple(x[:count] if x.ndim else x for x in rows)


# --- measure and choose ---------------------------------------------------------------------------------


def _measure(
    runtime: str,
    prepared: Prepared,
    request: ImportRequest,
    rows: Tensors,
    originals: Tensors | None,
    company: Tensors,
) -> RuntimeChoice:
    """One runtime's parity and, when it passes, its profile; a runtime that cannot run the model says why."""
    choice = RuntimeChoice(runtime=runtime, file=FILES[runtime])
    alternative = bool(prepared.precise - {runtime})
    try:
        found = None if originals is None else _parity(runtime, prepared, request, rows, originals)
        if found is not None:
            choice = msgspec.structs.replace(choice, parity=found)
            if not parity.passes(found, alternative=alternative, max_share=request.max_share):
                return msgspec.structs.replace(choice, reason=f"differs from the original: {figures(found)}")
        measured = _profile(runtime, prepared.folder, prepared.signature, company, request.options)
    except KanameError as error:
        if len(prepared.runtimes) == 1:
            raise
        return msgspec.structs.replace(choice, reason=str(error))
    return msgspec.structs.replace(choice, profile=measured)


def _parity(runtime: str, prepared: Prepared, request: ImportRequest, rows: Tensors, originals: Tensors) -> Parity:
    session = open_session(runtime, prepared.folder, prepared.signature, SessionOptions())
    try:
        found = _answers(session.run, sample.narrow(rows, prepared.signature), prepared.signature)
    except KanameError:
        raise
    except Exception as error:
        raise ModelFailed(f"{_NAMES[runtime]} cannot run the model: {error}") from error
    finally:
        session.close()
    return parity.compare(originals, found, prepared.signature, request.tolerance)


def _answers(run: Callable[[Tensors], Tensors], rows: Tensors, signature: Signature) -> Tensors:
    """What `run` answers: to all rows at once, or one by one where the model takes no more."""
    if not signature.batched or all(spec.shape[0] == -1 for spec in signature.inputs):
        return run(rows)
    return draw.one_by_one(run, rows)


def _profile(runtime: str, folder: Path, signature: Signature, company: Tensors, options: SessionOptions) -> Profile:
    begin(runtime, options)  # its library is no part of a session
    before = used_bytes()
    session, size = measured(lambda: open_session(runtime, folder, signature, options))
    try:
        device = getattr(session, "device", "cpu")
        if device != "cpu":
            company = _that_fit(session, signature, company)
            agree_with_cpu(session, device, runtime, folder, signature, company)
        found = profile(session, signature, company)
        taken = max(used_bytes() - before, 0) if device != "cpu" else 0
        return msgspec.structs.replace(found, session_bytes=size, device=device, device_bytes=taken)
    except KanameError:
        raise
    except Exception as error:
        raise ModelFailed(f"{_NAMES[runtime]} cannot run the model on its sample: {error}") from error
    finally:
        session.close()


def _that_fit(session: Session, signature: Signature, company: Tensors) -> Tensors:
    """As many of the rows as the device's memory holds at once."""
    while True:
        try:
            session.run(company)
        except Unavailable:
            if not signature.batched or len(company[0]) == 1:
                raise
            company = _head(company, max(len(company[0]) // 4, 1))
        else:
            return company


def _fastest(choices: list[RuntimeChoice]) -> RuntimeChoice | None:
    """By one row; within 3% of each other, by a row of the best batch. Heavy libraries must be worth their memory."""
    able = [(choice, choice.profile) for choice in choices if choice.profile is not None]
    light = [found.us[0] for choice, found in able if choice.runtime not in HEAVY]
    if light:
        bound = min(light) / _WORTH
        able = [(choice, found) for choice, found in able if choice.runtime not in HEAVY or found.us[0] < bound]
    if not able:
        return None
    least = min(found.us[0] for _, found in able)
    tied = [(choice, found) for choice, found in able if found.us[0] <= least * (1 + _TIE)]
    return min(tied, key=lambda pair: pair[1].us_at(pair[1].best_rows) / pair[1].best_rows)[0]


def _explain(choices: list[RuntimeChoice], chosen: RuntimeChoice) -> list[RuntimeChoice]:
    able = [choice for choice in choices if choice.profile is not None]
    return [_explained(choice, chosen, able, len(choices)) for choice in choices]


def _explained(choice: RuntimeChoice, chosen: RuntimeChoice, able: list[RuntimeChoice], total: int) -> RuntimeChoice:
    if choice.profile is None:
        return choice
    assert chosen.profile is not None
    time = f"{choice.profile.us[0]:.1f} µs per row alone"
    if choice is not chosen and choice.runtime in HEAVY and choice.profile.us[0] < chosen.profile.us[0]:
        reason = f"not {_WORTH:g} times as fast, which alone would be worth its memory: {time}"
    elif choice is not chosen:
        reason = f"slower: {time}"
    elif total == 1:
        reason = f"the only runtime for this model: {time}"
    elif len(able) == 1:
        reason = f"the only runtime that answers as the original does: {time}"
    else:
        reason = f"the fastest that answers as the original does: {time}"
    return msgspec.structs.replace(choice, chosen=choice is chosen, reason=reason)


def _precise(signature: Signature) -> Signature:
    """Doubles out of a runtime that computes in doubles."""
    if all(spec.datatype != "FP64" for spec in signature.inputs):
        return signature

    def widened(spec: OutputSpec) -> OutputSpec:
        return msgspec.structs.replace(spec, datatype="FP64") if spec.datatype == "FP32" else spec

    return msgspec.structs.replace(signature, outputs=tuple(widened(spec) for spec in signature.outputs))


# --- words ----------------------------------------------------------------------------------------------


def figures(found: Parity) -> str:
    """The parity in words."""
    return (
        f"largest difference {found.max_difference:.3g}, {found.share_beyond:.3%} of {found.rows} rows beyond "
        f"{found.tolerance:g} or with another label"
    )


def _notes(choices: list[RuntimeChoice], prepared: Prepared) -> list[str]:
    notes = []
    for choice in choices:
        name = _NAMES[choice.runtime]
        if choice.profile is None:
            fallback = next(_NAMES[other.runtime] for other in choices if other.chosen)
            notes.append(f"{name} is not used ({choice.reason}); {fallback} answers instead")
        elif choice.parity is not None and choice.runtime not in prepared.precise:
            notes.append(f"{name} agrees with the original: {figures(choice.parity)}")
    profiled = next((choice.profile for choice in choices if choice.chosen), None)
    if profiled is not None and prepared.signature.batched and not profiled.splits:
        notes.append("its rows influence each other or its outputs do not split by rows: requests never share a run")
    elif profiled is not None and prepared.signature.batched and not profiled.exact:
        notes.append("batching changes its answers: requests run alone unless batch_tolerance is set")
    return notes


def _refusal(choices: list[RuntimeChoice], request: ImportRequest) -> InvalidInput:
    reasons = "; ".join(f"{_NAMES[choice.runtime]} {choice.reason}" for choice in choices)
    return InvalidInput(
        f"the converted model does not answer as the original does ({reasons}); raise tolerance or max_share if "
        "that is good enough, or wrap the original in a Python model (file.py:ClassName)",
        where=str(request.path),
        expected=f"at most {request.max_share:.3%} of rows beyond {request.tolerance:g}",
    )
