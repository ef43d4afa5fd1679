"""What the schema files want of one relation, and where they say so."""

from __future__ import annotations

from collections.abc import Sequence

from kaname.features.declared import DeclaredLayout, DeclaredRelation, Listed, Parts
from kaname.features.facts import LayoutFacts, facts_of
from kaname.features.schemas import Schemas
from kaname.features.types import Relation


class Wanted:
    """A relation with its layouts."""

    def __init__(self, relation: Relation, declared: DeclaredRelation, layouts: Sequence[WantedLayout]) -> None:
        self.relation = relation
        self.layouts = tuple(layouts)
        self._declared = declared

    def at(self, attribute: str | None = None) -> str:
        """`file:line:column` of the relation's name, or of an attribute of it."""
        for each in self._declared.attributes:
            if each.name.text == attribute:
                return each.name.at
        return self._declared.name.at


class WantedLayout:
    """One layout."""

    def __init__(self, facts: LayoutFacts, declared: DeclaredLayout) -> None:
        self.facts = facts
        self._declared = declared

    def at(self, kind: str | None = None) -> str:
        """`file:line:column` of its name, or of what stands behind `table` or `row`."""
        if kind == "store":
            return self._declared.store.at
        clause = next((clause for clause in self._declared.clauses if clause.kind == kind), None)
        return self._declared.name.at if clause is None else clause.says.at

    def value_at(self, attribute: str) -> str:
        """The place of the value that holds an attribute, of the last one where none names it."""
        at = self._declared.name.at
        for clause in (clause for clause in self._declared.clauses if clause.kind == "value"):
            named = _names(clause.says) if isinstance(clause.says, Listed | Parts) else []
            at = clause.at
            if attribute in named:
                break
        return at


def wanted_of(schemas: Schemas, name: str) -> Wanted:
    """What good files want of a relation."""
    relation = schemas.relations[name]
    pairs = zip(schemas.layouts[name], schemas.declared_layouts[name], strict=True)
    layouts = [WantedLayout(facts_of(declared, relation, layout.store), declared) for layout, declared in pairs]
    return Wanted(relation, schemas.declared[name], layouts)


def _names(says: Listed | Parts) -> list[str]:
    words = says.names if isinstance(says, Listed) else [word for part in says.parts for word in part.names]
    return [word.text for word in words]
