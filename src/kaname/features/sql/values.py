"""Values in a statement: literals and parameters, as what their attributes hold."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import TypeAlias

import msgspec
from sqlglot import exp

from kaname.errors import InvalidInput
from kaname.features.codecs import codec_of
from kaname.features.plain import reader_of
from kaname.features.refusing import shown
from kaname.features.sql.dialect import Statement, written
from kaname.features.sql.refusals import COMPUTED, JOIN
from kaname.features.types import Attribute, Type

Parameters: TypeAlias = Sequence[object] | Mapping[str, object]
"""Values for `?` in their order, or for `:name` by name."""

_WHOLE = re.compile(r"\d+")
_WRITTEN = {
    "string": "a text, as in 'tea'",
    "bytes": "bytes, as in X'00ff'",
    "bool": "TRUE or FALSE",
    "timestamp": "a time with its zone, as in '2026-01-31T12:00:00Z'",
    "date": "a date, as in '2026-01-31'",
    "json": "a text that holds JSON",
}
_KNOWN_AT = Attribute("KNOWN AT", Type("timestamp"))
_CASTS = {"TIMESTAMP": "timestamp", "TIMESTAMPTZ": "timestamp", "DATETIME": "timestamp", "DATE": "date"}

_codec = lru_cache(4096)(codec_of)
_reader = lru_cache(4096)(reader_of)


class Values:
    """Makes values of what stands in one statement."""

    def __init__(self, statement: Statement, parameters: Parameters | None, *, plain: bool) -> None:
        """`plain`: parameters are what JSON holds, so that a time is a text. Raises InvalidInput."""
        self._statement = statement
        self._parameters: Parameters = () if parameters is None else parameters
        self._plain = plain
        if isinstance(self._parameters, str | bytes) or not isinstance(self._parameters, Sequence | Mapping):
            raise InvalidInput(
                "not parameters", where="parameters", found=shown(parameters), expected="a list for `?`, or names"
            )
        self._check_count()

    def of(self, node: exp.Expr, attribute: Attribute) -> object:
        """A value of this attribute, as it would be read back, or None for null. Raises InvalidInput with its place."""
        node = node.unnest()
        value = self._said(node, attribute)
        if value is None:
            return None
        try:
            if self._is_plain(node, attribute, value):
                return _reader(attribute)(value)
            codec = _codec(attribute)
            return codec.read(codec.write(value))
        except InvalidInput as error:
            literal = None if isinstance(node, exp.Placeholder) else _written(attribute.type)
            message = f"not a value of `{attribute.name}`, which is {attribute.type}"
            raise self._statement.refused(message, node, error.found, literal or error.expected) from None

    def compared(self, node: exp.Expr, attribute: Attribute) -> object:
        """The same of what a comparison has: no null."""
        value = self.of(node, attribute)
        if value is None:
            expected = f"`{attribute.name} IS NULL`: no value is equal to null"
            raise self._statement.refused("a comparison with null", node, "null", expected)
        return value

    def inserted(self, node: exp.Expr, attribute: Attribute) -> object:
        """The same of what a row has: null only off the key."""
        value = self.of(node, attribute)
        if value is None and attribute.key:
            raise self._statement.refused(
                f"`{attribute.name}` is of the key", node, "null", f"a value, {attribute.type}"
            )
        return value

    def moment(self, node: exp.Expr) -> datetime:
        """When rows became known."""
        value = self.of(node, _KNOWN_AT)
        if isinstance(value, datetime):
            return value
        raise self._statement.refused("not a moment", node, shown(value), _WRITTEN["timestamp"])

    def whole(self, node: exp.Expr, what: str) -> int:
        """A number of rows."""
        value = self._parameter(node) if isinstance(node, exp.Placeholder) else _literal(node, "int64")
        if type(value) is int and 0 <= value < 1 << 63:
            return value
        raise self._statement.refused(f"not a {what}", node, shown(value), "a whole number, 0 or more")

    def text(self, node: exp.Expr, what: str) -> str:
        """A pattern, or what escapes in it."""
        value = self._parameter(node) if isinstance(node, exp.Placeholder) else _literal(node, "string")
        if isinstance(value, str):
            return value
        raise self._statement.refused(f"not a {what}", node, shown(value), "a text")

    def _is_plain(self, node: exp.Expr, attribute: Attribute, value: object) -> bool:
        """Whether a value is to be read as JSON has it: times and dates are always text in a statement."""
        if isinstance(node, exp.Placeholder):
            return self._plain
        return isinstance(value, str) and attribute.type.name in ("timestamp", "date")

    def _said(self, node: exp.Expr, attribute: Attribute) -> object:
        if isinstance(node, exp.Placeholder):
            return self._parameter(node)
        if isinstance(node, exp.Cast):
            return self._cast(node, attribute)
        if isinstance(node, exp.Array):
            return [self._number(part, attribute) for part in node.expressions]
        value = _literal(node, attribute.type.name)
        if value is _NOTHING:
            raise self._not_a_value(node)
        return self._document(node, attribute, value) if attribute.type.name == "json" else value

    def _number(self, node: exp.Expr, attribute: Attribute) -> object:
        value = self._parameter(node) if isinstance(node, exp.Placeholder) else _literal(node, attribute.type.item)
        if value is _NOTHING:
            raise self._not_a_value(node)
        return value

    def _not_a_value(self, node: exp.Expr) -> InvalidInput:
        if node.find(exp.Select) is not None:
            return self._statement.refused("a query inside a query", node, f"`{written(node)}`", JOIN)
        expected = f"a literal or a parameter; not computed: {COMPUTED}"
        return self._statement.refused("not a value", node, f"`{written(node)}`", expected)

    def _cast(self, node: exp.Cast, attribute: Attribute) -> object:
        """`DATE '…'` and `TIMESTAMP '…'`, which say no more than the text alone."""
        kind, inner = node.to.this.name, node.this
        if kind not in _CASTS or not isinstance(inner, exp.Literal) or not inner.is_string:
            raise self._not_a_value(node)
        if _CASTS[kind] != attribute.type.name:
            expected = _written(attribute.type) or str(attribute.type)
            message = f"not a value of `{attribute.name}`, which is {attribute.type}"
            raise self._statement.refused(message, node, f"{kind} {shown(inner.name)}", expected)
        return inner.name

    def _document(self, node: exp.Expr, attribute: Attribute, value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            return msgspec.json.decode(value)
        except (msgspec.MsgspecError, RecursionError) as error:
            found = shown(value)
            raise self._statement.refused(
                f"`{attribute.name}` is json: {error}", node, found, _WRITTEN["json"]
            ) from None

    def _parameter(self, node: exp.Placeholder) -> object:
        name = node.args.get("this")
        if not name:
            assert isinstance(self._parameters, Sequence)
            return self._parameters[self._statement.numbers[node.meta["start"]]]
        if not isinstance(self._parameters, Mapping):
            raise self._statement.refused("a parameter by name", node, f":{name}", "values by name, or `?`")
        if name not in self._parameters:
            known = ", ".join(map(str, self._parameters)) or "none"
            raise self._statement.refused(
                "no value for this parameter", node, f":{name}", f"one of those given: {known}"
            )
        return self._parameters[name]

    def _check_count(self) -> None:
        marks, given = len(self._statement.numbers), len(self._parameters)
        if isinstance(self._parameters, Mapping):
            if not marks:
                return
            raise InvalidInput(
                "values by name for `?`", where="parameters", found=f"{given} by name", expected="a list"
            )
        if marks != given:
            raise InvalidInput(
                "not as many values as there are `?`", where="parameters", found=str(given), expected=str(marks)
            )


class _Nothing:
    """What is no literal."""


_NOTHING = _Nothing()


def _literal(node: exp.Expr, kind: str) -> object:
    """A literal in the Python type that comes nearest to what the attribute holds."""
    match node:
        case exp.Null():
            return None
        case exp.Boolean():
            return bool(node.this)
        case exp.HexString():
            return bytes.fromhex("0" * (len(node.name) % 2) + node.name)
        case exp.Neg() if isinstance(node.this, exp.Literal) and not node.this.is_string:
            return _number_of("-" + node.this.name, kind)
        case exp.Literal():
            return node.name if node.is_string else _number_of(node.name, kind)
    return _NOTHING


def _number_of(text: str, kind: str) -> object:
    if kind == "decimal":
        return Decimal(text)
    if kind == "json":
        return msgspec.json.decode(text)
    if kind.startswith("float"):
        return found if math.isfinite(found := float(text)) else text
    return int(text) if _WHOLE.fullmatch(text.removeprefix("-")) and len(text) < 40 else float(text)


def _written(kind: Type) -> str | None:
    """How a value of this type is written in a statement; None: as anywhere."""
    if kind.name == "vector":
        return f"{kind.length} numbers in brackets, as in [0.5, 1]"
    return _WRITTEN.get(kind.name)
