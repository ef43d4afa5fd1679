"""Rows as JSON: times and dates as RFC 3339 writes them, bytes in base64, decimals exact, as numbers or text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import Meta

from kaname.errors import InvalidInput
from kaname.features.types import Attribute, Relation, Row

_TYPES: dict[str, Any] = {
    "string": str,
    "bytes": bytes,
    "bool": bool,
    "int32": Annotated[int, Meta(ge=-(1 << 31), le=(1 << 31) - 1)],
    "int64": Annotated[int, Meta(ge=-(1 << 63), le=(1 << 63) - 1)],
    "float32": float,
    "float64": float,
    "decimal": Decimal,
    "timestamp": Annotated[datetime, Meta(tz=True)],
    "date": date,
    "json": Any,
}
_FORMS = {
    "string": "text",
    "bytes": "text of base64",
    "bool": "true or false",
    "int32": "a whole number of 32 bits",
    "int64": "a whole number of 64 bits",
    "float32": "a number",
    "float64": "a number",
    "decimal": "a number, or text that holds one",
    "timestamp": "a time with its zone, as in 2026-01-31T12:00:00Z",
    "date": "a date, as in 2026-01-31",
    "json": "JSON",
}
_AT = re.compile(r"^(?P<what>.*) - at `\$(?P<row>\[\d+\])(?:\.(?P<rest>.*))?`$", re.DOTALL)
_GOT = re.compile(r"got `(?P<got>.*)`$")
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>.*)`$", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<name>.*)`$", re.DOTALL)

Documents: TypeAlias = Sequence[bytes | msgspec.Raw]

encode = msgspec.json.Encoder().encode
"""A row, or anything of rows, as JSON; numbers that it has no form for (NaN, infinity) become null."""


class RowReader:
    """Reads rows of one relation, or keys of such, checked but for what only layouts know."""

    def __init__(self, relation: Relation, attributes: Sequence[Attribute] | None = None) -> None:
        """`attributes`: those that a row may have (None: all); of these the key must be there."""
        self._relation = relation
        self._attributes = relation.attributes if attributes is None else tuple(attributes)
        self._names = tuple(attribute.name for attribute in self._attributes)
        self._places = places = [f"f{i}" for i in range(len(self._names))]
        fields = [
            (place, json_type(attribute)) if attribute.key else (place, json_type(attribute) | None, None)
            for place, attribute in zip(places, self._attributes, strict=True)
        ]
        kind = msgspec.defstruct(
            "Row",
            fields,
            rename=dict(zip(places, self._names, strict=True)),
            forbid_unknown_fields=True,
            kw_only=True,
            gc=False,
        )
        self._decode = msgspec.json.Decoder(list[kind]).decode  # type: ignore[valid-type]  # made above

    def read(self, documents: Documents) -> list[Row]:
        """The rows of documents, each an object. Raises InvalidInput with `rows[i].attribute`."""
        names, values = self._names, msgspec.structs.astuple
        return [dict(zip(names, values(row), strict=True)) for row in self._read(documents)]

    def columns(self, documents: Documents) -> dict[str, list[object]]:
        """The same by attribute: of each the values of all rows, None for null."""
        rows = self._read(documents)
        return {
            name: [getattr(row, place) for row in rows] for name, place in zip(self._names, self._places, strict=True)
        }

    def _read(self, documents: Documents) -> list[msgspec.Struct]:
        try:
            found = self._decode(b"[" + b",".join(documents) + b"]")
        except msgspec.ValidationError as error:
            raise self._refused(str(error)) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            found = []
        if len(found) != len(documents):
            self._check_each(documents)
        return found

    def _check_each(self, documents: Documents) -> None:
        """Raise for the first that is not one document."""
        for i, document in enumerate(documents):
            try:
                msgspec.json.decode(document)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise InvalidInput("not JSON", where=f"rows[{i}]", found=str(error), expected="an object") from None

    def _refused(self, said: str) -> InvalidInput:
        match = _AT.match(said)
        assert match is not None
        what, row = match["what"], f"rows{match['row']}"
        if unknown := _UNKNOWN.match(what):
            expected = f"one of {', '.join(self._names)}"
            return InvalidInput("no such attribute", where=f"{row}.{unknown['name']}", expected=expected)
        if missing := _MISSING.match(what):
            return InvalidInput("a key attribute is missing", where=f"{row}.{missing['name']}")
        got = _GOT.search(what)
        if match["rest"] is None:
            return InvalidInput("not a row", where=row, found=got and got["got"], expected="an object")
        name = re.split(r"[.\[]", match["rest"])[0]
        form = next((json_form(one) for one in self._attributes if one.name == name), None)
        message = "not a value of this attribute" + ("" if got else f": {what[:1].lower()}{what[1:]}")
        return InvalidInput(message, where=f"{row}.{match['rest']}", found=got and got["got"], expected=form)


@lru_cache(256)
def row_reader(relation: Relation) -> RowReader:
    """What reads whole rows."""
    return RowReader(relation)


@lru_cache(256)
def key_reader(relation: Relation) -> RowReader:
    """What reads keys and nothing else."""
    return RowReader(relation, relation.key)


def json_type(attribute: Attribute) -> Any:
    """What msgspec takes for the type of an attribute's values in JSON."""
    of = attribute.type
    if of.name != "vector":
        return _TYPES[of.name]
    numbers: Any = list.__class_getitem__(_TYPES[of.item])
    return Annotated[numbers, Meta(min_length=of.length, max_length=of.length)]


def json_form(attribute: Attribute) -> str:
    """The same for people."""
    of = attribute.type
    return f"a list of {of.length} numbers" if of.name == "vector" else _FORMS[of.name]
