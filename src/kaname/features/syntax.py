"""Reads the schema language: text in, definitions with their places out."""

from __future__ import annotations

import re
from functools import cache
from typing import cast

from lark import Lark, Token, Transformer, v_args
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken, VisitError
from lark.lexer import PatternStr

from kaname.errors import InvalidInput
from kaname.features.declared import (
    Clause,
    DeclaredAttribute,
    DeclaredHistory,
    DeclaredLayout,
    DeclaredRelation,
    DeclaredType,
    Definition,
    Listed,
    Part,
    Parts,
    Word,
)

DEFAULT_HASH_BYTES = 3

_WORDS = {
    "NAME": "a name",
    "INT": "a whole number",
    "STRING": 'a text in quotes, as in "f"',
    "BARE": 'a separator, as in suffix(",")',
    "$END": "the end of the file",
    "ATTR_NAME": "attr_name[…]",
    "ATTR_VALUE": "attr_value[…]",
    "PACK": "pack[…]",
    "SIZE": "size{…}",
    "SUFFIX": "suffix(…){…}",
    "FIXED": "fixed(…){…}",
    "DESC": "desc{…}",
    "HASH": "hash(…)[…]",
}
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|.)")
_ESCAPES = {"n": b"\n", "t": b"\t", "r": b"\r", "0": b"\0", '"': b'"', "\\": b"\\"}


def parse(text: str, file: str) -> list[Definition]:
    """The definitions in `text`. Raises InvalidInput with the place in `file`, what was found and what was expected."""
    try:
        tree = _parser().parse(text)
    except UnexpectedInput as error:
        raise _unexpected(error, text, file) from None
    try:
        return cast("list[Definition]", _Definitions(file).transform(tree))
    except VisitError as error:
        if isinstance(error.orig_exc, InvalidInput):
            raise error.orig_exc from None
        raise


@cache
def _parser() -> Lark:
    return Lark.open("schema.lark", rel_to=__file__, parser="lalr", lexer="contextual", maybe_placeholders=False)


@cache
def _shown() -> dict[str, str]:
    """What stands for each terminal of the grammar in an error."""
    literal = {t.name: f"`{t.pattern.value}`" for t in _parser().terminals if isinstance(t.pattern, PatternStr)}
    return literal | _WORDS


def _unexpected(error: UnexpectedInput, text: str, file: str) -> InvalidInput:
    """The parser's complaint in the words of someone who edits the file."""
    if isinstance(error, UnexpectedToken):
        names = error.accepts or error.expected
        found = f"`{error.token}`" if error.token.type != "$END" else "the end of the file"
        line, column = (error.line, error.column) if error.token.type != "$END" else _end(text)
    else:
        assert isinstance(error, UnexpectedCharacters)
        names, found = error.allowed or set(), f"`{error.char}`"
        line, column = error.line, error.column
        if error.char == '"' and "STRING" in names:
            return InvalidInput("a text without its closing quote", where=f"{file}:{line}:{column}", found='`"`')
    expected = sorted(_shown().get(name, name) for name in names)
    return InvalidInput(
        "not what can stand here", where=f"{file}:{line}:{column}", found=found, expected=" or ".join(expected)
    )


def _end(text: str) -> tuple[int, int]:
    """Line and column of the last character that is not white space."""
    lines = text.rstrip().split("\n")
    return len(lines), max(len(lines[-1]), 1)


@v_args(inline=True)
class _Definitions(Transformer[Token, object]):
    """Makes Structs of the tree, from the leaves up."""

    def __init__(self, file: str) -> None:
        super().__init__()
        self._file = file

    def start(self, *definitions: Definition) -> list[Definition]:
        return list(definitions)

    def relation(self, name: Token, *said: DeclaredHistory | DeclaredAttribute) -> DeclaredRelation:
        history = next((each for each in said if isinstance(each, DeclaredHistory)), None)
        attributes = tuple(each for each in said if isinstance(each, DeclaredAttribute))
        return DeclaredRelation(self._word(name), attributes, history)

    def history(self, word: Token, *kept: Token) -> DeclaredHistory:
        return DeclaredHistory(self._at(word), *self._words(kept))

    def attribute(self, name: Token, of: DeclaredType, *marks: Token) -> DeclaredAttribute:
        words = {mark.type: self._word(mark) for mark in marks}
        return DeclaredAttribute(self._word(name), of, "KEY" in words, words.get("PLANNED"))

    def simple_type(self, name: Token) -> DeclaredType:
        return DeclaredType(self._word(name))

    def decimal_type(self, name: Token, *arguments: Token) -> DeclaredType:
        return DeclaredType(self._word(name), "decimal", self._words(arguments))

    def vector_type(self, name: Token, *arguments: Token) -> DeclaredType:
        return DeclaredType(self._word(name), "vector", self._words(arguments))

    def layout(self, name: Token, relation: Token, store: Token, of: Token, *clauses: Clause) -> DeclaredLayout:
        return DeclaredLayout(self._word(name), self._word(relation), self._word(store), self._quoted(of), clauses)

    def table(self, word: Token, says: Token) -> Clause:
        return self._clause(word, says)

    def row(self, word: Token, says: Parts) -> Clause:
        return self._clause(word, says)

    def family(self, word: Token, says: Token | Listed) -> Clause:
        return self._clause(word, says)

    def qualifier(self, word: Token, says: Token | Listed) -> Clause:
        return self._clause(word, says)

    def value(self, word: Token, says: Listed | Parts) -> Clause:
        return self._clause(word, says)

    def attr_name(self, word: Token, names: tuple[Word, ...]) -> Listed:
        return Listed("attr_name", names, self._at(word))

    def attr_value(self, word: Token, names: tuple[Word, ...]) -> Listed:
        return Listed("attr_value", names, self._at(word))

    def pack(self, word: Token, names: tuple[Word, ...]) -> Listed:
        return Listed("pack", names, self._at(word))

    def names(self, *names: Token) -> tuple[Word, ...]:
        return self._words(names)

    def parts(self, *parts: Part) -> Parts:
        return Parts(_merged(parts), parts[0].at)

    def plain(self, name: Token) -> Part:
        return Part("plain", (self._word(name),), self._at(name))

    def size(self, word: Token, name: Token, again: Token | None = None) -> Part:
        if again is not None and again != name:
            raise InvalidInput(
                "two parts without a colon between them",
                where=self._at(again),
                found=f"`{again}`",
                expected=f"`:{again}`, or the `{name}` whose size this is",
            )
        return Part("size", (self._word(name),), self._at(word))

    def suffix(self, word: Token, separator: Token, name: Token) -> Part:
        raw = self._bytes(separator) if separator.type == "STRING" else separator.encode()
        return Part("suffix", (self._word(name),), self._at(word), separator=raw)

    def fixed(self, word: Token, number: Token, name: Token) -> Part:
        return Part("fixed", (self._word(name),), self._at(word), number=int(number))

    def hash(self, word: Token, *rest: Token | tuple[Word, ...]) -> Part:
        *numbers, names = rest
        assert isinstance(names, tuple)
        number = int(cast("Token", numbers[0])) if numbers else DEFAULT_HASH_BYTES
        return Part("hash", names, self._at(word), number=number)

    def desc(self, word: Token, part: Part) -> Part:
        return Part(part.kind, part.names, self._at(word), number=part.number, separator=part.separator, desc=True)

    def _clause(self, word: Token, says: Token | Listed | Parts) -> Clause:
        return Clause(word.value, self._quoted(says) if isinstance(says, Token) else says, self._at(word))

    def _at(self, token: Token) -> str:
        return f"{self._file}:{token.line}:{token.column}"

    def _word(self, token: Token) -> Word:
        return Word(str(token), self._at(token))

    def _words(self, tokens: tuple[Token, ...]) -> tuple[Word, ...]:
        return tuple(self._word(token) for token in tokens)

    def _quoted(self, token: Token) -> Word:
        raw = self._bytes(token)
        try:
            return Word(raw.decode(), self._at(token))
        except UnicodeDecodeError:
            raise InvalidInput("a text is UTF-8", where=self._at(token), found=str(token)) from None

    def _bytes(self, token: Token) -> bytes:
        """What a quoted text stands for."""
        inside, out, at = str(token)[1:-1], b"", 0
        for escape in _ESCAPE.finditer(inside):
            code = escape[1]
            if code not in _ESCAPES and len(code) == 1:
                raise InvalidInput(
                    "not an escape",
                    where=self._at(token),
                    found=escape[0],
                    expected=r"\n \t \r \0 \" \\ or \x and two digits",
                )
            out += inside[at : escape.start()].encode()
            out += _ESCAPES[code] if len(code) == 1 else bytes.fromhex(code[1:])
            at = escape.end()
        return out + inside[at:].encode()


def _merged(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """`size{a}:a` says the size and then the value, which is what `size{a}` means."""
    out: list[Part] = []
    for part in parts:
        before = out[-1] if out else None
        again = before is not None and before.kind == "size" and part.kind == "plain" and before.name == part.name
        if not (again and before is not None and before.desc == part.desc):
            out.append(part)
    return tuple(out)
