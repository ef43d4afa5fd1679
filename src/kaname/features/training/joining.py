"""The join of labels with histories, as SQL of DuckDB: of each label what was known at its moment, and nothing later.

A label sees, of the writes of a row that became known at its moment or before, the last one (ASOF). Under `latest` it
sees the row with the greatest time not after its moment, of those that it would see at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kaname.arrow import RecordBatch
from kaname.errors import MissingDependency
from kaname.features.training.types import PURPOSE, Exported, Joined

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

ROWS_AT_ONCE = 20_000
_FOR_EVER = 1 << 62


def join(labels: Path, reads: Sequence[Joined], work: Path, memory_mb: int) -> Iterator[RecordBatch]:
    """For each label, in their order: columns `r0v0`, `r0t0`: value and moment (µs) of the first feature of the first
    read; no moment is no row.

    `work`: a folder for what does not fit into `memory_mb`. Raises MissingDependency.
    """
    database = _connect(work, memory_mb)
    try:
        database.execute(f"CREATE VIEW labels AS SELECT * FROM read_parquet({_text(str(labels))})")
        for number, read in enumerate(reads):
            for statement in statements(number, read):
                database.execute(statement)
        found: Any = database.sql(selection(reads)).to_arrow_reader(ROWS_AT_ONCE)
        yield from found
    finally:
        database.close()


def _connect(work: Path, memory_mb: int) -> DuckDBPyConnection:
    try:
        import duckdb
    except ImportError as error:
        raise MissingDependency.of("duckdb", "duckdb", PURPOSE) from error
    database = duckdb.connect(str(work / "join.duckdb"))
    database.execute(f"SET memory_limit = '{memory_mb}MB'")
    database.execute(f"SET temp_directory = {_text(str(work / 'spilled'))}")
    return database


def statements(number: int, read: Joined) -> list[str]:
    """What makes the tables of a read: `h0`, its rows as they changed; `n0`, which time each label sees as newest."""
    made = [f"CREATE VIEW h{number} AS {_rows(read.history)}"]
    if read.latest is not None:
        made.append(f"CREATE TABLE n{number} AS {_newest(f'h{number}', read, read.latest)}")
    return made


def selection(reads: Sequence[Joined]) -> str:
    """All reads of all labels."""
    columns, joins = list[str](), list[str]()
    for number, read in enumerate(reads):
        h, equal = f"h{number}", [f"h{number}.a{key} = l.e{entity}" for key, entity in read.keys.items()]
        if read.latest is not None:
            joins.append(f"LEFT JOIN n{number} ON n{number}.row = l.row")
            equal.append(f"{h}.a{read.latest} = n{number}.newest")
        joins.append(f"ASOF LEFT JOIN {h} ON {' AND '.join(equal)} AND l.t >= {h}.known")
        for i, attribute in enumerate(read.features):
            moment = f"{h}.a{read.latest}" if read.latest is not None else _moment(h, read.history, attribute)
            columns.append(f"{_value(h, read.history, attribute)} AS r{number}v{i}")
            columns.append(f"CASE WHEN {h}.gone THEN NULL ELSE {moment} END AS r{number}t{i}")
    return f"SELECT l.t AS t, {', '.join(columns)} FROM labels l {' '.join(joins)} ORDER BY l.row"


def _rows(history: Exported) -> str:
    """The rows of a relation, one for each write. Where writes set some attributes only, `x3` is what the attribute
    `a3` was last set to, and when."""
    source = f"read_parquet({_text(history.path)})"
    if not history.updates:
        return f"SELECT * FROM {source}"
    filled = ", ".join(
        f"last_value(CASE WHEN s{i} THEN struct_pack(v := a{i}, known := known) END IGNORE NULLS) OVER w AS x{i}"
        for i in history.attributes
    )
    window = f"(PARTITION BY {_named(history.key)} ORDER BY known ROWS UNBOUNDED PRECEDING)"
    return f"SELECT *, {filled} FROM {source} WINDOW w AS {window}"


def _newest(h: str, read: Joined, latest: int) -> str:
    """Of each label (`row`) the greatest time (`newest`) of the rows that it sees.

    A row is seen from when it is known and its time has come; from then on nothing older is the newest. Where rows were
    deleted that does not hold: for these keys every row is compared with every label.
    """
    keys = _named(read.keys)
    equal = " AND ".join(f"s.a{key} = l.e{entity}" for key, entity in read.keys.items())
    same = equal.replace("s.", "d.")
    seen = f"""SELECT {keys}, since, max(a{latest}) OVER (PARTITION BY {keys} ORDER BY since) AS newest
        FROM (SELECT {keys}, a{latest}, greatest(min(known), a{latest}) AS since FROM {h} GROUP BY {keys}, a{latest})"""
    simple = f"SELECT l.row, s.newest FROM labels l ASOF JOIN ({seen}) s ON {equal} AND l.t >= s.since"
    if not read.history.deletes:
        return simple
    deleted = f"(SELECT DISTINCT {keys} FROM {h} WHERE gone) d"
    spans = f"""SELECT {keys}, a{latest}, gone, known,
        coalesce(lead(known) OVER (PARTITION BY {keys}, a{latest} ORDER BY known), {_FOR_EVER}) AS ends
        FROM {h} SEMI JOIN {deleted} USING ({keys})"""
    return f"""{simple} ANTI JOIN {deleted} ON {same}
        UNION ALL SELECT l.row, max(s.a{latest}) FROM labels l JOIN ({spans}) s
        ON {equal} AND s.known <= l.t AND l.t < s.ends AND s.a{latest} <= l.t WHERE NOT s.gone GROUP BY l.row"""


def _value(h: str, history: Exported, attribute: int) -> str:
    kept = history.updates and attribute in history.attributes
    return f"{h}.x{attribute}.v" if kept else f"{h}.a{attribute}"


def _moment(h: str, history: Exported, attribute: int) -> str:
    return f"{h}.x{attribute}.known" if history.updates else f"{h}.known"


def _named(attributes: Iterable[int]) -> str:
    return ", ".join(f"a{attribute}" for attribute in attributes)


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
