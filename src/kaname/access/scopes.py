"""What a key may do: `predict:<model>`, `read:<relation>`, `write:<relation>` (`*`: all), `read`, `write`, `admin`."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

import msgspec

from kaname.errors import InvalidInput
from kaname.settings import SCOPE

IMPLIES: dict[str, frozenset[str]] = {
    "read": frozenset({"read"}),
    "write": frozenset({"read", "write"}),
    "admin": frozenset({"read", "write", "admin"}),
}
"""Each plain scope and everything that it allows beside predicting; `admin` may also predict with every model."""

_SCOPE = re.compile(SCOPE)
EXPECTED = "predict:<model>, read:<relation>, write:<relation> (`*` for all of them), read, write or admin"


class Grant(msgspec.Struct, frozen=True):
    """Scopes with everything that they imply: which models may be asked (None: all), and what else is allowed; of
    relations what `allows` says."""

    may_predict: frozenset[str] | None
    scopes: frozenset[str]


EVERYTHING = Grant(None, IMPLIES["admin"])
"""What `admin` allows."""


def is_scope(text: str) -> bool:
    """Whether it is well formed."""
    return _SCOPE.fullmatch(text) is not None


def check(scope: str) -> str:
    """`scope` itself when it is well formed; raises InvalidInput otherwise."""
    if not is_scope(scope):
        raise InvalidInput("no such scope", where="scopes", found=repr(scope), expected=EXPECTED)
    return scope


def normalise(scopes: Iterable[str]) -> tuple[str, ...]:
    """The scopes checked, sorted and without repetition; at least one is needed."""
    found = tuple(sorted({check(scope) for scope in scopes}))
    if not found:
        raise InvalidInput("a key needs a scope", where="scopes", found="none", expected=EXPECTED)
    return found


def grant(scopes: Iterable[str]) -> Grant:
    """What `scopes` allow together. Unknown ones allow nothing, so a newer key never widens an older server."""
    plain: frozenset[str] = frozenset()
    models: set[str] = set()
    for scope in scopes:
        match = _SCOPE.fullmatch(scope)
        if match is not None and match[1] is not None:
            models.add(match[1])
        elif match is not None:
            plain |= IMPLIES.get(scope) or {scope, scope.replace("write:", "read:")}
    everything = "*" in models or "admin" in plain
    return Grant(None if everything else frozenset(models), plain)


def allows(held: Collection[str], scope: str) -> bool:
    """Whether the scopes of a Grant allow what one of them says: a plain one, or `read:` or `write:` of a relation."""
    kind, colon, _ = scope.partition(":")
    return scope in held or "admin" in held or (bool(colon) and f"{kind}:*" in held)


def narrow(held: Grant, asked: Grant) -> Grant:
    """What is in both."""
    if held.may_predict is None or asked.may_predict is None:
        models = asked.may_predict if held.may_predict is None else held.may_predict
    else:
        models = held.may_predict & asked.may_predict
    both = {one for one in held.scopes | asked.scopes if allows(held.scopes, one) and allows(asked.scopes, one)}
    return Grant(models, frozenset(both))


def covers(held: Grant, asked: Grant) -> bool:
    """Whether everything asked for is held."""
    return narrow(held, asked) == asked


def spell(held: Grant) -> tuple[str, ...]:
    """The fewest scopes that allow just this."""
    if held == EVERYTHING:
        return ("admin",)
    models = ("*",) if held.may_predict is None else sorted(held.may_predict)
    plain = [name for name in ("write", "read") if name in held.scopes][:1]
    rows = sorted(name for name in held.scopes if ":" in name)
    implied = {name.replace("write:", "read:") for name in rows if name.startswith("write:")}
    return (*(f"predict:{model}" for model in models), *(name for name in rows if name not in implied), *plain)
