"""What a key may do: `predict:<model>`, `predict:*`, `read`, `write`, `admin`."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from kaname.errors import InvalidInput

IMPLIES: dict[str, frozenset[str]] = {
    "read": frozenset({"read"}),
    "write": frozenset({"read", "write"}),
    "admin": frozenset({"read", "write", "admin"}),
}
"""Each plain scope and everything that it allows beside predicting; `admin` may also predict with every model."""

_PREDICT = re.compile(r"predict:(\*|[A-Za-z0-9][A-Za-z0-9._-]{0,127})")
_EXPECTED = "predict:<model>, predict:*, read, write or admin"


class Grant(msgspec.Struct, frozen=True):
    """Scopes with everything that they imply: which models may be asked (None: all), and what else is allowed."""

    may_predict: frozenset[str] | None
    scopes: frozenset[str]


def check(scope: str) -> str:
    """`scope` itself when it is well formed; raises InvalidInput otherwise."""
    if scope not in IMPLIES and not _PREDICT.fullmatch(scope):
        raise InvalidInput("no such scope", where="scopes", found=repr(scope), expected=_EXPECTED)
    return scope


def normalise(scopes: Iterable[str]) -> tuple[str, ...]:
    """The scopes checked, sorted and without repetition; at least one is needed."""
    found = tuple(sorted({check(scope) for scope in scopes}))
    if not found:
        raise InvalidInput("a key needs a scope", where="scopes", found="none", expected=_EXPECTED)
    return found


def grant(scopes: Iterable[str]) -> Grant:
    """What `scopes` allow together. Unknown ones allow nothing, so a newer key never widens an older server."""
    plain: frozenset[str] = frozenset()
    models: set[str] = set()
    for scope in scopes:
        plain |= IMPLIES.get(scope, frozenset())
        match = _PREDICT.fullmatch(scope)
        if match is not None:
            models.add(match[1])
    everything = "*" in models or "admin" in plain
    return Grant(None if everything else frozenset(models), plain)
