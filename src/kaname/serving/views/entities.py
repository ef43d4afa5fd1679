"""Entities as JSON names them: keys by name, texts for what JSON has no form of its own for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kaname.errors import InvalidInput
from kaname.features.plain import reader_of
from kaname.features.types import Attribute
from kaname.features.views.plan import Keys, Plan
from kaname.features.views.types import View

_PLAIN = ("string", "bool", "int32", "int64", "float32", "float64")
"""Types whose values JSON has as they are."""
ENTITY, ENTITIES = "entity", "entities"
"""What JSON bodies call one entity, and several."""


class Entities:
    """Reads the entities of one view."""

    def __init__(self, view: View) -> None:
        self._read = [
            (name, reader_of(Attribute(name, of))) for name, of in view.entity.items() if of.name not in _PLAIN
        ]

    def read(self, said: dict[str, Any], where: str) -> dict[str, Any]:
        """What was said, values in the place of texts. Raises InvalidInput below `where`."""
        for name, read in self._read:
            if name in said:
                try:
                    said[name] = read(said[name])
                except InvalidInput as error:
                    raise InvalidInput(
                        error.message, where=f"{where}.{name}", found=error.found, expected=error.expected
                    ) from None
        return said


def keys_of(plan: Plan, entities: Sequence[dict[str, Any]], said: str) -> list[Keys]:
    """The keys of each entity. Raises InvalidInput whose `where` begins with `entity`, or with `SAID[i]` where `said`
    is another name: that of a list in the request."""
    keys: list[Keys] = []
    for i, entity in enumerate(entities):
        try:
            keys.append(plan.keys(entity))
        except InvalidInput as error:
            if said is not ENTITY:
                error.where = str(error.where).replace(ENTITY, f"{said}[{i}]", 1)
            raise
    return keys
