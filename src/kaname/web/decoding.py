"""JSON bodies and query strings into Structs; a fault becomes an InvalidInput that names its place."""

from __future__ import annotations

import re
import types
import typing
from functools import lru_cache

import msgspec

from kaname.errors import InvalidInput, KanameError

_AT = re.compile(r"^(?P<what>.*?)(?: - at `(?P<where>.*)`)?$", re.DOTALL)
_EXPECTED = re.compile(r"Expected `(?P<expected>.*)`, got `(?P<found>.*)`$")
_BOUND = re.compile(r"Expected `(?P<expected>.*)`$")


@lru_cache(maxsize=512)
def _decoder(kind: type[msgspec.Struct]) -> msgspec.json.Decoder[msgspec.Struct]:
    return msgspec.json.Decoder(kind)


def decode(raw: bytes, kind: type[msgspec.Struct]) -> msgspec.Struct:
    """The Struct that the JSON document `raw` holds; nothing at all counts as an empty object.

    Of duplicate keys in an object the last one counts. Raises InvalidInput.
    """
    try:
        return _decoder(kind).decode(raw or b"{}")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise invalid(error, "body") from error


def decode_query(pairs: list[tuple[str, str]], kind: type[msgspec.Struct]) -> msgspec.Struct:
    """The Struct that query parameters fill; only fields that are lists may come more than once.

    Raises InvalidInput, also for a parameter that the Struct does not know.
    """
    lists = _list_fields(kind)
    values: dict[str, str | list[str]] = {}
    for name, value in pairs:
        if name in lists:
            typing.cast("list[str]", values.setdefault(name, [])).append(value)
        elif name in values:
            raise InvalidInput("a parameter came twice", where=f"query.{name}", expected="one value")
        else:
            values[name] = value
    unknown = values.keys() - {field.encode_name for field in msgspec.structs.fields(kind)}
    if unknown:
        expected = ", ".join(field.encode_name for field in msgspec.structs.fields(kind)) or "no parameters"
        raise InvalidInput("no such parameter", where=f"query.{min(unknown)}", expected=expected)
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.MsgspecError as error:
        raise invalid(error, "query") from error


def invalid(error: Exception, root: str) -> KanameError:
    """What a decoding error of msgspec says, with the place written as `root.field[0].other`."""
    if isinstance(error, RecursionError):
        return InvalidInput("the JSON is nested too deeply", where=root)
    if isinstance(error, UnicodeDecodeError):
        return InvalidInput("the text is not valid UTF-8", where=root, found=f"a bad byte at offset {error.start}")
    match = _AT.match(str(error))
    assert match is not None
    what = match["what"]
    where = root + (match["where"] or "$").removeprefix("$")
    both = _EXPECTED.match(what)
    if both is not None:
        return InvalidInput("wrong type", where=where, found=both["found"], expected=both["expected"])
    bound = _BOUND.match(what)
    if bound is not None:
        return InvalidInput("value out of range", where=where, expected=bound["expected"])
    return InvalidInput(what[:1].lower() + what[1:] if what.startswith("Object ") else what, where=where)


@lru_cache(maxsize=512)
def _list_fields(kind: type[msgspec.Struct]) -> frozenset[str]:
    hints = typing.get_type_hints(kind)
    return frozenset(field.encode_name for field in msgspec.structs.fields(kind) if _is_list(hints[field.name]))


def _is_list(hint: object) -> bool:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_is_list(part) for part in typing.get_args(hint))
    return origin in (list, tuple)
