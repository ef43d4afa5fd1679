"""The text format of protocol buffers, without a schema: fields in their order, each with its place.

Read as https://protobuf.dev/reference/protobuf/textformat-spec/ defines it. Without a schema a field that nobody knows
is still there to be named, where a parser with one would refuse the file or forget the field.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from kaname.errors import InvalidInput

Scalar = str | int | float | bool
_TOKEN = re.compile(
    r"""(?P<blank>(?:[\s]|\#[^\n]*)+)
    |(?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
    |(?P<number>-?\s*(?:0[xX][0-9a-fA-F]+|(?:\d+\.\d*|\.\d+|\d+)(?:[eE][+-]?\d+)?[fF]?)(?![\w.]))
    |(?P<name>-?\s*[A-Za-z_][A-Za-z0-9_]*)
    |(?P<extension>\[[A-Za-z_][\w./\-]*\](?=\s*[:{<]))
    |(?P<mark>[{}<>\[\]:,;])""",
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(?:([0-7]{1,3})|[xX]([0-9a-fA-F]{1,2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)
_LETTERS = {"a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11, "\\": 92, "'": 39, '"': 34, "?": 63}
_FLOATS = {"inf", "infinity", "nan"}
DEPTH = 100


class Field(msgspec.Struct, frozen=True):
    """One value of a field; a field that is repeated is there several times."""

    name: str
    value: Scalar | Message
    place: str
    """`file:line:column`."""


class Name(str):
    """An enum's value: written without quotes."""

    __slots__ = ()


class Message(msgspec.Struct, frozen=True):
    """The fields of a message in the order of the text."""

    fields: tuple[Field, ...]


class _Token(msgspec.Struct, frozen=True):
    kind: str
    text: str
    at: int


def parse(text: str, where: str = "text") -> Message:
    """The message that `text` holds. Raises InvalidInput whose place is `where:line:column`."""
    return _Parser(text, where).whole()


class _Parser:
    """One text on its way."""

    def __init__(self, text: str, where: str) -> None:
        self._text = text
        self._where = where
        self._tokens = self._split()
        self._next = next(self._tokens)

    def whole(self) -> Message:
        return self._fields("", 0)

    # --- tokens -----------------------------------------------------------------------------------------

    def _split(self) -> Iterator[_Token]:
        at = 0
        while at < len(self._text):
            found = _TOKEN.match(self._text, at)
            if found is None:
                raise self._fault(
                    "not the text format of protocol buffers", at, self._text[at : at + 20].split("\n")[0]
                )
            if found.lastgroup != "blank":
                yield _Token(str(found.lastgroup), found.group(), at)
            at = found.end()
        while True:
            yield _Token("end", "", len(self._text))

    def _take(self) -> _Token:
        taken, self._next = self._next, next(self._tokens)
        return taken

    def _accept(self, *marks: str) -> bool:
        if self._next.text in marks and self._next.kind == "mark":
            self._take()
            return True
        return False

    def _place(self, at: int) -> str:
        line = self._text.count("\n", 0, at) + 1
        return f"{line}:{at - (self._text.rfind(chr(10), 0, at) + 1) + 1}"

    def _fault(self, message: str, at: int, found: str, expected: str | None = None) -> InvalidInput:
        shown = found or "the end of the file"
        return InvalidInput(message, where=f"{self._where}:{self._place(at)}", found=shown, expected=expected)

    # --- grammar ----------------------------------------------------------------------------------------

    def _fields(self, closing: str, depth: int) -> Message:
        found: list[Field] = []
        if depth > DEPTH:
            raise self._fault("nested too deeply", self._next.at, f"more than {DEPTH} messages in each other")
        while not (self._next.kind == "end" and not closing) and not (closing and self._accept(closing)):
            found += self._field(closing, depth)
            self._accept(",", ";")
        return Message(tuple(found))

    def _field(self, closing: str, depth: int) -> list[Field]:
        name = self._take()
        if name.kind not in ("name", "extension") or name.text.startswith("-"):
            expected = f"a field's name{f' or {closing}' if closing else ''}"
            raise self._fault("a field was expected", name.at, name.text, expected)
        place = f"{self._where}:{self._place(name.at)}"
        colon = self._accept(":")
        if not colon and not self._begins_message():
            raise self._fault("a field without a value", self._next.at, self._next.text, ": or { after its name")
        values = self._list(depth) if self._accept("[") else [self._value(depth)]
        return [Field(name.text, value, place) for value in values]

    def _begins_message(self) -> bool:
        return self._next.kind == "mark" and self._next.text in ("{", "<", "[")

    def _list(self, depth: int) -> list[Scalar | Message]:
        found: list[Scalar | Message] = []
        if self._accept("]"):
            return found
        while True:
            found.append(self._value(depth))
            if self._accept("]"):
                return found
            if not self._accept(","):
                raise self._fault("a list that does not end", self._next.at, self._next.text, ", or ]")

    def _value(self, depth: int) -> Scalar | Message:
        token = self._take()
        if token.text in ("{", "<") and token.kind == "mark":
            return self._fields("}" if token.text == "{" else ">", depth + 1)
        if token.kind == "text":
            return self._string(token)
        if token.kind == "number":
            return _number(token.text)
        if token.kind == "name":
            return _word(token.text)
        raise self._fault("a value was expected", token.at, token.text, "a text, a number, a name or a message")

    def _string(self, first: _Token) -> str:
        raw = _unescaped(first.text[1:-1])
        while self._next.kind == "text":
            raw += _unescaped(self._take().text[1:-1])
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise self._fault("a text that is not UTF-8", first.at, ascii(raw)) from None


def _number(text: str) -> int | float:
    plain = re.sub(r"\s", "", text)
    digits = plain.lstrip("-").lower()
    if digits.startswith("0x"):
        return int(plain, 16)
    if digits.isdigit():
        octal = len(digits) > 1 and digits.startswith("0") and not set(digits) & {"8", "9"}
        return int(plain, 8 if octal else 10)
    return float(plain.rstrip("fF"))


def _word(text: str) -> Scalar:
    word = re.sub(r"\s", "", text)
    if word.lower().lstrip("-") in _FLOATS:
        return float(word)
    return {"true": True, "false": False}.get(word, Name(word))


def _unescaped(text: str) -> bytes:
    parts, at = [], 0
    for escape in _ESCAPE.finditer(text):
        parts += [text[at : escape.start()].encode(), _escape(escape)]
        at = escape.end()
    return b"".join([*parts, text[at:].encode()])


def _escape(found: re.Match[str]) -> bytes:
    octal, hexadecimal, short, long, letter = found.groups()
    if octal or hexadecimal:
        return bytes([int(octal, 8) & 255 if octal else int(hexadecimal, 16)])
    if short or long:
        return chr(int(short or long, 16)).encode(errors="replace")
    return bytes([_LETTERS[letter]]) if letter in _LETTERS else f"\\{letter}".encode()
