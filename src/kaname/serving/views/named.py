"""Rows of protocols that have no place of its own for an entity: its keys stand among the values, by name.

A key is called as the view calls it; where the model has an input or a feature of that name, it is `entity.NAME`. What
else may stand there is what the JSON protocol takes under `features`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, get_args, get_origin

import msgspec

from kaname.call import Call
from kaname.errors import InvalidInput
from kaname.features.views.types import View
from kaname.serving.exchange import Body
from kaname.serving.json_input import explain
from kaname.serving.oip.asked import within
from kaname.serving.views.entities import Entities
from kaname.serving.views.input import Given, Wanted, check_rows
from kaname.serving.views.rows import Rows


class Named:
    """Reads such rows for one view and one model."""

    def __init__(self, view: View, rows: Rows, given: Given, max_rows: int) -> None:
        self.keys = {f"entity.{key}" if key in rows.given else key: key for key in view.entity}
        """What requests call each key of an entity, and what the view does."""
        self.names = (*self.keys, *rows.given)
        self._mentions = [word for name in self.keys for word in {msgspec.json.encode(name), json.dumps(name).encode()}]
        self._nested = frozenset(name for name, of in rows.given.items() if list in _kinds(of))
        bytes_keys = {name for name, key in self.keys.items() if view.entity[key].name == "bytes"}
        self._bytes = bytes_keys.union(name for name, of in rows.given.items() if bytes in _kinds(of))
        self._entity = Entities(view).read
        self._read = given.read
        self._max_rows = max_rows

    def mentioned(self, body: Body) -> bool:
        """Whether JSON may name a key."""
        text = bytes(body)
        for word in self._mentions:  # noqa: SIM110  (a generator costs more than the search)
            if word in text:
                return True
        return False

    def is_asked(self, names: Iterable[str]) -> bool:
        """Whether one of these is a key."""
        return not self.keys.keys().isdisjoint(names)

    def is_nested(self, name: str) -> bool:
        """Whether one value is a list of its own."""
        return name in self._nested

    def text(self, name: str, value: bytes | str | None, where: str) -> bytes | str | None:
        """An element of bytes or text as the column called so has it. Raises InvalidInput."""
        if name in self._bytes:
            return value.encode() if isinstance(value, str) else value
        if not isinstance(value, bytes):
            return value
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise InvalidInput("not a text", where=where, found=repr(value)[:80], expected="UTF-8") from None

    def fill(self, call: Call, rows: Sequence[dict[str, Any]], said: str) -> None:
        """Set the number of rows of a call and what it wants of the view; the request calls its rows `said`. Takes the
        keys out of `rows`. Raises InvalidInput, TooLarge."""
        check_rows(len(rows), self._max_rows, said)
        entities = []
        for i, row in enumerate(rows):
            entity = {key: row.pop(name) for name, key in self.keys.items() if name in row}
            entities.append(self._entity(entity, f"{said}[{i}]"))
        given = self._given(rows, said) if any(rows) else None
        call.rows = len(rows)
        call.wanted = Wanted(entities, given, said)

    def _given(self, rows: Sequence[dict[str, Any]], said: str) -> list[dict[str, Any]]:
        found = []
        for i, row in enumerate(rows):
            try:
                found.append(self._read(row))
            except msgspec.ValidationError as error:
                raise within(explain(error), f"{said}[{i}]") from None
        return found


def _kinds(of: Any) -> set[Any]:
    """The kinds of values that a type has: `list` for all lists."""
    members = get_args(of) if get_origin(of) not in (None, list) else (of,)
    return {get_origin(member) or member for member in members}
