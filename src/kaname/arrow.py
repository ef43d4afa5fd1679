"""Apache Arrow, which the extra `arrow` brings: the one place that imports it, and only when something needs it.

pyarrow has no types of its own, so what comes from it is named here and is `Any` to the type checker.
"""

from __future__ import annotations

import functools
from typing import Any

import msgspec

from kaname.errors import MissingDependency

Module = Any
Array = Any
"""A `pyarrow.Array`: one column of one chunk of rows."""
ChunkedArray = Any
RecordBatch = Any
Table = Any
Schema = Any
DataType = Any
Field = Any
"""A name with a `DataType`."""


class Arrow(msgspec.Struct, frozen=True):
    """The modules of pyarrow."""

    pa: Module
    compute: Module
    csv: Module
    ipc: Module
    parquet: Module


@functools.cache
def _load() -> Arrow:
    import pyarrow
    import pyarrow.compute
    import pyarrow.csv
    import pyarrow.ipc
    import pyarrow.parquet

    return Arrow(pyarrow, pyarrow.compute, pyarrow.csv, pyarrow.ipc, pyarrow.parquet)


def arrow(purpose: str) -> Arrow:
    """pyarrow for `purpose`. Raises MissingDependency, which says what to install."""
    try:
        return _load()
    except ImportError as error:
        raise MissingDependency.of("pyarrow", "arrow", purpose) from error
