"""`GET /api/v1/residency`: what is in memory, per worker and summed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import msgspec
from msgspec import Meta

from kaname.serving.residency.account import VersionAccount, WorkerAccount, summed, total
from kaname.web.paging import Page, page
from kaname.web.resources import Asked, Resource

Ask = Callable[[], list[WorkerAccount]]
"""The accounts of all live workers."""


class ResidencyQuery(Page, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which versions are asked for."""

    model: Annotated[str, Meta(max_length=128, description="Only versions of this model; empty: of all.")] = ""


class ResidencyPage(msgspec.Struct, frozen=True, kw_only=True):
    """A node's account. `items` are the versions that were ever asked, by name; `next` is null on the last page."""

    workers: list[WorkerAccount]
    total: WorkerAccount
    items: list[VersionAccount]
    next: str | None


def resources(ask: Ask) -> list[Resource]:
    """The resource over what `ask` finds."""

    def show(asked: Asked) -> ResidencyPage:
        workers = ask()
        query = asked.query(ResidencyQuery)
        versions = [v for v in summed(workers) if not query.model or v.model == query.model]
        listed = page(versions, lambda version: version.name, query)
        return ResidencyPage(
            workers=[msgspec.structs.replace(worker, versions=()) for worker in workers],
            total=total(workers),
            items=listed.items,
            next=listed.next,
        )

    return [
        Resource(
            method="GET",
            path="/api/v1/residency",
            summary="Show what is in memory",
            description="Bytes by whose they are, per worker and summed, and each version's loads and evictions.",
            handler=show,
            query=ResidencyQuery,
            answer=ResidencyPage,
            tag="models",
        )
    ]
