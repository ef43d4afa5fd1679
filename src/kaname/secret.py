"""Passwords and keys that settings carry: whoever prints, logs or encodes one sees that there is one, never what it is.

Declare `password: Secret | None = None`, and below it `password_file: str | None = None` where it may also come from a
file (as containers mount secrets): the file's text, without the line end, is then the value of `password`. A URL that
may hold a password is a Secret, too. The environment works as for every setting: `KANAME_…__PASSWORD` and
`KANAME_…__PASSWORD_FILE`.

Read it with `reveal()` where it is used and keep what that returns in no error, log line or attribute. There is no way
back from text to a Secret by accident: msgspec needs `secret_hook` to decode one and refuses to encode it unless told
to write the mask (`enc_hook=mask_secret`).
"""

from __future__ import annotations

import hmac
from typing import Any, NoReturn

MASK = "********"


class Secret:
    """Text that shows itself as a mask; equal to another with the same text."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        """Raises ValueError for an empty one, which is always a mistake."""
        if not text:
            raise ValueError("a secret must not be empty")
        self._text = text

    def reveal(self) -> str:
        """The text itself."""
        return self._text

    def __repr__(self) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not copied to files or other processes")

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, _: object) -> Secret:
        return self


def secret_hook(kind: type, value: Any) -> object:
    """The `dec_hook` with which msgspec reads Structs that hold secrets. Its complaints never show the value."""
    if kind is not Secret:
        raise NotImplementedError(kind.__name__)
    if not isinstance(value, str):
        raise ValueError('a secret is text, in quotes where it looks like a number: "…"')
    return Secret(value)


def mask_secret(value: Any) -> object:
    """The `enc_hook` with which msgspec writes what people may see."""
    if isinstance(value, Secret):
        return MASK
    raise NotImplementedError(type(value).__name__)
