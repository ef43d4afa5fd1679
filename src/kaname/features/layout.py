"""A layout: one way to write the rows of a relation as cells, compiled once."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal, NoReturn, TypeAlias

import msgspec

from kaname.errors import InvalidInput
from kaname.features import ranges
from kaname.features.decoding import Decode, decoder
from kaname.features.groups import AttributeCells, Group, OneCell, Writes
from kaname.features.parts import CompiledPart, write_parts
from kaname.features.ranges import Span, Within
from kaname.features.refusing import shown
from kaname.features.types import Relation, Row
from kaname.storage.cells.types import MAX_ROW_BYTES, Columns, Delete, Family, Mutation, Put, Table

MOST_KEPT = 64
"""Choices of attributes whose decoders are kept."""

StoreKind: TypeAlias = Literal["cells", "cassandra", "hbase"]


class StoreName(msgspec.Struct, frozen=True):
    """`cells("main")`: an embedded store of the project; or a server at an address."""

    kind: StoreKind
    name: str

    def __str__(self) -> str:
        return f'{self.kind}("{self.name}")'


class Layout:
    """Pure functions between the rows of a relation and the cells of one table."""

    def __init__(
        self,
        name: str,
        relation: Relation,
        store: StoreName,
        table: str,
        row: Sequence[CompiledPart],
        groups: Sequence[Group],
    ) -> None:
        self.name = name
        self.relation = relation
        self.store = store
        self.table = table
        self.row = tuple(row)
        """The parts of the row key, and what can be asked of each."""
        self.groups = tuple(groups)
        held = {name for group in groups for name in group.attributes}
        self.attributes = tuple(a.name for a in relation.attributes if a.key or a.name in held)
        """What rows of this layout have: the key, and what its cells hold."""
        self._names = frozenset(relation.names)
        self._key_names = tuple(attribute.name for attribute in relation.key)
        self.later: frozenset[str] = frozenset()
        """Attributes with cells of their own that came when there may have been rows, which lack these."""
        self._cells = sum(len(g.attributes) if isinstance(g, AttributeCells) else 1 for g in self.groups)
        self.decode = self._decoder(self.attributes)
        """The row of a key and its cells."""
        self._decodes: dict[frozenset[str], Decode] = {}

    @property
    def place(self) -> tuple[StoreName, str]:
        """Where its rows are: what makes it the same layout, whatever its name."""
        return self.store, self.table

    def definition(self) -> Table:
        """The table and families that it needs."""
        families = {family: Family() for group in self.groups for family in group.families}
        return Table(self.table, families, self.row[0].hash_bytes)

    def key(self, row: Row, *, number: int | None = None) -> bytes:
        """The row key for the key attributes in `row`; others are not looked at. Raises InvalidInput as `put` does."""
        try:
            key = write_parts(self.row, row)
        except (InvalidInput, KeyError) as error:
            self._refuse(row, number, error)
        if not 0 < len(key) <= MAX_ROW_BYTES:
            self._refuse(
                row,
                number,
                InvalidInput(
                    "the row key is too long" if key else "the row key is empty",
                    where=self._key_names[0],
                    found=f"{len(key)} bytes",
                    expected=f"1 to {MAX_ROW_BYTES} bytes",
                ),
            )
        return key

    def put(self, row: Row, *, timestamp_us: int | None = None, number: int | None = None) -> list[Mutation]:
        """What writes a whole row: what it does not name is null.

        Raises InvalidInput whose `where` names the row (by `number` among many, or by its key) and the attribute.
        """
        return self._write(row, None, timestamp_us, number)

    def patch(self, row: Row, *, timestamp_us: int | None = None, number: int | None = None) -> list[Mutation]:
        """What writes only the attributes that `row` names beside its key. Raises InvalidInput as `put` does, and when
        it names only some of those that share a cell."""
        return self._write(row, row.keys(), timestamp_us, number)

    def delete(self, key: Row, *, timestamp_us: int | None = None, number: int | None = None) -> Delete:
        """What deletes the row with this key."""
        return Delete(self.table, self.key(key, number=number), until_us=timestamp_us)

    def columns(self, attributes: Collection[str]) -> Columns:
        """The cells to read for `attributes` only, or to tell whether there is a row where no cell holds them.

        No such cells is no row, unless it was written before an attribute was added that now has a cell of its own.
        """
        found: dict[str, set[bytes]] = {}
        for group in self.groups:
            if any(name in attributes for name in group.attributes):
                group.find(attributes, found)
        if not found:
            self.groups[0].find(self.groups[0].attributes, found)
        return found

    def columns_of_rows(self, attributes: Collection[str]) -> Columns | None:
        """The cells to read for `attributes` where rows are looked for: each row has some of them. None: all cells,
        also where it would be most of them.

        A row that was written whole has every attribute of then, or a marker; one of which some were written, a marker.
        """
        found: dict[str, set[bytes]] = {}
        for group in self.groups:
            if isinstance(group, OneCell):
                found.setdefault(group.families[0], set()).add(group.qualifier)
                continue
            assert isinstance(group, AttributeCells)
            always = [name for name in group.attributes if name not in self.later]
            if not always:
                return None
            wanted = [name for name in group.attributes if name in attributes]
            group.find({*wanted, always[0]} if self.later.issuperset(wanted) else wanted, found)
        return found if 2 * sum(map(len, found.values())) <= self._cells else None

    def decode_some(self, attributes: Collection[str]) -> Decode:
        """What decodes these attributes of rows, and no others, though others may be among them."""
        wanted = frozenset(attributes)
        if wanted.issuperset(self.attributes):
            return self.decode
        if wanted not in self._decodes:
            if len(self._decodes) == MOST_KEPT:
                self._decodes.clear()
            self._decodes[wanted] = self._decoder(tuple(wanted.intersection(self.attributes)))
        return self._decodes[wanted]

    def _decoder(self, attributes: Collection[str]) -> Decode:
        return decoder((self.name, self.table), self.row, self.groups, attributes)

    def sorted_by(self, equal: Collection[str] = ()) -> list[tuple[str, bool]]:
        """What rows with one value of each attribute in `equal` are sorted by: attributes, and whether descending."""
        return ranges.sorted_by(self.row, equal)

    def span(self, equal: Row, within: Within | None = None) -> Span:
        """The narrowest range of row keys for these values; see `ranges.span`."""
        return ranges.span(self.row, equal, within)

    def _write(
        self, row: Row, only: Collection[str] | None, timestamp_us: int | None, number: int | None
    ) -> list[Mutation]:
        key = self.key(row, number=number)
        writes = Writes()
        try:
            if not row.keys() <= self._names:
                self._unknown(row)
            for group in self.groups:
                group.write(row, only, writes)
        except InvalidInput as error:
            self._refuse(row, number, error)
        found: list[Mutation] = [Put(self.table, key, *cells, timestamp_us) for cells in writes.puts.items()]
        for family, qualifiers in writes.deletes.items():
            found.append(Delete(self.table, key, family, qualifiers, timestamp_us))
        return found

    def _unknown(self, row: Row) -> NoReturn:
        name = next(name for name in row if name not in self._names)
        raise InvalidInput("no such attribute", where=str(name), expected=f"one of {', '.join(self.relation.names)}")

    def _refuse(self, row: Row, number: int | None, error: InvalidInput | KeyError) -> NoReturn:
        """The error with the row named, and which layout cannot write it."""
        if number is None:
            named = ", ".join(f"{name}={shown(row[name])}" for name in self._key_names if name in row)
            place = f"{self.relation.name}[{named}]"
        else:
            place = f"rows[{number}]"
        if isinstance(error, KeyError):
            raise InvalidInput("a key attribute is missing", where=f"{place}.{error.args[0]}") from None
        raise InvalidInput(
            f"{error.message} (schema `{self.name}`)",
            where=f"{place}.{error.where}",
            found=error.found,
            expected=error.expected,
        ) from None
