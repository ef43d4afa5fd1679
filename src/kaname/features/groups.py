"""The cells of a row: one per attribute (`attr_name`, `attr_value`), or one for several."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Protocol

import msgspec

from kaname.features.codecs import Codec
from kaname.features.packing import Pack, Unpack, pack_of, unpack_of_some
from kaname.features.parts import CompiledPart, take_parts, write_parts
from kaname.features.refusing import refused
from kaname.features.types import Row
from kaname.storage.cells.types import Cells

MARKER = b"\0"
"""Qualifier of the empty cell that says that a row is there although an attribute of it is null, or may be."""


class Writes(msgspec.Struct):
    """Cells of one row by family."""

    puts: dict[str, dict[bytes, bytes]] = {}
    deletes: dict[str, list[bytes]] = {}


class Group(Protocol):
    """Some attributes of a layout and the cells that hold them."""

    @property
    def attributes(self) -> Sequence[str]:
        """What it holds."""

    @property
    def families(self) -> Sequence[str]:
        """Where its cells are."""

    def write(self, row: Row, only: Collection[str] | None, into: Writes) -> None:
        """The cells of the attributes of a row, or of those in `only`. Raises InvalidInput with the attribute."""

    def read(self, cells: Cells, into: dict[str, object]) -> None:
        """The attributes that are in `cells`. Raises one of `codecs.UNREADABLE`."""

    def find(self, names: Collection[str], into: dict[str, set[bytes]]) -> None:
        """The qualifiers, by family, that hold attributes in `names`."""

    def only(self, names: Collection[str]) -> Group:
        """The same cells for who reads attributes in `names`: it may leave others out."""


class AttributeCells:
    """One cell per attribute; null is no cell, and then a marker says that the row is there, as it does where only some
    attributes were written."""

    def __init__(self, places: Mapping[str, tuple[str, bytes]], codecs: Mapping[str, Codec]) -> None:
        """`places`: family and qualifier of each attribute."""
        self._places, self._codecs = places, codecs
        self.attributes = tuple(places)
        self.families = tuple(dict.fromkeys(family for family, _ in places.values()))
        self.qualifiers = tuple(qualifier for _, qualifier in places.values())
        """Of each attribute."""
        self._cells = [(name, family, qualifier, codecs[name].write) for name, (family, qualifier) in places.items()]
        self._known: dict[str, dict[bytes, tuple[str, Callable[[bytes], object]]]] = {}
        for name, (family, qualifier) in places.items():
            self._known.setdefault(family, {})[qualifier] = (name, codecs[name].read)

    def write(self, row: Row, only: Collection[str] | None, into: Writes) -> None:
        puts, deletes = into.puts, into.deletes
        for name, family, qualifier, write in self._cells:
            if only is not None and name not in only:
                continue
            value = row.get(name)
            if value is None:
                deletes.setdefault(family, []).append(qualifier)
                puts.setdefault(self.families[0], {})[MARKER] = b""
                continue
            if only is not None:
                puts.setdefault(self.families[0], {})[MARKER] = b""
            if family in puts:
                puts[family][qualifier] = write(value)
            else:
                puts[family] = {qualifier: write(value)}

    def read(self, cells: Cells, into: dict[str, object]) -> None:
        for family, known in self._known.items():
            for cell in reversed(cells.get(family, ())):  # the newest comes first, and must win
                found = known.get(cell.qualifier)
                if found is not None:
                    into[found[0]] = found[1](cell.value)

    def find(self, names: Collection[str], into: dict[str, set[bytes]]) -> None:
        into.setdefault(self.families[0], set()).add(MARKER)
        for name, family, qualifier, _ in self._cells:
            if name in names:
                into.setdefault(family, set()).add(qualifier)

    def only(self, names: Collection[str]) -> Group:
        if all(name in names for name in self.attributes):
            return self
        return AttributeCells({name: place for name, place in self._places.items() if name in names}, self._codecs)


class OneCell:
    """All attributes in one cell."""

    def __init__(
        self,
        family: str,
        qualifier: bytes,
        names: Sequence[str],
        write: Pack,
        read: Unpack,
        read_some: Callable[[Collection[str]], Unpack] | None = None,
    ) -> None:
        """`read_some` gives what reads only some attributes: then the bytes are those of `packing`."""
        self.attributes = tuple(names)
        self.families = (family,)
        self.qualifier, self.packed = qualifier, read_some is not None
        self._family, self._qualifier = family, qualifier
        self._write, self._read, self._read_some = write, read, read_some

    def write(self, row: Row, only: Collection[str] | None, into: Writes) -> None:
        if only is not None and not self._all_or_none(only):
            return
        into.puts.setdefault(self._family, {})[self._qualifier] = self._write(row)

    def read(self, cells: Cells, into: dict[str, object]) -> None:
        for cell in cells.get(self._family, ()):
            if cell.qualifier == self._qualifier:
                return self._read(cell.value, into)
        return None

    def find(self, names: Collection[str], into: dict[str, set[bytes]]) -> None:
        if any(name in names for name in self.attributes):
            into.setdefault(self._family, set()).add(self._qualifier)

    def only(self, names: Collection[str]) -> Group:
        if self._read_some is None or all(name in names for name in self.attributes):
            return self
        return OneCell(self._family, self._qualifier, self.attributes, self._write, self._read_some(names))

    def _all_or_none(self, only: Collection[str]) -> bool:
        """Whether all attributes are to be written. Raises InvalidInput for some of them."""
        absent = [name for name in self.attributes if name not in only]
        if absent and len(absent) < len(self.attributes):
            together = ", ".join(self.attributes)
            raise refused(absent[0], None, f"values of all of {together}, which share a cell", "missing")
        return not absent


def packed(family: str, qualifier: bytes, codecs: Sequence[Codec]) -> OneCell:
    """`value pack[…]`."""
    names, (write, read) = [codec.attribute for codec in codecs], pack_of(codecs)
    return OneCell(family, qualifier, names, write, read, partial(unpack_of_some, codecs))


def joined(family: str, qualifier: bytes, parts: Sequence[CompiledPart]) -> OneCell:
    """`value suffix(","){a}:b`, which has no bytes for null."""
    names = [part.attribute for part in parts if part.attribute is not None]

    def write(row: Row) -> bytes:
        for name in names:
            if row.get(name) is None:
                raise refused(name, None, "a value: only pack[…] and attr_value[…] have a place for null")
        return write_parts(parts, row)

    return OneCell(family, qualifier, names, write, lambda data, into: take_parts(parts, data, into))
