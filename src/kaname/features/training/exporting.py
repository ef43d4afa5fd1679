"""The inputs of the join as files: labels, and the history of each relation."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from itertools import islice
from pathlib import Path

from kaname.arrow import arrow
from kaname.errors import InvalidInput
from kaname.features.history.moments import moment_of
from kaname.features.history.reading import Change
from kaname.features.training.labels import Labels
from kaname.features.training.storing import stored, stored_type
from kaname.features.training.types import PURPOSE, Exported
from kaname.features.types import Relation

_ROWS_AT_ONCE = 50_000


def export_labels(labels: Labels, path: Path, now_us: int, progress: Callable[[int], None]) -> tuple[int, int, int]:
    """Write row numbers, moments and keys (`row`, `t`, `e0`, …); returns rows, the first moment and the last one.

    Raises InvalidInput with the place of a bad value, and for a moment that is still to come.
    """
    pa, parquet = arrow(PURPOSE).pa, arrow(PURPOSE).parquet
    schema = pa.schema(
        [("row", pa.int64()), ("t", pa.int64())] + [(f"e{i}", stored_type(key)) for i, key in enumerate(labels.keys)]
    )
    rows, first_us, last_us = 0, now_us, 0
    with parquet.ParquetWriter(path, schema) as file:
        for batch in labels.batches():
            *keys, times = labels.values(batch, rows)
            for i, time_us in enumerate(times):
                if time_us > now_us:
                    where = labels.place(rows + i, labels.time.name)
                    raise InvalidInput("a label of the future", where=where, found=moment_of(time_us).isoformat())
            columns = [pa.array(range(rows, rows + len(times)), pa.int64()), pa.array(times, pa.int64())]
            columns += [stored(values, key) for values, key in zip(keys, labels.keys, strict=True)]
            file.write_batch(pa.record_batch(columns, schema))
            rows += len(times)
            first_us, last_us = min([first_us, *times]), max([last_us, *times])
            progress(rows)
    return rows, first_us, last_us


def export_history(
    relation: Relation,
    wanted: Collection[str],
    changes: Iterable[Change],
    path: Path,
    progress: Callable[[int], None],
) -> Exported:
    """Write the history of the key and of the attributes in `wanted`. Raises what `changes` raises."""
    pa, parquet = arrow(PURPOSE).pa, arrow(PURPOSE).parquet
    numbered = [(i, each) for i, each in enumerate(relation.attributes) if each.key or each.name in wanted]
    free = [(i, each) for i, each in numbered if not each.key]
    schema = pa.schema(
        [("known", pa.int64()), ("gone", pa.bool_())]
        + [(f"a{i}", stored_type(each)) for i, each in numbered]
        + [(f"s{i}", pa.bool_()) for i, _ in free]
    )
    optional = frozenset(each.name for each in relation.attributes if not each.key)
    rest, kinds, rows = (each for each in changes if _writes(each, optional)), set[str](), 0
    with parquet.ParquetWriter(path, schema) as file:
        while part := list(islice(rest, _ROWS_AT_ONCE)):
            columns = [
                pa.array([change.at_us for change in part], pa.int64()),
                pa.array([change.kind == "delete" for change in part], pa.bool_()),
            ]
            columns += [stored([change.row[each.name] for change in part], each) for _, each in numbered]
            for _, each in free:
                named = [change.named is None or each.name in change.named for change in part]
                columns.append(pa.array(named, pa.bool_()))
            file.write_batch(pa.record_batch(columns, schema))
            kinds.update(change.kind for change in part)
            rows += len(part)
            progress(rows)
    return Exported(
        path=str(path),
        key=tuple(i for i, each in numbered if each.key),
        attributes=tuple(i for i, _ in free),
        updates="update" in kinds,
        deletes="delete" in kinds,
    )


def _writes(change: Change, optional: frozenset[str]) -> bool:
    """Whether it wrote anything: an update that names nothing but the key does not, and makes no row."""
    return change.named is None or not optional or not optional.isdisjoint(change.named)
