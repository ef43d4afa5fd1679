"""A model's settings as the differences from the project's defaults, by dotted name: `limits.queue`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from kaname.errors import InvalidInput
from kaname.settings import ModelConfig

Leaves = dict[str, Any]
"""Dotted field names of ModelConfig and their values, as JSON has them."""


def leaves_of(config: ModelConfig) -> Leaves:
    """Every field of `config` by its dotted name."""
    return dict(flatten(msgspec.to_builtins(config)))


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested mappings with their dotted names."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, list(value) if isinstance(value, tuple) else value


def differences(config: ModelConfig, defaults: ModelConfig) -> Leaves:
    """The fields in which `config` departs from `defaults`."""
    usual = leaves_of(defaults)
    return {name: value for name, value in leaves_of(config).items() if value != usual[name]}


def overlay(defaults: ModelConfig, overrides: Mapping[str, Any]) -> ModelConfig:
    """`defaults` with the given fields replaced. Raises InvalidInput for a field or a value that does not fit."""
    if not overrides:
        return defaults
    merged = leaves_of(defaults)
    check_names(overrides)
    merged.update(overrides)
    try:
        return msgspec.convert(_nested(merged), ModelConfig)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$.")
        where = path.rstrip("`").partition("[")[0] or None
        raise InvalidInput(
            message, where=f"config.{where}", found=repr(merged.get(where or "")), expected="a value of its type"
        ) from error


def known(overrides: Mapping[str, Any]) -> Leaves:
    """Those that this release has: one that comes after it may have set others in the same database."""
    names = leaves_of(ModelConfig())
    return {name: value for name, value in overrides.items() if name in names}


def check_names(names: Iterable[str]) -> None:
    """Raise InvalidInput for a dotted name that is no setting."""
    known = leaves_of(ModelConfig())
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3) or sorted(known)
            raise InvalidInput("no such setting of a model", where="config", found=name, expected=" or ".join(near))


def parse(name: str, text: str) -> Any:
    """The value that a person typed for a setting: JSON when it is JSON, else the text itself."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text.split(",") if name == "record.redact" else text


def _nested(leaves: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, value in leaves.items():
        at = tree
        *folders, last = name.split(".")
        for folder in folders:
            at = at.setdefault(folder, {})
        at[last] = value
    return tree
