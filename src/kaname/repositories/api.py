"""Repositories over HTTP: what was taken over of them, and what was not."""

from __future__ import annotations

from kaname.repositories.known import Repositories
from kaname.repositories.store import Repository
from kaname.web.paging import Listed, Page, page
from kaname.web.resources import Asked, Resource


def resources(repositories: Repositories) -> list[Resource]:
    """The resources of repositories."""

    def listed(asked: Asked) -> Listed[Repository]:
        return page(repositories.list(), lambda one: f"{one.id:012d}", asked.query(Page))

    return [
        Resource(
            method="GET",
            path="/api/v1/repositories",
            summary="List the repositories that models come from, and what was taken over of each",
            handler=listed,
            query=Page,
            answer=Listed[Repository],
        )
    ]
