"""Makes what is asked of a statement: names are looked up, values checked, what a relation cannot do is refused."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from sqlglot import exp

from kaname.features.items import NOT_IN_KEYS
from kaname.features.sql.dialect import Statement, written
from kaname.features.sql.naming import Names
from kaname.features.sql.refusals import AGGREGATE, JOIN
from kaname.features.sql.statements import Asked, Column, Delete, Insert, Select, Sorted
from kaname.features.sql.values import Values
from kaname.features.sql.where import Where
from kaname.features.types import Attribute, Relation, Row


def asked(statement: Statement, relation: Relation, values: Values) -> Asked:
    """What a statement asks of its relation.

    Raises InvalidInput with the place in the text, what was found and what was expected.
    """
    names = Names(statement, relation)
    reader = _Reader(statement, names, values)
    match statement.verb:
        case "insert":
            return reader.insert()
        case "delete":
            return reader.delete()
    return reader.select()


class _Reader:
    def __init__(self, statement: Statement, names: Names, values: Values) -> None:
        self._statement = statement
        self._tree = statement.tree
        self._names = names
        self._values = values
        self._where = Where(statement, names, values)

    def select(self) -> Select:
        self._names.check_clauses(self._tree, ("expressions", "from", "from_", "where", "order", "limit", "kind"))
        where, order, limit = (self._tree.args.get(name) for name in ("where", "order", "limit"))
        return Select(
            tuple(self._columns()),
            None if where is None else self._where.condition(where.this),
            () if order is None else tuple(self._sorted(part) for part in order.expressions),
            None if limit is None else self._limit(limit),
            self._statement.allow_filtering,
        )

    def delete(self) -> Delete:
        self._names.check_clauses(self._tree, ("this", "where"))
        where = self._tree.args.get("where")
        key = tuple(Column(attribute.name, attribute.name) for attribute in self._names.relation.key)
        condition = None if where is None else self._where.condition(where.this)
        return Delete(Select(key, condition, allow_filtering=self._statement.allow_filtering), self._known_at())

    def insert(self) -> Insert:
        self._names.check_clauses(self._tree, ("this", "expression"))
        into, given = self._tree.this, self._tree.expression
        if not isinstance(given, exp.Values):
            raise self._statement.refused("an INSERT of something else than values", given, expected="VALUES (…), (…)")
        named = into.expressions if isinstance(into, exp.Schema) else ()
        attributes = [self._names.attribute(node) for node in named] or list(self._names.relation.attributes)
        self._check_twice([attribute.name for attribute in attributes], list(named))
        for key in self._names.relation.key:
            if key not in attributes:
                raise self._statement.refused(
                    "a key attribute is missing", into, expected=f"`{key.name}` among the attributes"
                )
        return Insert(tuple(self._row(node, attributes) for node in given.expressions), self._known_at())

    def _known_at(self) -> datetime | None:
        node = self._statement.known_at
        return None if node is None else self._values.moment(node)

    def _row(self, node: exp.Expr, attributes: list[Attribute]) -> Row:
        values = node.expressions if isinstance(node, exp.Tuple) else [node]
        if len(values) != len(attributes):
            expected = f"{len(attributes)}: {', '.join(attribute.name for attribute in attributes)}"
            raise self._statement.refused("not as many values as attributes", node, str(len(values)), expected)
        return {
            attribute.name: self._values.inserted(value, attribute)
            for attribute, value in zip(attributes, values, strict=True)
        }

    def _columns(self) -> Iterator[Column]:
        found: list[Column] = []
        nodes: list[exp.Expr] = []
        for node in self._tree.expressions:
            for column in self._column(node):
                found.append(column)
                nodes.append(node)
        self._check_twice([column.name for column in found], nodes)
        return iter(found)

    def _column(self, node: exp.Expr) -> list[Column]:
        star = node.this if isinstance(node, exp.Column) else node
        if isinstance(star, exp.Star):
            self._names.check_clauses(star, ())
            return [Column(name, name) for name in self._names.relation.names]
        inner = node.this if isinstance(node, exp.Alias) else node
        if not isinstance(inner, exp.Column):
            self._check_computed(inner)
        attribute = self._names.attribute(inner)
        return [Column(attribute.name, node.alias_or_name if isinstance(node, exp.Alias) else attribute.name)]

    def _check_computed(self, node: exp.Expr) -> None:
        """Raise what says more than that this is no attribute."""
        if node.find(exp.Subquery, exp.Select) is not None:
            raise self._statement.refused("a query inside a query", node, f"`{written(node)}`", JOIN)
        if node.find(exp.AggFunc, exp.Window) is not None:
            raise self._statement.refused("no aggregates", node, f"`{written(node)}`", AGGREGATE)

    def _check_twice(self, names: list[str], nodes: list[exp.Expr]) -> None:
        for i, name in enumerate(names):
            if name in names[:i]:
                raise self._statement.refused("the same name twice", nodes[i] if nodes else None, f"`{name}`")

    def _sorted(self, node: exp.Expr) -> Sorted:
        attribute = self._names.attribute(node.this)
        if attribute.type.name in NOT_IN_KEYS:
            found = f"`{attribute.name}`, {attribute.type}"
            raise self._statement.refused(
                "values of this type have no order", node, found, "an attribute of another type"
            )
        return Sorted(attribute.name, bool(node.args.get("desc")), bool(node.args.get("nulls_first")))

    def _limit(self, node: exp.Expr) -> int:
        if not isinstance(node, exp.Limit) or node.args.get("offset") or node.args.get("expressions"):
            raise self._statement.refused("not a limit of rows", node, f"`{written(node)}`", "LIMIT n")
        return self._values.whole(node.expression, "number of rows")
