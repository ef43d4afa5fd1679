"""JSON documents as values: only what comes back from the bytes as it was."""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from kaname.features.refusing import LONE_SURROGATE, refused

_SURROGATE = re.compile("[\ud800-\udfff]")
_JSON_EXPECTED = "what JSON can hold: objects with text as keys, lists, text, finite numbers, true, false, null"


def document(name: str) -> Callable[[object], bytes]:
    """The item of a JSON attribute."""

    def item(value: object) -> bytes:
        try:
            _check_json(name, value)
            return msgspec.json.encode(value)
        except RecursionError:
            raise refused(name, "…", "JSON that is not nested so deeply") from None

    return item


def _check_json(name: str, value: object) -> None:
    """Only what comes back from JSON as it was."""
    kind = type(value)
    if kind is dict:
        assert isinstance(value, dict)
        for key, inner in value.items():
            if type(key) is not str:
                raise refused(name, key, _JSON_EXPECTED)
            _check_json(name, key)
            _check_json(name, inner)
    elif kind is list:
        assert isinstance(value, list)
        for inner in value:
            _check_json(name, inner)
    elif isinstance(value, str) and kind is str:
        if _SURROGATE.search(value):
            raise refused(name, value, LONE_SURROGATE)
    elif isinstance(value, int) and kind is int:
        if not -(1 << 63) <= value < 1 << 63:
            raise refused(name, value, "a whole number of 64 bits")
    elif isinstance(value, float) and kind is float:
        if value - value != 0:
            raise refused(name, value, _JSON_EXPECTED)
    elif value is not None and kind is not bool:
        raise refused(name, value, _JSON_EXPECTED)
