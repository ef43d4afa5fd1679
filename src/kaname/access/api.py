"""HTTP resources of API keys: `/api/v1/keys`, for admins."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from kaname.access import scopes
from kaname.access.keys import Keys
from kaname.access.types import KeyInfo
from kaname.call import Priority
from kaname.web.paging import Listed, Page, page
from kaname.web.resources import Asked, Reply, Resource


class KeyView(msgspec.Struct, frozen=True, kw_only=True):
    """One API key without anything that could be used in its place."""

    id: str
    name: str
    scopes: tuple[str, ...]
    rate_rows_per_s: float | None
    burst_rows: int | None
    priority: Priority
    tenant: str | None
    created_us: Annotated[int, Meta(description="Microseconds since the Unix epoch, UTC.")]
    revoked_us: Annotated[int | None, Meta(description="Null while the key is valid.")]

    @classmethod
    def of(cls, key: KeyInfo) -> KeyView:
        """What may be shown of `key`."""
        return cls(**{name: getattr(key, name) for name in cls.__struct_fields__})


class NewKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key that was just made; `key` is shown this once."""

    key: str
    info: KeyView


class KeyRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a new key may do."""

    scopes: Annotated[
        tuple[str, ...],
        Meta(min_length=1, max_length=100, description=scopes.EXPECTED),
    ]
    name: str = ""
    rate_rows_per_s: Annotated[float | None, Meta(description="Rows per second; null: the project's default.")] = None
    burst_rows: Annotated[int | None, Meta(description="Rows that may come at once; null: one second's worth.")] = None
    priority: Annotated[Priority, Meta(description="Of its requests while the server is overloaded.")] = "normal"
    tenant: Annotated[str | None, Meta(description="The tenant that it belongs to, whose limits it shares.")] = None


def resources(keys: Keys) -> list[Resource]:
    """List, create, show and revoke keys."""

    def listed(asked: Asked) -> Listed[KeyView]:
        return page([KeyView.of(key) for key in keys.list()], lambda key: key.id, asked.query(Page))

    def create(asked: Asked) -> Reply:
        body = asked.body(KeyRequest)
        info, key = keys.create(
            body.name,
            body.scopes,
            who=asked.who,
            rate_rows_per_s=body.rate_rows_per_s,
            burst_rows=body.burst_rows,
            priority=body.priority,
            tenant=body.tenant,
        )
        return Reply(value=NewKey(key=key, info=KeyView.of(info)), location=f"/api/v1/keys/{info.id}")

    def show(asked: Asked) -> KeyView:
        return KeyView.of(keys.get(asked.path["key"]))

    def revoke(asked: Asked) -> KeyView:
        return KeyView.of(keys.revoke(asked.path["key"], who=asked.who))

    one = "/api/v1/keys/{key}"
    return [
        Resource(
            method="GET",
            path="/api/v1/keys",
            summary="List the API keys, revoked ones too",
            handler=listed,
            scope="admin",
            query=Page,
            answer=Listed[KeyView],
        ),
        Resource(
            method="POST",
            path="/api/v1/keys",
            summary="Create an API key",
            description="The key is in this answer only; the server keeps its hash.",
            handler=create,
            scope="admin",
            body=KeyRequest,
            answer=NewKey,
            status=201,
            once=True,
            example={"name": "web shop", "scopes": ["predict:iris"]},
        ),
        Resource(method="GET", path=one, summary="Show an API key", handler=show, scope="admin", answer=KeyView),
        Resource(
            method="DELETE",
            path=one,
            summary="Revoke an API key for good",
            handler=revoke,
            scope="admin",
            answer=KeyView,
        ),
    ]
