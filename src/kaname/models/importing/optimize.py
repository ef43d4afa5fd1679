"""A version made smaller or faster, compared with what it was made of on the same rows."""

from __future__ import annotations

import tempfile
from pathlib import Path

import msgspec
import numpy as np

from kaname.errors import InvalidInput
from kaname.models.importing import draw, parity, sample
from kaname.models.importing.optimizers import optimize
from kaname.models.importing.types import (
    Imported,
    Optimized,
    OptimizeReport,
    OptimizeRequest,
    Tensors,
    Weight,
)
from kaname.models.types import RuntimeChoice, VersionInfo
from kaname.runtimes.catalog import FILES, begin, open_session
from kaname.runtimes.device_memory import used_bytes
from kaname.runtimes.memory import measured
from kaname.runtimes.profile import profile
from kaname.runtimes.types import Profile, Session, SessionOptions
from kaname.signature import Signature
from kaname.tensors import Tensor

ROWS = 512
PROFILE_ROWS = 64
SPREAD = 0.05
"""Of an output's standard deviation over the rows: numbers that differ by less agree."""


def optimize_here(request: OptimizeRequest, version: VersionInfo, artefact: Path, workdir: Path) -> Optimized:
    """Optimise in this very process.

    Raises InvalidInput when the version cannot be optimised that way, or when fewer than `min_agreement` of the rows
    are answered as before.
    """
    signature, file = version.signature, FILES["onnx"]
    if not (artefact / file).is_file():
        raise InvalidInput(
            "only versions with an ONNX file are optimised", where=f"{version.model}/{version.version}",
            found=f"runtime {version.runtime}", expected="onnx",
        )  # fmt: skip
    rows, given = _rows(request, version)
    folder = Path(tempfile.mkdtemp(prefix="optimize-", dir=workdir))
    calibration = None if request.calibration is None else _read(request.calibration, signature)
    optimize(request.method, artefact / file, folder / file, calibration, tuple(s.name for s in signature.inputs))
    report, profiled = _compare(request, signature, artefact, folder, rows, given)
    _agree(report, request, version)
    static = request.method == "int8" and request.calibration is not None
    return Optimized(
        imported=Imported(
            files=folder,
            source=f"{'static ' if static else ''}{request.method} of {version.version}",
            runtime="onnx",
            signature=signature,
            profile=profiled,
            choices=(_choice(request, version, profiled),),
            sample=version.sample,
            notes=(),
        ),
        report=report,
    )


def _choice(request: OptimizeRequest, version: VersionInfo, found: Profile) -> RuntimeChoice:
    reason = f"the {request.method} form of version {version.version}: {found.us[0]:.1f} µs per row alone"
    return RuntimeChoice(runtime="onnx", file=FILES["onnx"], profile=found, chosen=True, reason=reason)


# --- rows -----------------------------------------------------------------------------------------------


def _rows(request: OptimizeRequest, version: VersionInfo) -> tuple[Tensors, bool]:
    given = request.data or request.calibration
    if given is not None:
        return tuple(x[:ROWS] for x in _read(given, version.signature)), True
    return sample.narrow(near_sample(version, ROWS), version.signature), False


def near_sample(version: VersionInfo, count: int) -> Tensors:
    """Rows like the version's sample, at double precision."""
    rng, signature = np.random.default_rng(20), version.signature
    if version.sample is None or not signature.batched:
        return draw.blank(signature, rng, count, 1)
    features = version.sample["features"]
    assert isinstance(features, dict)
    return draw.near(sample.rows_of(sample.Sample(records=[features]), signature), signature, count, rng)


def _read(path: Path, signature: Signature) -> Tensors:
    return sample.narrow(sample.rows_of(sample.read(path), signature), signature)


# --- the two, side by side ------------------------------------------------------------------------------


def _compare(
    request: OptimizeRequest, signature: Signature, before: Path, after: Path, rows: Tensors, given: bool
) -> tuple[OptimizeReport, Profile]:
    expected, old = _measured(before, signature, request.options, rows)
    found, new = _measured(after, signature, request.options, rows)
    report = OptimizeReport(
        method=request.method,
        before=_weight(before, old),
        after=_weight(after, new),
        rows=len(rows[0]) if signature.batched else 1,
        given=given,
        agreement=agreement(expected, found, signature),
        max_difference=parity.compare(expected, found, signature, 0.0).max_difference,
    )
    return report, new


def _measured(folder: Path, signature: Signature, options: SessionOptions, rows: Tensors) -> tuple[Tensors, Profile]:
    """The answers to `rows`, and what they cost."""
    begin("onnx", options)
    before = used_bytes()
    session, size = measured(lambda: open_session("onnx", folder, signature, options))
    try:
        answers = _alone(session, rows, signature)
        found = profile(session, signature, tuple(x[:PROFILE_ROWS] for x in rows))
        device = getattr(session, "device", "cpu")
        taken = max(used_bytes() - before, 0) if device != "cpu" else 0
    finally:
        session.close()
    return answers, msgspec.structs.replace(found, session_bytes=size, device=device, device_bytes=taken)


def _alone(session: Session, rows: Tensors, signature: Signature) -> Tensors:
    """Each row by itself: what a dynamically quantised model answers depends on its company."""
    return draw.one_by_one(session.run, rows) if signature.batched else session.run(rows)


def _weight(folder: Path, measured: Profile) -> Weight:
    best = measured.best_rows
    size = sum(
        path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.suffix in (".onnx", ".data")
    )
    return Weight(bytes=size, us_one=measured.us[0], us_per_row=measured.us_at(best) / best, best_rows=best)


def agreement(expected: Tensors, found: Tensors, signature: Signature) -> float:
    """The share of rows that are answered alike, see `OptimizeReport.agreement`."""
    label, chances = signature.output_of("label"), signature.output_of("probabilities")
    if label is not None:
        alike = _all(expected[label] == found[label])
    elif chances is not None:
        alike = np.asarray(expected[chances].argmax(axis=-1) == found[chances].argmax(axis=-1))
    else:
        alike = np.ones(len(expected[0]) if expected[0].ndim else 1, dtype=bool)
        for left, right in zip(expected, found, strict=True):
            alike = alike & _near(left, right)
    return float(alike.mean())


def _near(left: Tensor, right: Tensor) -> Tensor:
    if left.dtype.kind not in "fiu":
        return _all(left == right)
    if _are_chances(left):
        return np.asarray(left.argmax(axis=1) == right.argmax(axis=1))
    wide = left.astype(np.float64)
    spread = float(np.nanstd(wide)) if wide.size else 0.0
    close = np.abs(wide - right.astype(np.float64)) <= SPREAD * spread + 1e-6 * np.abs(wide)
    return _all(close | (np.isnan(wide) & np.isnan(right)))


def _are_chances(array: Tensor) -> bool:
    """Whether each row is a distribution over classes, whatever the output is called."""
    if array.dtype.kind != "f" or array.ndim != 2 or array.shape[1] < 2:
        return False
    return bool((array >= -1e-6).all() and (np.abs(array.sum(axis=1) - 1) < 1e-3).all())


def _all(alike: Tensor | bool) -> Tensor:
    found = np.atleast_1d(np.asarray(alike, dtype=bool))
    return np.asarray(found.reshape(len(found), -1).all(axis=1))


def _agree(report: OptimizeReport, request: OptimizeRequest, version: VersionInfo) -> None:
    if report.agreement < request.min_agreement:
        raise InvalidInput(
            f"the {request.method} form answers too many rows differently; give rows like those that are asked "
            "(--calibration, --data), or a smaller --min-agreement",
            where=f"{version.model}/{version.version}",
            found=f"{report.agreement:.2%} of {report.rows} rows agree, largest difference {report.max_difference:.3g}",
            expected=f"at least {request.min_agreement:.2%}",
        )
