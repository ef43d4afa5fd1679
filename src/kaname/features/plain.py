"""Values of attributes as JSON and YAML have them: what has no form of its own there is text."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import msgspec

from kaname.errors import InvalidInput
from kaname.features.codecs import codec_of
from kaname.features.refusing import refused
from kaname.features.types import Attribute

_FORMS: dict[str, tuple[Any, str]] = {
    "timestamp": (datetime, "a time with a zone, as in 2026-01-31T12:00:00Z"),
    "date": (date, "a date, as in 2026-01-31"),
    "decimal": (Decimal, "a decimal number, as text or a number"),
    "bytes": (bytes, "bytes in base64"),
}


def reader_of(attribute: Attribute) -> Callable[[object], object]:
    """A plain value as the attribute has it, checked. It raises InvalidInput with the attribute as `where`."""
    codec, form = codec_of(attribute), _FORMS.get(attribute.type.name)
    write, back = codec.write, codec.read

    def read(value: object) -> object:
        if form is not None:
            value = _converted(attribute.name, value, *form)
        return back(write(value))

    return read


def _converted(name: str, value: object, of: Any, expected: str) -> object:
    try:
        return msgspec.convert(str(value) if of is Decimal and not isinstance(value, bool) else value, of)
    except (msgspec.ValidationError, InvalidInput):
        raise refused(name, value, expected) from None
