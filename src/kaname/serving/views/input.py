"""Bodies of `POST …/predict` for a model with a view: entities beside, or in the place of, features.

    {"entity": {"user_id": "u1"}, "features": {"price": 3}}                      one row
    {"entities": [{"item": 1}, {"item": 2}], "entity": {"user_id": "u1"}}        several rows that share a key
    {"entities": [{…}, {…}], "instances": [{"price": 3}, {}]}                    several rows, values for each

What a request gives stands in the place of what would be read. A body without an entity brings all features itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from kaname.call import Call
from kaname.errors import InvalidInput, TooLarge
from kaname.features.views.plan import Used
from kaname.features.views.types import View
from kaname.serving.exchange import Body
from kaname.serving.json_input import MANY, explain
from kaname.serving.json_rows import ONE
from kaname.serving.views.entities import ENTITIES, ENTITY, Entities
from kaname.serving.views.rows import Rows

UNSET = msgspec.UNSET
UNSET_TYPE: Any = msgspec.UnsetType
MENTIONED = b'"entit'


class Wanted:
    """What a request wants of a view: an entity per row, and what stands in the place of its columns."""

    __slots__ = ("entities", "given", "said", "used")

    def __init__(self, entities: Sequence[dict[str, Any]], given: Sequence[dict[str, Any]] | None, said: str) -> None:
        """`said`: what the request calls its entities (see `entities.keys_of`)."""
        self.entities = entities
        self.given = given
        self.said = said
        self.used: list[dict[str, Used]] | None = None
        """A list, to which the step adds a mapping per row, where the answer is to list what was used."""


class Given:
    """The values that requests may give for one row, by name."""

    def __init__(self, rows: Rows) -> None:
        self._names = tuple(rows.given)
        self._fields = {name: f"f{i}" for i, name in enumerate(rows.given)}
        fields = [
            (f"f{i}", of | UNSET_TYPE, msgspec.field(name=name, default=UNSET))
            for i, (name, of) in enumerate(rows.given.items())
        ]
        self.type = msgspec.defstruct("Given", fields, forbid_unknown_fields=True, kw_only=True, gc=False)

    def values(self, said: Any) -> dict[str, Any]:
        """What a `type` holds."""
        values = msgspec.structs.astuple(said)
        return {name: value for name, value in zip(self._names, values, strict=True) if value is not UNSET}

    def read(self, row: dict[str, Any]) -> dict[str, Any]:
        """The same of plain values by name. Raises msgspec.ValidationError."""
        said = msgspec.convert(row, self.type)
        return {name: getattr(said, self._fields[name]) for name in row}


def check_rows(count: int, most: int, where: str) -> None:
    """Raises InvalidInput, or TooLarge for too many rows."""
    if not 0 < count <= most:
        kind = TooLarge if count else InvalidInput
        raise kind("number of rows", where=where, found=str(count), expected=f"1 to {most}")


class ViewInput:
    """Decodes bodies for one view and one model."""

    def __init__(self, view: View, given: Given, max_rows: int, plain: Callable[[Call, Body], None]) -> None:
        """`plain` fills a call from a body that names no entity."""
        self._max_rows = max_rows
        self._plain = plain
        self._given = given.values
        features = given.type
        entity = dict[str, Any]
        self._decode: Callable[[Body], Any] = msgspec.json.Decoder(
            msgspec.defstruct(
                "PredictBody",
                [
                    ("entity", entity | UNSET_TYPE, UNSET),
                    ("entities", list[entity] | UNSET_TYPE, UNSET),
                    ("features", features | UNSET_TYPE, UNSET),
                    ("instances", list[features] | UNSET_TYPE, UNSET),  # type: ignore[valid-type]  # made at run time
                ],
                forbid_unknown_fields=True,
            )
        ).decode
        self._entity = Entities(view).read

    def fill(self, call: Call, body: Body) -> None:
        """Set the call's rows, its form and what it wants of the view. Raises InvalidInput, TooLarge."""
        call.wanted = None
        if MENTIONED not in bytes(body):
            self._plain(call, body)
            return
        try:
            said = self._decode(body)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise explain(error) from None
        if said.entity is said.entities is UNSET:  # the word was in a text
            self._plain(call, body)
            return
        entities, given = said.entities, said.instances
        if entities is UNSET and given is UNSET:
            call.form, call.rows = ONE, 1
            one = None if said.features is UNSET else [self._given(said.features)]
            call.wanted = Wanted([self._entity({} if said.entity is UNSET else said.entity, ENTITY)], one, ENTITY)
            return
        self._fill_many(call, said)

    def _fill_many(self, call: Call, said: Any) -> None:
        if said.features is not UNSET:
            raise InvalidInput("both given", where="body", found="features for one row, and several rows")
        many = said.entities if said.entities is not UNSET else said.instances
        count = len(many)
        check_rows(count, self._max_rows, ENTITIES if said.entities is not UNSET else MANY)
        if said.instances is not UNSET and len(said.instances) != count:
            found = f"{len(said.instances)} instances for {count} entities"
            raise InvalidInput("as many instances as entities", where=MANY, found=found)
        shared = {} if said.entity is UNSET else said.entity
        own = [{}] * count if said.entities is UNSET else said.entities
        call.form, call.rows = MANY, count
        given = None if said.instances is UNSET else [self._given(each) for each in said.instances]
        entities = [self._entity({**shared, **each}, f"{ENTITIES}[{i}]") for i, each in enumerate(own)]
        call.wanted = Wanted(entities, given, ENTITIES)
