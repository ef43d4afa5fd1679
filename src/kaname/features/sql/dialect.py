"""The SQL that is understood, as trees of sqlglot in which every name, literal and parameter has its place."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import ClassVar, Literal, TypeAlias

import msgspec
from sqlglot import exp, parser, tokens
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import ErrorLevel, ParseError, TokenError
from sqlglot.tokenizer_core import Token, TokenType

from kaname.errors import InvalidInput, TooLarge
from kaname.features.sql.refusals import JOIN, STATEMENTS

Verb: TypeAlias = Literal["select", "insert", "delete"]

MOST_CHARACTERS = 1 << 20
"""Of a statement; more rows than fit are inserted as rows, not as text."""
REMEMBERED = 4096
"""Characters of the longest statement that is kept for the next time."""
_VERBS: dict[TokenType, Verb] = {
    TokenType.SELECT: "select",
    TokenType.INSERT: "insert",
    TokenType.DELETE: "delete",
}
_QUOTED = (TokenType.STRING, TokenType.IDENTIFIER)
_KNOWN = "SELECT, INSERT, DELETE or EXPLAIN"
_TIME = "`?` or a time with its zone, as in '2026-01-31T12:00:00Z'"
_AT = re.compile(r" from (\d+):(\d+)$")


class _Parser(parser.Parser):
    """Keeps the places of parameters, too."""

    PLACEHOLDER_PARSERS: ClassVar = {
        **parser.Parser.PLACEHOLDER_PARSERS,
        TokenType.PLACEHOLDER: lambda self: exp.Placeholder().update_positions(self._prev),
        TokenType.COLON: lambda self: (
            exp.Placeholder(this=self._prev.text).update_positions(self._prev)
            if self._match_set(self.COLON_PLACEHOLDER_TOKENS)
            else None
        ),
    }


class _Sql(Dialect):
    """Standard SQL, `X'00ff'` for bytes, nulls sorted as the greatest."""

    NULL_ORDERING = "nulls_are_large"

    class Tokenizer(tokens.Tokenizer):
        HEX_STRINGS: ClassVar = [("x'", "'"), ("X'", "'")]
        COMMANDS: ClassVar[set[TokenType]] = set()  # a word like EXPLAIN swallows nothing

    Parser = _Parser


class Statement(msgspec.Struct, frozen=True):
    """One statement as written."""

    text: str
    verb: Verb
    explain: bool
    allow_filtering: bool
    tree: exp.Expr
    table: exp.Table
    known_at: exp.Expr | None
    """The time behind KNOWN AT."""
    numbers: dict[int, int]
    """The number of each `?` by its place."""

    @property
    def relation(self) -> str:
        """The relation that it names first; the rest is checked when it is read."""
        return self.table.name

    def place(self, node: exp.Expr | None) -> str:
        """`query:line:column` of what is written first in a part of the tree."""
        while node is not None:
            starts = [found for part in node.walk() if (found := part.meta.get("start")) is not None]
            if starts:
                return place_of(self.text, min(starts))
            node = node.parent
        return place_of(self.text, 0)

    def refused(
        self, message: str, node: exp.Expr | None, found: str | None = None, expected: str | None = None
    ) -> InvalidInput:
        """The error for a part of the statement."""
        return InvalidInput(message, where=self.place(node), found=found, expected=expected)


def parsed(text: str) -> Statement:
    """The statement in `text`. Raises InvalidInput with the place of what is not understood, TooLarge."""
    if len(text) > MOST_CHARACTERS:
        raise TooLarge(
            "the statement is too long",
            where="query",
            found=f"{len(text)} characters",
            expected=f"at most {MOST_CHARACTERS}: insert many rows as NDJSON or Arrow",
        )
    try:
        return _remembered(text) if len(text) <= REMEMBERED else _parsed(text)
    except RecursionError:
        raise InvalidInput("the statement is nested too deeply", where="query") from None


def written(node: exp.Expr) -> str:
    """A part of a statement, shortened, as this dialect writes it."""
    text = node.sql(unsupported_level=ErrorLevel.IGNORE).strip()
    return text if len(text) <= 60 else text[:57] + "…"


def place_of(text: str, offset: int) -> str:
    """`query:line:column` of a character."""
    line = text.count("\n", 0, offset) + 1
    return f"query:{line}:{offset - text.rfind(chr(10), 0, offset)}"


def _parsed(text: str) -> Statement:
    words = _tokens(text)
    explain = bool(words) and words[0].text.upper() == "EXPLAIN"
    words = words[1:] if explain else words
    verb = _verb(words, text)
    allow = [word.text.upper() for word in words[-2:]] == ["ALLOW", "FILTERING"]
    words = words[:-2] if allow else words
    words, moment = (words, None) if verb == "select" else _known_at(words, text)
    tree = _tree(words, text)
    known_at = None if moment is None else _tree(moment, text)
    table = _table(tree, words[-1], text)
    marks = [node for root in (tree, known_at) if root is not None for node in root.find_all(exp.Placeholder)]
    starts = sorted(node.meta["start"] for node in marks if not node.args.get("this"))
    numbers = {start: number for number, start in enumerate(starts)}
    return Statement(text, verb, explain, allow, tree, table, known_at, numbers)


def _known_at(words: list[Token], text: str) -> tuple[list[Token], list[Token] | None]:
    """The words in front of KNOWN AT, and those behind it."""
    said = ["" if word.token_type in _QUOTED else word.text.upper() for word in words]
    for i in range(len(words) - 2, 0, -1):
        if said[i : i + 2] == ["KNOWN", "AT"]:
            if i + 2 == len(words):
                raise InvalidInput("KNOWN AT without a time", where=place_of(text, words[i].start), expected=_TIME)
            return words[:i], words[i + 2 :]
    return words, None


def _tree(words: list[Token], text: str) -> exp.Expr:
    try:
        (tree,) = _Sql().parser().parse(words, text)
    except ParseError as error:
        raise _not_sql(error, words, text) from None
    assert tree is not None
    tree.meta.setdefault("start", words[0].start)
    return tree


def _table(tree: exp.Expr, last: Token, text: str) -> exp.Table:
    """The relation that a statement is about."""
    if isinstance(tree, exp.SetOperation):
        raise InvalidInput("two queries in one", where=place_of(text, 0), found=f"`{tree.key.upper()}`", expected=JOIN)
    about = tree.args.get("from_") or tree
    table = about.this.this if isinstance(about.this, exp.Schema) else about.this
    if isinstance(table, exp.Subquery):
        raise InvalidInput(
            "a query inside a query", where=place_of(text, 0), found=f"`{written(table)}`", expected=JOIN
        )
    if isinstance(table, exp.Table):
        return table
    raise InvalidInput(
        "a statement without a relation", where=place_of(text, last.end), expected="FROM or INTO and its name"
    )


_remembered = lru_cache(512)(_parsed)


def _tokens(text: str) -> list[Token]:
    """The words of one statement."""
    try:
        words = _Sql().tokenize(text)
    except TokenError as error:
        raise _not_words(error) from None
    while words and words[-1].token_type is TokenType.SEMICOLON:
        words.pop()
    for word in words:
        if word.token_type is TokenType.SEMICOLON:
            raise InvalidInput("one statement at a time", where=place_of(text, word.start), found="`;` inside")
    return words


def _verb(words: Sequence[Token], text: str) -> Verb:
    if not words:
        raise InvalidInput("an empty statement", where="query", expected=_KNOWN)
    verb = _VERBS.get(words[0].token_type)
    if verb is None:
        word = words[0].text.upper()
        raise InvalidInput(
            "not a statement for relations",
            where=place_of(text, words[0].start),
            found=f"`{words[0].text}`",
            expected=STATEMENTS.get(word, _KNOWN),
        )
    return verb


def _not_words(error: TokenError) -> InvalidInput:
    cause = str(error.__cause__ or error)
    at = _AT.search(cause)
    if at is None or isinstance(error.__cause__, IndexError):
        return InvalidInput("a comment or text without its end", where="query")
    what = "a text without its closing quote" if cause.startswith("Missing") else cause[: at.start()].lower()
    return InvalidInput(what, where=f"query:{at[1]}:{at[2]}")


def _not_sql(error: ParseError, words: Sequence[Token], text: str) -> InvalidInput:
    """The parser's complaint, in short: it says where it gave up, seldom why."""
    said = error.errors[0] if error.errors else {}
    place = (said.get("line"), said.get("col"))
    word = next((word for word in words if (word.line, word.col) == place), None)
    last = word is None or word is words[-1]
    found = "the end" if last and said.get("description", "").startswith("Required") else None
    if found is None and word is not None:
        found = f"`{text[word.start : word.end + 1]}`"
    start = len(text.rstrip()) if found == "the end" or word is None else word.start
    expected = said.get("description", "") if said.get("description", "").startswith("Expecting") else None
    return InvalidInput(
        "not SQL that is understood here",
        where=place_of(text, start),
        found=found,
        expected=expected and expected.removeprefix("Expecting ").join("``"),
    )
