"""Models and versions as people read them: tables and pages of a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from kaname.models.types import ModelInfo, RuntimeChoice, VersionInfo


def models_table(models: Sequence[ModelInfo]) -> RenderableType:
    """One line per model."""
    if not models:
        return Text("no models yet: kaname model add NAME PATH")
    table = _table("number", "model", "answers", "before", "state", "created")
    for model in models:
        state = "loaded" if model.loaded else "unloaded"
        answers = model.promoted or "nothing"
        _row(table, str(model.id), model.name, answers, model.previous or "-", state, moment(model.created_us))
    return table


def versions_table(model: ModelInfo, versions: Sequence[VersionInfo]) -> RenderableType:
    """The model, then one line per version, newest first."""
    answers = model.promoted or "nothing"
    head = f"{model.name} (number {model.id}): version {answers} answers"
    head += "" if model.loaded else ", unloaded"
    head += f"; rollback returns to {model.previous}" if model.previous else ""
    table = _table("version", "status", "source", "runtime", "us/row", "metrics", "tags", "created")
    for version in reversed(versions):
        mark = " *" if version.version == model.promoted else ""
        _row(
            table,
            version.version + mark,
            version.status,
            version.source,
            version.runtime,
            f"{_us_per_row(version):.1f}",
            ", ".join(f"{name} {value:g}" for name, value in version.metrics.items()),
            ", ".join(version.tags),
            moment(version.created_us),
        )
    parts: list[RenderableType] = [Text(head), table]
    if model.config.description:
        parts.insert(1, Text(model.config.description))
    return Group(*parts)


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
        ("metrics", ", ".join(f"{name} {value:g}" for name, value in version.metrics.items())),
        ("tags", ", ".join(version.tags)),
        ("batch", f"best at {version.profile.best_rows} rows, {_us_per_row(version):.1f} us a row"),
        ("created", moment(version.created_us)),
    ):
        if value:
            facts.add_row(Text(name, style="bold"), Text(value))
    return Group(facts, _choices(version.choices)) if version.choices else facts


def _choices(choices: Sequence[RuntimeChoice]) -> Table:
    table = _table("runtime", "chosen", "us, 1 row", "largest difference", "rows beyond", "why")
    for choice in choices:
        parity = choice.parity
        _row(
            table,
            choice.runtime,
            "yes" if choice.chosen else "",
            f"{choice.profile.us_at(1):.1f}" if choice.profile else "-",
            f"{parity.max_difference:.2g}" if parity else "-",
            f"{parity.share_beyond:.3%}" if parity else "-",
            choice.reason,
        )
    return table


def moment(time_us: int) -> str:
    """A time for people: UTC, to the second."""
    return datetime.fromtimestamp(time_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _us_per_row(version: VersionInfo) -> float:
    best = version.profile.best_rows
    return version.profile.us_at(best) / best


def _row(table: Table, *cells: str) -> None:
    table.add_row(*(Text(cell) for cell in cells))  # a name in brackets is text, not markup


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
