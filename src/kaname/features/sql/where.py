"""Makes conditions of a WHERE."""

from __future__ import annotations

from sqlglot import exp

from kaname.errors import InvalidInput
from kaname.features.items import NOT_IN_KEYS
from kaname.features.sql.conditions import All, Comparison, Condition, IsNull, Like, Not, OneOf, Operator, Some
from kaname.features.sql.dialect import Statement, written
from kaname.features.sql.naming import Names
from kaname.features.sql.refusals import JOIN
from kaname.features.sql.values import Values
from kaname.features.types import Attribute

_OPERATORS: dict[type[exp.Expr], tuple[Operator, Operator]] = {
    exp.EQ: ("=", "="),
    exp.NEQ: ("<>", "<>"),
    exp.LT: ("<", ">"),
    exp.LTE: ("<=", ">="),
    exp.GT: (">", "<"),
    exp.GTE: (">=", "<="),
}
"""How each is written, and with its sides exchanged."""
_EXPECTED = "=, <>, <, <=, >, >=, BETWEEN, IN, LIKE or IS NULL of an attribute, joined by AND, OR, NOT"


class Where:
    """Reads the conditions of one statement."""

    def __init__(self, statement: Statement, names: Names, values: Values) -> None:
        self._statement = statement
        self._names = names
        self._values = values

    def condition(self, node: exp.Expr) -> Condition:
        """The condition that a part of the tree stands for. Raises InvalidInput with its place."""
        if isinstance(node, exp.Paren):
            return self.condition(node.this)
        if isinstance(node, exp.And):
            return All(tuple(self.condition(part) for part in node.flatten()))
        if isinstance(node, exp.Or):
            return _joined(tuple(self.condition(part) for part in node.flatten()))
        if isinstance(node, exp.Not):
            return Not(self.condition(node.this))
        if type(node) in _OPERATORS:
            return self._comparison(node, *_OPERATORS[type(node)])
        return self._predicate(node)

    def _predicate(self, node: exp.Expr) -> Condition:
        match node:
            case exp.Between():
                return self._between(node)
            case exp.In():
                return self._in(node)
            case exp.Like():
                return self._like(node, None)
            case exp.Escape() if isinstance(node.this, exp.Like):
                return self._like(node.this, node.expression)
            case exp.Is():
                return self._is(node)
        raise self._unknown(node)

    def _comparison(self, node: exp.Expr, operator: Operator, turned: Operator) -> Condition:
        left, right = node.this.unnest(), node.expression.unnest()
        if not isinstance(left, exp.Column):
            left, right, operator = right, left, turned
        if isinstance(right, exp.Column):
            expected = "an attribute compared with a literal or a parameter; a text stands in single quotes, as 'tea'"
            raise self._statement.refused("two attributes", right, f"`{written(node)}`", expected)
        attribute = self._comparable(left)
        return Comparison(attribute.name, operator, self._values.compared(right, attribute))

    def _between(self, node: exp.Between) -> Condition:
        attribute = self._comparable(node.this)
        low, high = (
            self._values.compared(node.args["low"], attribute),
            self._values.compared(node.args["high"], attribute),
        )
        return All((Comparison(attribute.name, ">=", low), Comparison(attribute.name, "<=", high)))

    def _in(self, node: exp.In) -> Condition:
        if node.args.get("query") is not None:
            raise self._statement.refused("a query inside a query", node, f"`{written(node)}`", JOIN)
        if not node.expressions:
            raise self._statement.refused("IN without values", node, f"`{written(node)}`", "IN (…) with one or more")
        attribute = self._comparable(node.this)
        return OneOf(attribute.name, tuple(self._values.compared(part, attribute) for part in node.expressions))

    def _like(self, node: exp.Like, escape: exp.Expr | None) -> Condition:
        attribute = self._names.attribute(node.this)
        if attribute.type.name != "string":
            raise self._statement.refused(
                "LIKE of what is no text", node, f"`{attribute.name}`, {attribute.type}", "a string"
            )
        pattern = self._values.text(node.expression, "pattern")
        mark = "" if escape is None else self._values.text(escape, "character to escape with")
        if escape is not None and len(mark) != 1:
            raise self._statement.refused("not a character to escape with", escape, repr(mark), "one character")
        if mark and _open(pattern, mark):
            raise self._statement.refused("a pattern that ends in its escape", node.expression, repr(pattern))
        like = Like(attribute.name, pattern, mark)
        return Not(like) if node.args.get("negate") else like

    def _is(self, node: exp.Is) -> Condition:
        if not isinstance(node.expression, exp.Null):
            raise self._unknown(node)
        return IsNull(self._names.attribute(node.this).name)

    def _comparable(self, node: exp.Expr) -> Attribute:
        attribute = self._names.attribute(node)
        if attribute.type.name in NOT_IN_KEYS:
            found = f"`{attribute.name}`, {attribute.type}"
            raise self._statement.refused("values of this type are not compared", node, found, "IS NULL or IS NOT NULL")
        return attribute

    def _unknown(self, node: exp.Expr) -> InvalidInput:
        found = f"`{written(node)}`"
        if node.find(exp.Select) is not None:
            return self._statement.refused("a query inside a query", node, found, JOIN)
        return self._statement.refused("not a condition", node, found, _EXPECTED)


def _joined(conditions: tuple[Condition, ...]) -> Condition:
    """`a = 1 OR a = 2` asks for one of several values."""
    values: list[object] = []
    for one in conditions:
        if isinstance(one, OneOf):
            values += one.values
        elif isinstance(one, Comparison) and one.operator == "=":
            values.append(one.value)
        else:
            return Some(conditions)
    names = {one.attribute for one in conditions if isinstance(one, Comparison | OneOf)}
    return OneOf(names.pop(), tuple(values)) if len(names) == 1 else Some(conditions)


def _open(pattern: str, mark: str) -> bool:
    """Whether the last character escapes one that is not there."""
    at = 0
    while at < len(pattern):
        at += 2 if pattern[at] == mark else 1
    return at > len(pattern)
