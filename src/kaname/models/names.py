"""What models, versions and tags may be called."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from kaname.errors import InvalidInput, NotFound

_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")


def check_model(name: str) -> str:
    """`name`, when it can name a model: up to 128 letters, digits, `.`, `_`, `-`, not all digits (that is a number)."""
    return _check(name, "model", _MODEL, "1 to 128 of A-Z a-z 0-9 . _ -, first a letter or digit, not only digits")


def check_version(name: str) -> str:
    """`name`, when it can name a version: up to 64 letters, digits, `.`, `_`, `+`, `-`."""
    return _check(name, "version", _VERSION, "1 to 64 of A-Z a-z 0-9 . _ + -, first a letter or digit")


def check_tag(name: str) -> str:
    """`name`, when it can be a tag: the rule of versions."""
    return _check(name, "tag", _VERSION, "1 to 64 of A-Z a-z 0-9 . _ + -, first a letter or digit")


def _check(name: str, what: str, pattern: re.Pattern[str], expected: str) -> str:
    if not pattern.fullmatch(name) or (what == "model" and name.isdigit()):
        raise InvalidInput(f"not a {what} name", where=what, found=repr(name), expected=expected)
    return name


def unknown(what: str, name: object, known: Iterable[str], where: str | None = None) -> NotFound:
    """The error for a name that does not exist, with those that are spelt nearly so, or some that exist."""
    names = sorted(known)
    near = difflib.get_close_matches(str(name), names, n=3) or names[:5]
    expected = " or ".join(near) if near else f"nothing: there is no {what} yet"
    return NotFound(f"no such {what}", where=where or what, found=str(name), expected=expected)
