"""Names in a statement: attributes of its relation, and nothing else."""

from __future__ import annotations

import difflib

from sqlglot import exp

from kaname.features.sql.dialect import Statement, written
from kaname.features.sql.refusals import CLAUSES, COMPUTED, JOIN
from kaname.features.types import Attribute, Relation


class Names:
    """Looks up what a statement names."""

    def __init__(self, statement: Statement, relation: Relation) -> None:
        """Raises InvalidInput where the statement reads or writes something else than one relation."""
        self._statement = statement
        self._attributes = {attribute.name: attribute for attribute in relation.attributes}
        self.relation = relation
        table = statement.table
        self.check_clauses(table, ("this", "alias"))
        self._qualifiers = {relation.name, table.alias_or_name}

    def attribute(self, node: exp.Expr) -> Attribute:
        """The attribute that a column, or a bare name, means."""
        if isinstance(node, exp.Paren):
            return self.attribute(node.this)
        if isinstance(node, exp.Identifier):
            return self._known(node)
        if not isinstance(node, exp.Column) or not isinstance(node.this, exp.Identifier):
            raise self._statement.refused("not an attribute", node, f"`{written(node)}`", COMPUTED)
        if node.table and (node.table not in self._qualifiers or node.args.get("db")):
            raise self._statement.refused("another relation", node, f"`{written(node)}`", JOIN)
        return self._known(node.this)

    def check_clauses(self, node: exp.Expr, known: tuple[str, ...]) -> None:
        """Raise for every part of a statement that is not `known`."""
        for name, part in node.args.items():
            if name in known or not part:
                continue
            inner = part[0] if isinstance(part, list) else part
            where = inner if isinstance(inner, exp.Expr) else node
            found = (written(inner) if where is inner else "") or name.strip("_").upper()
            raise self._statement.refused("not what can be asked of a relation", where, f"`{found}`", CLAUSES.get(name))

    def _known(self, node: exp.Identifier) -> Attribute:
        found = self._attributes.get(node.name)
        if found is None:
            names = list(self._attributes)
            near = difflib.get_close_matches(node.name, names, n=2) or names[:20]
            message = f"no such attribute of `{self.relation.name}`"
            raise self._statement.refused(message, node, f"`{node.name}`", " or ".join(f"`{name}`" for name in near))
        return found
