"""What every store asks of tables, batches and reads before it touches anything."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence

from kaname.errors import InvalidInput, NotFound, TooLarge
from kaname.storage.cells.types import (
    CELL_BYTES,
    MAX_BATCH_BYTES,
    MAX_ROW_BYTES,
    MAX_VALUE_BYTES,
    MUTATION_BYTES,
    Columns,
    Delete,
    Family,
    Mutation,
    Put,
    Table,
)

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,47}")
MOST_US = 2**63 - 1


def check_table(table: Table) -> None:
    """Raises InvalidInput for a name, a time to live or a number of versions that no store can keep."""
    for name in (table.name, *table.families):
        if not _NAME.fullmatch(name):
            _refuse("not a name for a table or family", table.name, repr(name), "letters, digits and _, 48 at most")
    if not table.families:
        _refuse("the table has no family", table.name, "none", "one or more")
    if not 0 <= table.lead_bytes <= MAX_ROW_BYTES:
        _refuse("no beginning of a row", table.name, f"{table.lead_bytes} bytes", f"0 to {MAX_ROW_BYTES} bytes")
    for name, family in table.families.items():
        if family.ttl_s is not None and not 0 < family.ttl_s < MOST_US / 1e6:
            _refuse("no time to live", f"{table.name}.{name}", f"{family.ttl_s} s", "more than 0 s")
        if family.versions < 1:
            _refuse("no number of versions", f"{table.name}.{name}", str(family.versions), "1 or more")


def stamped(mutations: Sequence[Mutation], tables: Mapping[str, Mapping[str, object]], now_us: int) -> list[Mutation]:
    """The mutations with the timestamps that they lack; `tables`: the families of each table.

    Raises NotFound, InvalidInput, TooLarge.
    """
    size = 0
    ready: list[Mutation] = []
    for one in mutations:
        families = tables.get(one.table)
        if families is None:
            raise no_table(one.table, tables)
        if one.family not in families and not (isinstance(one, Delete) and one.family is None):
            raise no_family(one.table, one.family, families)
        _check_row(one)
        size += MUTATION_BYTES + len(one.row)
        if isinstance(one, Put):
            size += _size(one)
            stamp, known = one.timestamp_us, now_us if one.timestamp_us is None else one.timestamp_us
            ready.append(one if stamp is known else Put(one.table, one.row, one.family, one.values, known))
        else:
            size += _size_of_qualifiers(one)
            known = now_us if one.until_us is None else one.until_us
            ready.append(Delete(one.table, one.row, one.family, one.qualifiers, known))
        if not 0 <= known <= MOST_US:
            _refuse("no timestamp", one.table, f"{known} µs", "µs since 1970, below 2^63")
    if size > MAX_BATCH_BYTES:
        raise TooLarge("the batch is too large", found=f"{size} bytes", expected=f"at most {MAX_BATCH_BYTES}")
    return ready


def stamped_anew(
    mutations: Sequence[Mutation],
    tables: Callable[[], Mapping[str, Mapping[str, object]]],
    look: Callable[[], None],
    now_us: int,
) -> list[Mutation]:
    """The same by what is known of `tables`, which is looked up anew before something is not found."""
    try:
        return stamped(mutations, tables(), now_us)
    except NotFound:  # unless another process has made it meanwhile
        look()
        return stamped(mutations, tables(), now_us)


def _check_row(one: Mutation) -> None:
    if type(one.row) is not bytes or not 0 < len(one.row) <= MAX_ROW_BYTES:
        found = f"{len(one.row)} bytes" if type(one.row) is bytes else type(one.row).__name__
        _refuse("not the key of a row", one.table, found, f"1 to {MAX_ROW_BYTES} bytes")


def _size(put: Put) -> int:
    values = put.values
    size = _length(values) + _length(values.values())
    if size < CELL_BYTES:
        _refuse("not cells", f"{put.table}.{put.family}", repr(values)[:80], "one or more values, bytes by bytes")
    if size > MAX_VALUE_BYTES and (largest := max(map(len, values.values()))) > MAX_VALUE_BYTES:
        raise TooLarge(
            "a value is too large",
            where=f"{put.table}.{put.family}",
            found=f"{largest} bytes",
            expected=f"at most {MAX_VALUE_BYTES}",
        )
    return size


def _size_of_qualifiers(delete: Delete) -> int:
    if delete.qualifiers is None:
        return 0
    size = -1 if delete.family is None else _length(delete.qualifiers)
    if size < 0:
        _refuse("not qualifiers of a family", delete.table, repr(delete.qualifiers)[:80], "bytes, and their family")
    return size


def _length(parts: Collection[bytes]) -> int:
    """Bytes of all parts, with something for each; below zero when one of them is not bytes."""
    try:
        return len(b"".join(parts)) + len(parts) * (CELL_BYTES // 2)
    except TypeError:
        return -MAX_BATCH_BYTES


def check_read(table: str, families: Mapping[str, object], columns: Columns | None, versions: int) -> None:
    """Raises NotFound for a family that the table lacks, InvalidInput for a number of versions below 1."""
    if versions < 1:
        _refuse("no number of versions to read", table, str(versions), "1 or more")
    for family in columns or ():
        if family not in families:
            raise no_family(table, family, families)


def check_limit(table: str, limit: int | None) -> None:
    """Raises InvalidInput for a limit of a scan below 0."""
    if limit is not None and limit < 0:
        _refuse("no limit of rows", table, str(limit), "0 or more")


def no_table(name: str, tables: Mapping[str, object]) -> NotFound:
    """The error for a table that was not defined."""
    return NotFound("no such table of cells", where=name, expected=f"one of {', '.join(sorted(tables)) or 'none'}")


def no_family(table: str, name: str | None, families: Mapping[str, object]) -> NotFound:
    """The error for a family that its table lacks."""
    return NotFound("no such family", where=f"{table}.{name}", expected=f"one of {', '.join(sorted(families))}")


def extended(known: Mapping[str, Family], table: Table) -> dict[str, Family]:
    """The families that a table has once it is defined anew."""
    return {**known, **table.families}


def _refuse(message: str, where: str, found: str, expected: str) -> None:
    raise InvalidInput(message, where=where, found=found, expected=expected)
