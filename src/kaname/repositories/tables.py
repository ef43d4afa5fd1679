"""The report of a repository as people read it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

import msgspec
from rich.console import Group, RenderableType
from rich.text import Text

from kaname.repositories.detect import NAMES
from kaname.repositories.types import ModelReport, Remark, Report, VersionReport
from kaname.terminal import table

_SAID = {
    "taken": "taken over",
    "there": "there already",
    "possible": "can be taken over",
    "skipped": "left out",
    "pending": "not finished",
    "refused": "refused",
    "gone": "gone from the repository",
}


def report_page(report: Report) -> RenderableType:
    """A line per model, then everything that was not taken over, with its place and the reason."""
    whole = sum(model.whole for model in report.models)
    count = f"{len(report.models)} model{'s' * (len(report.models) != 1)}, {whole} without a refusal"
    head = Text(f"{report.path} is {NAMES[report.kind]}: {count}")
    return Group(head, Text(), models_table(report.models), *_rest(report))


def models_table(models: tuple[ModelReport, ...]) -> RenderableType:
    """A line per model: its versions, what answers, and the settings that were taken over."""
    grid = table("model", "versions", "answers", "settings")
    for model in models:
        settings = " ".join(f"{name}={msgspec.json.encode(value).decode()}" for name, value in model.config.items())
        cells = (model.model, _versions(model), model.answers or "-", settings or "-")
        grid.add_row(*(Text(cell) for cell in cells))
    return grid


def remarks_of(model: ModelReport) -> Iterator[Remark]:
    """Everything of a model that was not taken over, refusals first."""
    if model.refused and not model.versions:
        yield Remark(what="the model", reason=model.refused, where=model.model)
    for version in model.versions:
        if version.outcome not in ("taken", "there", "possible"):
            reason = f"{_SAID[version.outcome]}: {version.reason}"
            yield Remark(what=f"version {version.version}", reason=reason, where=model.model)
    yield from model.not_taken


def _rest(report: Report) -> Iterator[RenderableType]:
    remarks = [*report.not_taken, *(remark for model in report.models for remark in remarks_of(model))]
    if remarks:
        grid = table("not taken over", "why", "where")
        for remark in remarks:
            grid.add_row(Text(remark.what), Text(remark.reason), Text(remark.where))
        yield from (Text(), grid)
    lines = [line for model in report.models for line in _said(model)]
    if lines:
        yield from (Text(), Text("\n".join(lines)))


def _said(model: ModelReport) -> Iterator[str]:
    yield from model.changes
    yield from (f"drift {drift}; it stands until the repository changes" for drift in model.drift)
    for version in model.versions:
        yield from (f"note: {model.model}/{version.version}: {note}" for note in version.notes)


def _versions(model: ModelReport) -> str:
    def outcome(version: VersionReport) -> str:
        return _SAID[version.outcome]

    if not model.versions:
        return "none"
    groups = groupby(model.versions, key=outcome)
    return "; ".join(f"{', '.join(version.version for version in each)} {said}" for said, each in groups)
