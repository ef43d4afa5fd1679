"""Statements that are understood once and asked many times, each time with other parameters.

What stands in a statement is looked up and checked once; a parameter leaves a slot, which is filled when it is asked.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final, TypeAlias, TypeVar, cast

from sqlglot import exp

from kaname.features.placement import Placement
from kaname.features.sql.conditions import All, Comparison, Condition, Not, OneOf, Some
from kaname.features.sql.dialect import REMEMBERED, Statement
from kaname.features.sql.planning import Choices
from kaname.features.sql.reading import asked
from kaname.features.sql.statements import Asked, Delete, Insert, Select
from kaname.features.sql.values import Parameters, Values
from kaname.features.types import Attribute, Relation, Row

MOST_KEPT = 256
"""Statements of one relation."""

T = TypeVar("T")
Fill: TypeAlias = Callable[[Values], T]


class Prepared:
    """One statement about one relation. Thread-safe."""

    def __init__(self, statement: Statement, relation: Relation) -> None:
        """Raises InvalidInput with the place of what is wrong with it whatever the parameters."""
        self._statement = statement
        self._relation = relation
        self.choices: Choices = {}
        """The layouts that were chosen for it."""
        try:
            self._fill: Fill[Asked] | None = _asked(asked(statement, relation, _Later(statement)))
        except _NotYetError:
            self._fill = None

    def asked(self, parameters: Parameters | None, *, plain: bool) -> Asked:
        """What it asks with these parameters, which are what JSON holds where they are `plain`. Raises InvalidInput."""
        values = Values(self._statement, parameters, plain=plain)
        if self._fill is None:
            return asked(self._statement, self._relation, values)
        return self._fill(values)


def prepared(statement: Statement, placement: Placement) -> Prepared:
    """The statement for what is in force: kept with it, and forgotten with it when a schema changes."""
    kept = placement.statements
    found = kept.get(statement.text)
    if isinstance(found, Prepared):
        return found
    found = Prepared(statement, placement.relation)
    if len(statement.text) <= REMEMBERED:
        if len(kept) >= MOST_KEPT:
            kept.clear()
        kept[statement.text] = found
    return found


class _NotYetError(Exception):
    """What a statement asks depends on parameters in more than its values."""


class _Slot:
    """The place of a value that comes with the parameters."""

    __slots__ = ("fill",)

    def __init__(self, fill: Fill[object]) -> None:
        self.fill: Final = fill


class _Later(Values):
    """Reads literals, and leaves slots for parameters."""

    def __init__(self, statement: Statement) -> None:
        self._statement = statement
        self._parameters = ()
        self._plain = False

    def of(self, node: exp.Expr, attribute: Attribute) -> object:
        return _read(self, node, lambda values: Values.of(values, node, attribute))

    def compared(self, node: exp.Expr, attribute: Attribute) -> object:
        return _read(self, node, lambda values: Values.compared(values, node, attribute))

    def inserted(self, node: exp.Expr, attribute: Attribute) -> object:
        return _read(self, node, lambda values: Values.inserted(values, node, attribute))

    def moment(self, node: exp.Expr) -> datetime:
        return cast("datetime", _read(self, node, lambda values: Values.moment(values, node)))

    def whole(self, node: exp.Expr, what: str) -> int:
        return cast("int", _read(self, node, lambda values: Values.whole(values, node, what)))

    def text(self, node: exp.Expr, what: str) -> str:
        if node.find(exp.Placeholder) is not None:
            raise _NotYetError
        return super().text(node, what)


def _read(now: Values, node: exp.Expr, fill: Fill[object]) -> object:
    return fill(now) if node.find(exp.Placeholder) is None else _Slot(fill)


def _asked(template: Asked) -> Fill[Asked]:
    match template:
        case Insert():
            rows, at = [_row(row) for row in template.rows], _value(template.at)
            return lambda values: Insert(tuple([row(values) for row in rows]), cast("datetime | None", at(values)))
        case Delete():
            chosen, at = _select(template.chosen), _value(template.at)
            return lambda values: Delete(chosen(values), cast("datetime | None", at(values)))
    return _select(template)


def _select(template: Select) -> Fill[Select]:
    where = None if template.where is None else _condition(template.where)
    limit = _value(template.limit)

    def fill(values: Values) -> Select:
        condition = None if where is None else where(values)
        many = cast("int | None", limit(values))
        return Select(template.columns, condition, template.order, many, template.allow_filtering)

    return fill


def _row(template: Row) -> Fill[Row]:
    given = [(name, _value(value)) for name, value in template.items()]
    return lambda values: {name: value(values) for name, value in given}


def _value(value: object) -> Fill[object]:
    return value.fill if isinstance(value, _Slot) else lambda _: value


def _condition(template: Condition) -> Fill[Condition]:
    match template:
        case Comparison(attribute, operator, value) if isinstance(value, _Slot):
            fill = value.fill
            return lambda values: Comparison(attribute, operator, fill(values))
        case OneOf(attribute, some) if any(isinstance(value, _Slot) for value in some):
            each = [_value(value) for value in some]
            return lambda values: OneOf(attribute, tuple([value(values) for value in each]))
        case Not(of):
            inner = _condition(of)
            return lambda values: Not(inner(values))
        case All(of) | Some(of):
            kind, parts = type(template), [_condition(part) for part in of]
            return lambda values: kind(tuple([part(values) for part in parts]))
    return lambda _: template
