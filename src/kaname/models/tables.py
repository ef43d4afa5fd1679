"""Models and versions as people read them: tables and pages of a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from kaname.models.importing.types import OptimizeReport
from kaname.models.optimizing import Derived
from kaname.models.types import ModelInfo, RuntimeChoice, VersionInfo
from kaname.terminal import table


def models_table(models: Sequence[ModelInfo]) -> RenderableType:
    """One line per model."""
    if not models:
        return Text("no models yet: kaname model add NAME PATH")
    grid = table("number", "model", "answers", "before", "state", "created")
    for model in models:
        state = "loaded" if model.loaded else "unloaded"
        answers = model.promoted or "nothing"
        _row(grid, str(model.id), model.name, answers, model.previous or "-", state, moment(model.created_us))
    return grid


def versions_table(model: ModelInfo, versions: Sequence[VersionInfo]) -> RenderableType:
    """The model, then one line per version, newest first."""
    answers = f"version {model.promoted}" if model.promoted else "nothing"
    head = f"{model.name} (number {model.id}): {answers} answers"
    head += "" if model.loaded else ", unloaded"
    head += f"; rollback returns to {model.previous}" if model.previous else ""
    grid = table("version", "status", "source", "runtime", "µs/row", "created")
    for version in reversed(versions):
        mark = " *" if version.version == model.promoted else ""
        _row(
            grid,
            version.version + mark,
            version.status,
            version.source,
            version.runtime,
            f"{_us_per_row(version):.1f}",
            moment(version.created_us),
        )
    parts: list[RenderableType] = [Text(head), grid]
    if model.config.description:
        parts.insert(1, Text(model.config.description))
    if any(version.metrics or version.tags for version in versions):
        parts += [Text(), _said_of(versions)]
    return Group(*parts)


def _said_of(versions: Sequence[VersionInfo]) -> Table:
    """Metrics and tags, which may be many, in a table of their own."""
    grid = table("version", "metrics", "tags")
    for version in reversed(versions):
        _row(grid, version.version, _metrics(version), ", ".join(version.tags))
    return grid


def version_page(version: VersionInfo) -> RenderableType:
    """Everything about one version: what it takes and gives, and why it runs where it runs."""
    facts = Table.grid(padding=(0, 2))
    tensors = "  ".join(f"{spec.name} {spec.datatype}{list(spec.shape)}" for spec in version.signature.inputs)
    outputs = "  ".join(f"{spec.name} {spec.datatype}{list(spec.shape)}" for spec in version.signature.outputs)
    for name, value in (
        ("version", f"{version.model}/{version.version} ({version.status})"),
        ("artefact", version.artefact),
        ("source", version.source),
        ("task", version.signature.task),
        ("inputs", tensors),
        ("outputs", outputs),
        ("features", ", ".join(feature.name for feature in version.signature.features)),
        ("labels", ", ".join(map(str, version.signature.labels))),
        ("metrics", _metrics(version)),
        ("tags", ", ".join(version.tags)),
        ("batch", f"best at {version.profile.best_rows} rows, {_us_per_row(version):.1f} µs a row"),
        ("created", moment(version.created_us)),
    ):
        if value:
            facts.add_row(Text(name, style="bold"), Text(value))
    return Group(facts, Text(), _choices(version.choices)) if version.choices else facts


def _choices(choices: Sequence[RuntimeChoice]) -> Table:
    grid = table("runtime", "µs, 1 row", "difference", "beyond", "why")
    for choice in choices:
        parity = choice.parity
        _row(
            grid,
            choice.runtime + (" *" if choice.chosen else ""),
            f"{choice.profile.us_at(1):.1f}" if choice.profile else "-",
            f"{parity.max_difference:.2g}" if parity else "-",
            f"{parity.share_beyond:.3%}" if parity else "-",
            choice.reason,
        )
    return grid


def comparison(derived: Derived, original: str) -> RenderableType:
    """The comparison as a table, and what to do next."""
    report, version = derived.report, derived.version
    grid = table("version", "KiB", "µs, 1 row", "µs/row, best batch", "agreement", "largest difference")
    rows = ((original, report.before, "", ""), (version.version, report.after, *_agreed(report)))
    for name, weight, *rest in rows:
        batch = f"{weight.us_per_row:.2f} at {weight.best_rows}"
        _row(grid, name, f"{weight.bytes / 1024:,.1f}", f"{weight.us_one:.1f}", batch, *rest)
    what = "given" if report.given else "made-up"
    lines = [f"compared on {report.rows} {what} rows"]
    if not report.given:
        lines[0] += "; to compare on real ones: --data FILE"
    if not version.profile.exact and version.profile.splits:
        lines.append("batching changes its answers: requests run alone unless batch_tolerance is set")
    lines.append(f"to let it answer: kaname model promote {version.model} {version.version}")
    return Group(grid, Text("\n".join(lines)))


def _agreed(report: OptimizeReport) -> tuple[str, str]:
    return f"{report.agreement:.2%}", f"{report.max_difference:.3g}"


def moment(time_us: int) -> str:
    """A time for people: UTC, to the second."""
    return datetime.fromtimestamp(time_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _us_per_row(version: VersionInfo) -> float:
    best = version.profile.best_rows
    return version.profile.us_at(best) / best


def _metrics(version: VersionInfo) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in version.metrics.items())


def _row(grid: Table, *cells: str) -> None:
    grid.add_row(*(Text(cell) for cell in cells))  # a name in brackets is text, not markup
