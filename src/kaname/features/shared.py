"""Relations as those may see them who were given some: by the scopes `read:<relation>` and `write:<relation>`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from kaname.access.scopes import allows
from kaname.call import Principal
from kaname.errors import Forbidden
from kaname.features.opened import Features
from kaname.features.stored import StoredRelation

if TYPE_CHECKING:
    from kaname.features.sql.dialect import Statement  # brings sqlglot, which only queries need
    from kaname.features.sql.query import Answer
    from kaname.features.sql.values import Parameters


class Shared:
    """The relations of one project for one caller. Raises Forbidden for others, whether they exist or not."""

    def __init__(self, features: Features, who: Principal) -> None:
        self._features = features
        self._who = who

    def names(self) -> list[str]:
        """The relations that may be read."""
        return [name for name in self._features.placed() if allows(self._who.scopes, f"read:{name}")]

    def relation(self, name: str, may: Literal["read", "write"]) -> StoredRelation:
        """The relation called so, to read or to write."""
        scope = f"{may}:{name}"
        if not allows(self._who.scopes, scope):
            raise Forbidden("the API key lacks a scope", where="Authorization", expected=scope)
        return self._features.relation(name)

    def query(self, sql: str, parameters: Parameters | None) -> Answer:
        """See `Features.query`; the parameters are what JSON holds."""
        from kaname.features.sql.query import query

        def relation(statement: Statement) -> StoredRelation:
            return self.relation(statement.relation, "read" if statement.verb == "select" else "write")

        return query(sql, relation, parameters, plain=True)
