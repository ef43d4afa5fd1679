"""HTTP resources of tenants: `/api/v1/tenants`, for admins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from kaname.access.tenants import MOST_ROWS, Tenants
from kaname.access.types import TenantInfo
from kaname.access.usage import Usage
from kaname.web.paging import Listed, Page, page
from kaname.web.resources import Asked, Reply, Resource

Positive = Annotated[int, Meta(ge=1, le=MOST_ROWS)]


class TenantView(msgspec.Struct, frozen=True, kw_only=True):
    """One tenant: its limits over all its keys and nodes together, and what it has used."""

    name: str
    rate_rows_per_s: float | None
    burst_rows: int | None
    rows_per_day: int | None
    rows_today: Annotated[int | None, Meta(description="Since midnight UTC; null without a daily quota.")]
    declared: Annotated[bool, Meta(description="Whether the project's settings say the limits.")]

    @classmethod
    def of(cls, tenants: Sequence[TenantInfo], usage: Usage) -> list[TenantView]:
        """What is shown of `tenants`."""
        today = usage.today(tenants)
        return [
            cls(
                name=tenant.name,
                rate_rows_per_s=tenant.rate_rows_per_s,
                burst_rows=tenant.burst_rows,
                rows_per_day=tenant.rows_per_day,
                rows_today=today.get(tenant.name),
                declared=tenant.declared,
            )
            for tenant in tenants
        ]


class TenantLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all keys of a tenant may ask together; null: no limit."""

    rate_rows_per_s: Annotated[float | None, Meta(description="Rows per second.")] = None
    burst_rows: Annotated[Positive | None, Meta(description="Rows at once; null: one second's worth.")] = None
    rows_per_day: Annotated[Positive | None, Meta(description="Rows from midnight to midnight UTC.")] = None


def resources(tenants: Tenants, usage: Usage) -> list[Resource]:
    """List, show, set and remove tenants."""

    def listed(asked: Asked) -> Listed[TenantView]:
        return page(TenantView.of(tenants.list(), usage), lambda tenant: tenant.name, asked.query(Page))

    def show(asked: Asked) -> TenantView:
        return TenantView.of([tenants.get(asked.path["tenant"])], usage)[0]

    def put(asked: Asked) -> TenantView:
        limits = msgspec.structs.asdict(asked.body(TenantLimits))
        return TenantView.of([tenants.set(asked.path["tenant"], who=asked.who, **limits)], usage)[0]

    def remove(asked: Asked) -> Reply:
        tenants.remove(asked.path["tenant"], who=asked.who)
        return Reply(status=204)

    path, one = "/api/v1/tenants", "/api/v1/tenants/{tenant}"
    return [
        Resource(
            method="GET",
            path=path,
            summary="List the tenants with their limits and what they have used",
            handler=listed,
            scope="admin",
            query=Page,
            answer=Listed[TenantView],
        ),
        Resource(method="GET", path=one, summary="Show a tenant", handler=show, scope="admin", answer=TenantView),
        Resource(
            method="PUT",
            path=one,
            summary="Make a tenant or replace its limits",
            handler=put,
            scope="admin",
            body=TenantLimits,
            answer=TenantView,
            example={"rate_rows_per_s": 1000, "rows_per_day": 1_000_000},
        ),
        Resource(
            method="DELETE", path=one, summary="Remove a tenant without keys", handler=remove, scope="admin", status=204
        ),
    ]
