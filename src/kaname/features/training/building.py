"""Makes a training set: labels with what a view would have said at the moment of each."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from kaname.arrow import RecordBatch, Schema, arrow
from kaname.clock import Clock
from kaname.errors import InvalidInput
from kaname.features.columnar import arrow_type
from kaname.features.history.moments import moment_of
from kaname.features.stored import StoredRelation
from kaname.features.training.exporting import export_history, export_labels
from kaname.features.training.filling import Filling
from kaname.features.training.joining import join
from kaname.features.training.labels import Labels
from kaname.features.training.types import MEMORY_MB, PURPOSE, TIME, Exported, Joined, Progress, Summary
from kaname.features.training.writing import Output
from kaname.features.types import Relation
from kaname.features.views.types import Read, View


def build(
    view: View,
    relation_of: Callable[[str], StoredRelation],
    labels: Path,
    output: Path,
    clock: Clock,
    *,
    time: str = TIME,
    memory_mb: int = MEMORY_MB,
    progress: Progress = lambda _what, _done, _of: None,
) -> Summary:
    """Write the labels in `labels` (CSV or Parquet: the keys of the view's entity, the column `time`, and whatever
    else) and the columns of the view to `output` (.parquet or .csv), which appears under its name when it is complete.

    Raises InvalidInput with file, line and column for labels that cannot be used, and for a relation whose history is
    not kept, or not for long enough; NotFound, MissingDependency, OSError, and what a store raises.
    """
    began_ns = clock.monotonic_ns()
    found = Labels(labels, view.entity, time)
    with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as folder:
        task = _Task(view, relation_of, found, Path(folder), clock.time_ns() // 1000, progress)
        batches = join(task.labels, task.reads(), Path(folder), memory_mb)
        rows = task.write(batches, output)
    return Summary(
        view=view.name,
        rows=rows,
        output=str(output),
        seconds=(clock.monotonic_ns() - began_ns) / 1e9,
        defaults={name: count / max(rows, 1) for name, count in task.filling.defaults.items()},
    )


class _Task:
    """One training set."""

    def __init__(
        self,
        view: View,
        relation_of: Callable[[str], StoredRelation],
        labels: Labels,
        work: Path,
        now_us: int,
        progress: Progress,
    ) -> None:
        self.labels = work / "labels.parquet"
        self.filling = Filling(view, lambda row: labels.place(row, labels.time.name))
        self._view, self._file, self._work = view, labels, work
        self._relation_of, self._now_us, self._progress = relation_of, now_us, progress
        self._schema = _schema(labels, view)
        self._rows, self._first_us, self._last_us = export_labels(labels, self.labels, now_us, self._says("labels"))

    def reads(self) -> list[Joined]:
        """The reads of the view with the histories of their relations, each relation exported once."""
        exported: dict[str, Exported] = {}
        for read in self._view.reads:
            if read.relation not in exported:
                exported[read.relation] = self._export(read.relation)
        entity = {name: i for i, name in enumerate(self._view.entity)}
        return [_joined(read, self._relation_of(read.relation).relation, exported, entity) for read in self._view.reads]

    def write(self, found: Iterator[RecordBatch], output: Path) -> int:
        """Labels and columns side by side."""
        pa, says, rows = arrow(PURPOSE).pa, self._says("rows"), 0
        theirs = _Parts(self._file.batches())
        with Output(output, self._schema) as out:
            for batch in found:
                label = theirs.take(batch.num_rows)
                *keys, _ = self._file.values(label, rows)
                entity = dict(zip(self._view.entity, keys, strict=True))
                columns = self.filling.columns(batch, entity, rows)
                out.write(pa.record_batch([*label.columns, *columns], self._schema))
                rows += batch.num_rows
                says(rows)
        return rows

    def _export(self, name: str) -> Exported:
        stored = self._relation_of(name)
        reads = [read for read in self._view.reads if read.relation == name]
        oldest_us = min(self._oldest_us(read, stored.relation) for read in reads)
        wanted = {feature.attribute for read in reads for feature in read.features}
        changes = stored.changes(moment_of(oldest_us), moment_of(self._last_us + 1))
        path = self._work / f"{name}.parquet"
        return export_history(stored.relation, wanted, changes, path, self._says(f"history of {name}"))

    def _oldest_us(self, read: Read, relation: Relation) -> int:
        """What became known before that is too old for every label. Raises InvalidInput where less is kept."""
        ages = [feature.max_age_us for feature in read.features]
        oldest_us = 0 if None in ages else max(self._first_us - max(age for age in ages if age is not None), 0)
        kept_s = None if relation.history is None else relation.history.keep_s
        if self._rows and kept_s is not None and oldest_us < self._now_us - kept_s * 1e6:
            raise InvalidInput(
                f"the history of `{relation.name}` is not kept for long enough",
                where=f"view `{self._view.name}`",
                found=f"{kept_s / 86_400:g} days, and labels from {moment_of(self._first_us).isoformat()} on",
                expected="later labels, a max_age_s for every feature, or `with history` for longer",
            )
        return 0 if read.latest is not None else oldest_us

    def _says(self, what: str) -> Callable[[int], None]:
        of = self._rows if what == "rows" else None
        return lambda done: self._progress(what, done, of)


class _Parts:
    """Batches, taken again in parts of other sizes."""

    def __init__(self, batches: Iterator[RecordBatch]) -> None:
        self._batches = batches
        self._rest: list[RecordBatch] = []

    def take(self, rows: int) -> RecordBatch:
        """The next rows, as one batch."""
        pa = arrow(PURPOSE).pa
        while sum(batch.num_rows for batch in self._rest) < rows:
            self._rest.append(next(self._batches))
        whole = pa.Table.from_batches(self._rest).combine_chunks()
        self._rest = whole.slice(rows).to_batches()
        return pa.concat_batches(whole.slice(0, rows).to_batches())


def _joined(read: Read, relation: Relation, exported: dict[str, Exported], entity: dict[str, int]) -> Joined:
    number = {attribute.name: i for i, attribute in enumerate(relation.attributes)}
    return Joined(
        read=read,
        history=exported[read.relation],
        keys={number[name]: entity[key] for name, key in read.key.items()},
        latest=None if read.latest is None else number[read.latest],
        features=tuple(number[feature.attribute] for feature in read.features),
    )


def _schema(labels: Labels, view: View) -> Schema:
    """The columns of the labels, then those of the view. Raises InvalidInput for a name that both have."""
    pa = arrow(PURPOSE).pa
    for name in view.types:
        if name in labels.schema.names:
            raise InvalidInput(
                f"column `{name}` is in view `{view.name}`, too", where=str(labels.path), expected="another name for it"
            )
    return pa.schema([*labels.schema, *(pa.field(name, arrow_type(of)) for name, of in view.types.items())])
