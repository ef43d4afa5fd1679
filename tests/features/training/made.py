"""A project in a folder, its rows in memory, and a clock that stands where it is put."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from kaname.clock import ManualClock
from kaname.features.opened import Features
from kaname.features.schemas import load as load_schemas
from kaname.features.training.types import Summary
from kaname.features.views.loading import examine
from kaname.project import Files
from kaname.storage.cells.memory import MemoryCells
from kaname.storage.cells.types import CellStore

T = datetime(2026, 1, 1, tzinfo=UTC)


class Project:
    """Schemas and a view, rows in memory or in `store`, a clock that stands where it is put."""

    def __init__(self, root: Path, schemas: str, view: str, store: CellStore | None = None) -> None:
        self.root = root
        (root / "features").mkdir(parents=True)
        (root / "features" / "a.schema").write_text(schemas)
        (root / "features" / "a.view.yaml").write_text(view)
        self.clock = ManualClock(round(T.timestamp()) * 1_000_000_000)
        files, kept = Files(root), store or MemoryCells(self.clock)
        self.features = Features(
            lambda: load_schemas(root, files.text),
            lambda _: kept,
            self.clock,
            lambda schemas: examine(root, schemas, files.examined),
        )

    @property
    def now(self) -> datetime:
        """The moment."""
        return T + timedelta(microseconds=(self.clock.time_ns() - round(T.timestamp()) * 1_000_000_000) // 1000)

    def training_set(self, labels: Sequence[Mapping[str, object]], **how: Any) -> pa.Table:
        """The set for labels, which are written to Parquet first."""
        path, output = self.root / "labels.parquet", self.root / "set.parquet"
        parquet.write_table(pa.Table.from_pylist(list(labels)), path)
        self.summary: Summary = self.features.training_set("buyer", path, output, **how)
        return parquet.read_table(output)
