"""What SQL has and queries of relations have not, and what to use instead."""

from __future__ import annotations

_OFFLINE = "`kaname features query … --output FILE` writes Parquet, which DuckDB and others {verb}"
JOIN = "one relation: a view (features/*.view.yaml) joins relations by entity key; " + _OFFLINE.format(verb="join")
AGGREGATE = "rows as they are: keep what is counted or summed as an attribute of its own; " + _OFFLINE.format(
    verb="aggregate"
)
COMPUTED = "names of attributes: a view (features/*.view.yaml) has derived columns"
OFFSET = "no OFFSET, which would read all rows before it: `WHERE key > …` with the last key of the page before"
FULL_SCAN = (
    "a WHERE that says with which values a row key begins, a LIMIT without conditions, or ALLOW FILTERING "
    "behind the statement, which reads all rows"
)
DECLARED = "relations and their layouts are declared in features/*.schema"

STATEMENTS = {
    "UPDATE": "INSERT, which writes whole rows over those with the same key, or `update` in Python",
    "UPSERT": "INSERT, which writes over rows with the same key",
    "REPLACE": "INSERT, which writes over rows with the same key",
    "MERGE": "INSERT, which writes over rows with the same key",
    "TRUNCATE": "DELETE FROM … ALLOW FILTERING",
    "WITH": JOIN,
    "COPY": "`kaname features insert RELATION --input FILE` or `kaname features query … --output FILE`",
    "CREATE": DECLARED,
    "ALTER": DECLARED,
    "DROP": DECLARED,
    "DESCRIBE": "`kaname features list`, or GET /api/v1/relations",
    "SHOW": "`kaname features list`, or GET /api/v1/relations",
    "BEGIN": "no transactions: the rows of one INSERT are written in one batch where the store can",
    "COMMIT": "no transactions: the rows of one INSERT are written in one batch where the store can",
}
"""By the word that a statement begins with."""

CLAUSES = {
    "joins": JOIN,
    "with_": JOIN,
    "with": JOIN,
    "laterals": JOIN,
    "using": JOIN,
    "except_": "the names of the attributes",
    "replace": "the names of the attributes",
    "rename": "the names of the attributes",
    "group": AGGREGATE,
    "having": AGGREGATE,
    "distinct": AGGREGATE,
    "windows": AGGREGATE,
    "qualify": AGGREGATE,
    "offset": OFFSET,
    "conflict": "INSERT alone: it writes over rows with the same key",
    "exists": "INSERT alone: it writes over rows with the same key",
    "overwrite": "INSERT INTO, and DELETE for the rows that should go",
    "returning": "no RETURNING: the answer says how many rows were changed",
    "locks": "no locks: a row is read as it was at one moment",
    "sample": AGGREGATE,
    "db": "the name of a relation alone",
    "catalog": "the name of a relation alone",
}
"""By the name that sqlglot gives them."""
