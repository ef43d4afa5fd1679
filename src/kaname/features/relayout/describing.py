"""What is in force of a relation, for people and machines."""

from __future__ import annotations

import msgspec

from kaname.errors import KanameError
from kaname.features.layout import Layout
from kaname.features.opened import Features
from kaname.features.records import KeptLayout
from kaname.storage.cells.types import Row

_USES = {"kept": "read, written", "filling": "filled", "leaving": "written"}


class DescribedLayout(msgspec.Struct, frozen=True):
    """One layout in use."""

    schema: str
    store: str
    table: str
    use: str
    order: str
    """What its rows are sorted by."""
    rows: int
    """That were read for the sizes."""
    more: bool
    """Whether there are others."""
    bytes_per_row: float | None
    """Keys, qualifiers and values of these rows; None: there was none."""


class Described(msgspec.Struct, frozen=True):
    """One relation."""

    relation: str
    key: list[str]
    attributes: list[str]
    text: str
    """It as a schema file."""
    layouts: list[DescribedLayout]
    refused: str | None
    """Why the files of the project are not in force; None: they are."""


def describe(features: Features, name: str, sample: int) -> Described:
    """A relation, `sample` rows of each layout read. Raises as `Features.relation` does."""
    record = features.record(name)
    placement = features.relation(name).placement
    compiled = {layout.place: layout for layout in placement.written}
    layouts = [_layout(features, kept, compiled[kept.facts.place], sample) for kept in record.layouts]
    key = [attribute.name for attribute in record.relation.key]
    return Described(name, key, list(record.relation.names), record.text(), layouts, _refused(features, name))


def _layout(features: Features, kept: KeptLayout, layout: Layout, sample: int) -> DescribedLayout:
    facts = kept.facts
    rows = list(features.store(facts.store).scan(facts.table, limit=sample + 1)) if sample else []
    size = sum(map(_bytes_of, rows[:sample])) / min(len(rows), sample) if rows else None
    order = ", ".join(f"{name}{' desc' * down}" for name, down in layout.sorted_by()) or f"{facts.row} (groups only)"
    shown = min(len(rows), sample)
    return DescribedLayout(
        facts.name, str(facts.store), facts.table, _USES[kept.role], order, shown, len(rows) > sample, size
    )


def _bytes_of(row: Row) -> int:
    return len(row.key) + sum(len(cell.qualifier) + len(cell.value) for cells in row.cells.values() for cell in cells)


def _refused(features: Features, name: str) -> str | None:
    try:
        return next((str(problem) for problem in features.verdicts()[name].refused), None)
    except KanameError as error:
        return str(error)
