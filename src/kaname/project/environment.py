"""Settings from the environment: `KANAME_SERVER__PORT=9000` sets `server.port`.

Two underscores separate the levels. Lists are written with commas, those of groups as
JSON. `null` unsets a value that may be unset.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import msgspec
from msgspec import inspect

from kaname.errors import InvalidInput, KanameError
from kaname.project.typed import expectation, fields_at, is_secret, near, type_at
from kaname.settings import Settings

PREFIX = "KANAME_"


def overrides_of(
    environ: Mapping[str, str], of: type = Settings
) -> tuple[dict[str, tuple[str, object]], list[KanameError]]:
    """Dotted setting -> (variable, value) for each variable that is a setting, and what is wrong with the others.

    A variable without two underscores is a setting only if it names one (`KANAME_PROFILE`); others, such as
    `KANAME_DEBUG`, belong to other programs, unless they look like a slip of the pen.
    """
    found: dict[str, tuple[str, object]] = {}
    problems: list[KanameError] = []
    for variable in sorted(environ):
        if not variable.startswith(PREFIX):
            continue
        path = tuple(variable.removeprefix(PREFIX).lower().split("__"))
        if len(path) == 1 and not _is_meant(path[0], of):
            continue
        try:
            found[".".join(path)] = (variable, _value(variable, path, environ[variable], of))
        except KanameError as problem:
            problems.append(problem)
    return found, problems


def _is_meant(name: str, of: type) -> bool:
    """True for the name of a setting, and for one that is a letter or two away from it."""
    return bool(get_close_matches(name, [field.encode_name for field in fields_at(of, ())], cutoff=0.8))


def _value(variable: str, path: tuple[str, ...], text: str, of: type) -> object:
    """`text` as the type of the setting at `path`."""
    for depth, name in enumerate(path):
        names = [field.encode_name for field in fields_at(of, path[:depth])]
        if name not in names:
            raise InvalidInput(f"no such setting: {'.'.join(path)}", where=variable, expected=near(name, names))
    kind = type_at(of, path)
    if inner := fields_at(of, path):
        example = f"{variable}__{inner[0].encode_name.upper()}"
        raise InvalidInput("a group of settings, not a setting", where=variable, expected=f"{example}, for example")
    if is_secret(kind):
        return _secret(variable, path, text)
    if fields_at(of, (*path, 0)):
        return _listed(variable, path, text, of)
    if _takes(kind, inspect.VarTupleType):
        return [part.strip() for part in text.split(",") if part.strip()]
    try:
        return msgspec.to_builtins(msgspec.convert(text, _annotation(path, of), strict=False))
    except msgspec.ValidationError as error:
        raise InvalidInput(
            f"`{'.'.join(path)}` is not what it should be",
            where=variable,
            found=f'"{text}"',
            expected=expectation(str(error), kind),
        ) from None


def _secret(variable: str, path: tuple[str, ...], text: str) -> str | None:
    if not text:
        raise InvalidInput(f"`{'.'.join(path)}` must not be empty", where=variable, expected="the secret, or null")
    return None if text == "null" else text


def _listed(variable: str, path: tuple[str, ...], text: str, of: type) -> object:
    kind: Any = _annotation(path, of)
    try:
        return msgspec.to_builtins(msgspec.json.decode(text, type=kind))
    except msgspec.MsgspecError as error:
        raise InvalidInput(f"`{'.'.join(path)}`: {error}", where=variable, expected="a JSON list") from None


def _takes(kind: inspect.Type | None, wanted: type[inspect.Type]) -> bool:
    return isinstance(kind, inspect.UnionType) and any(isinstance(inner, wanted) for inner in kind.types)


def _annotation(path: tuple[str, ...], of: type) -> object:
    """The declared type of the setting at `path`, constraints included."""
    owner: object = of
    for name in path:
        owner = next(field.type for field in msgspec.structs.fields(owner) if field.encode_name == name)  # type: ignore[arg-type]  # all but the last are Structs
    return owner
