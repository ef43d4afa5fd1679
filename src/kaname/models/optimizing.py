"""`optimize`: a smaller or faster version of a version, as the registry, the command line and HTTP offer it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from kaname.models.importing.process import run_optimize
from kaname.models.importing.types import Imported, Optimized, OptimizeReport, OptimizeRequest
from kaname.models.registry import Models, Ref
from kaname.models.types import VersionInfo
from kaname.models.views import Optimize

Run = Callable[[OptimizeRequest, VersionInfo, Path, Path], Optimized]


class Derived(msgspec.Struct, frozen=True, kw_only=True):
    """A new version that was made of another, and how the two compare."""

    version: VersionInfo
    report: OptimizeReport


def optimize(
    models: Models,
    ref: Ref,
    version: str,
    request: OptimizeRequest,
    *,
    who: str,
    name: str | None = None,
    tags: Sequence[str] = (),
    run: Run = run_optimize,
) -> Derived:
    """Make a smaller or faster form of a version and register it as another one, which is not promoted.

    Raises InvalidInput when it cannot be made or answers too many rows differently; then nothing is registered.
    """
    reports: list[OptimizeReport] = []

    def make(known: VersionInfo, artefact: Path, workplace: Path) -> tuple[Imported, Mapping[str, float]]:
        made = run(msgspec.structs.replace(request, options=models.options), known, artefact, workplace)
        reports.append(made.report)
        found = {"agreement": made.report.agreement, "max_difference": made.report.max_difference}
        return made.imported, found  # the original's figures are not the new one's

    added = models.derive(ref, version, make, who=who, name=name, tags=tags)
    return Derived(version=added, report=reports[0])


def optimize_with(models: Models, ref: Ref, version: str, body: Optimize, *, who: str) -> Derived:
    """`optimize` with rows that came in a request instead of a file."""
    with tempfile.TemporaryDirectory(prefix="rows-") as folder:
        rows = None
        if body.instances is not None:
            rows = Path(folder) / "rows.json"
            rows.write_bytes(msgspec.json.encode(body.instances))
        request = OptimizeRequest(method=body.method, calibration=rows, min_agreement=body.min_agreement)
        return optimize(models, ref, version, request, who=who, name=body.version)
