"""The error for a value that cannot be written."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from kaname.errors import InvalidInput, NotFound

LONE_SURROGATE = "text that UTF-8 can hold, without half of a surrogate pair"


def refused(name: str, value: object, expected: str, message: str = "not a value of this attribute") -> InvalidInput:
    """The error for a value of attribute `name` that cannot be written."""
    return InvalidInput(message, where=name, found=shown(value), expected=expected)


def shown(value: object) -> str:
    """A short form of a value for an error."""
    text = "null" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def check_named(relations: Iterable[str], name: str) -> None:
    """Raise NotFound for a relation that is not among those declared."""
    names = sorted(relations)
    if name not in names:
        near = difflib.get_close_matches(name, names, n=2) or names[:5]
        expected = " or ".join(near) or "nothing: features/*.schema declare none"
        raise NotFound("no such relation", where="relation", found=name, expected=expected)
