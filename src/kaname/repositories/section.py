"""The named values of a configuration file, asked for one by one; what nobody asked for is named at the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from kaname.errors import InvalidInput
from kaname.repositories import textproto
from kaname.repositories.textproto import Field, Message
from kaname.repositories.types import Remark

T = TypeVar("T")
UNKNOWN = "not a field that is known"


class Section:
    """One message of a text-format file, or one object of a JSON file."""

    def __init__(self, message: Message, name: str = "") -> None:
        """`name`: the dotted name of the section in its file."""
        self._fields = message.fields
        self._name = name
        self._asked: set[str] = set()

    @classmethod
    def empty(cls) -> Section:
        """A file that says nothing."""
        return cls(Message(()))

    @classmethod
    def of_textproto(cls, path: Path, shown: str) -> Section:
        """The file in the text format of protocol buffers. Raises InvalidInput with file, line and column."""
        return cls(textproto.parse(_text_of(path, shown), shown))

    @classmethod
    def of_json(cls, path: Path, shown: str) -> Section:
        """The file as one JSON object. Raises InvalidInput."""
        try:
            value = msgspec.json.decode(_text_of(path, shown))
        except msgspec.DecodeError as error:
            raise InvalidInput(f"not JSON: {error}", where=shown) from error
        if not isinstance(value, dict):
            raise InvalidInput("not a JSON object", where=shown, found=type(value).__name__, expected="an object")
        return cls(of_object(value, shown))

    def text(self, name: str) -> str | None:
        """A text (or the name of an enum's value)."""
        return self._one(name, str, "a text")

    def whole(self, name: str) -> int | None:
        """A whole number."""
        return self._one(name, int, "a whole number")

    def number(self, name: str) -> float | None:
        """A number."""
        found = self._one(name, (int, float), "a number")
        return None if found is None else float(found)

    def flag(self, name: str) -> bool:
        """True or false; false where it is not there."""
        return bool(self._one(name, bool, "true or false"))

    def texts(self, name: str) -> list[str]:
        """All values of a field that is repeated."""
        return [self._typed(field, str, "a text") for field in self._values(name)]

    def wholes(self, name: str) -> list[int]:
        """All values of a field that is repeated."""
        return [self._typed(field, int, "a whole number") for field in self._values(name)]

    def section(self, name: str) -> Section | None:
        """A section in this one; the last where there are several."""
        found = self.sections(name)
        return found[-1] if found else None

    def sections(self, name: str) -> list[Section]:
        """All sections of that name."""
        found = [self._typed(field, Message, "a section") for field in self._values(name)]
        return [Section(message, self._dotted(name)) for message in found]

    def pairs(self, name: str) -> list[tuple[str, Section]]:
        """The entries of a map: its key, and the section that holds `value`."""
        return [(entry.text("key") or "", entry) for entry in self.sections(name)]

    def has(self, name: str) -> bool:
        """Whether it is there; asking does not count as taking it over."""
        return any(field.name == name for field in self._fields)

    def place(self, name: str) -> str:
        """Where a field is."""
        return next((field.place for field in self._fields if field.name == name), self._name)

    def remark(self, name: str, reason: str, what: str | None = None) -> Remark:
        """Say of a field why it is not taken over."""
        self._asked.add(name)
        return Remark(what=what or self._dotted(name), reason=reason, where=self.place(name))

    def left(self, reasons: Mapping[str, str] | None = None) -> Iterator[Remark]:
        """A remark for each field that nobody asked for: its reason, or that it is not known."""
        for name in dict.fromkeys(field.name for field in self._fields):
            if name not in self._asked:
                yield self.remark(name, (reasons or {}).get(name, UNKNOWN))

    def _dotted(self, name: str) -> str:
        return f"{self._name}.{name}" if self._name else name

    def _values(self, name: str) -> list[Field]:
        self._asked.add(name)
        return [field for field in self._fields if field.name == name]

    def _one(self, name: str, kind: type[T] | tuple[type[T], ...], expected: str) -> T | None:
        found = self._values(name)
        return self._typed(found[-1], kind, expected) if found else None

    def _typed(self, field: Field, kind: type[T] | tuple[type[T], ...], expected: str) -> T:
        value = field.value
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            found = "a section" if isinstance(value, Message) else repr(value)
            raise InvalidInput(
                f"`{self._dotted(field.name)}` is not what it should be",
                where=field.place,
                found=found,
                expected=expected,
            )
        return value


def of_object(value: Mapping[str, object], where: str, path: str = "") -> Message:
    """A JSON object as a message: a list is a field that is repeated, null is absent."""
    fields: list[Field] = []
    for name, inner in value.items():
        place = f"{where}: {path}{name}"
        for one in inner if isinstance(inner, list) else [inner]:
            if isinstance(one, dict):
                fields.append(Field(name, of_object(one, where, f"{path}{name}."), place))
            elif isinstance(one, list):
                fields.append(Field(name, msgspec.json.encode(one).decode(), place))
            elif isinstance(one, str | int | float):
                fields.append(Field(name, one, place))
    return Message(tuple(fields))


def _text_of(path: Path, shown: str) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"not UTF-8: {error.reason}", where=shown, found=f"byte {error.start}") from error
    except OSError as error:
        raise InvalidInput(f"cannot be read: {error.strerror}", where=shown) from error
