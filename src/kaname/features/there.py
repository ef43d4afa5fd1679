"""What `comparing` asks of the stores: whether there are rows, and whose."""

from __future__ import annotations

from collections.abc import Callable

from kaname.errors import NotFound
from kaname.features.facts import LayoutFacts
from kaname.features.layout import StoreName
from kaname.features.records import Records
from kaname.storage.cells.types import CellStore


class RowsThere:
    """`comparing.Stored` of real stores."""

    def __init__(self, records: Records, store: Callable[[StoreName], CellStore]) -> None:
        self._records = records
        self._store = store

    def has_rows(self, facts: LayoutFacts) -> bool:
        """Whether there is something in the table of a layout."""
        try:
            return any(True for _ in self._store(facts.store).scan(facts.table, limit=1))
        except NotFound:
            return False

    def owner(self, facts: LayoutFacts) -> str | None:
        """The relation whose rows are recorded to be there."""
        for record in self._records.all(facts.store):
            if any(kept.facts.place == facts.place for kept in record.layouts):
                return record.relation.name
        return None
