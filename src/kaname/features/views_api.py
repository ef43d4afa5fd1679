"""HTTP resources that say what views read; `serving.views` reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kaname.access.scopes import allows
from kaname.call import Principal
from kaname.errors import Forbidden, InvalidInput, Unavailable
from kaname.features.opened import Features
from kaname.features.views.shown import ViewShown
from kaname.web.paging import Listed, Page, page
from kaname.web.resources import Asked, Resource

if TYPE_CHECKING:
    from kaname.features.views.types import View  # brings numpy

VIEWS = "/api/v1/views"


def resources(features: Features) -> list[Resource]:
    """The resources; a key sees the views that it may read: those of whose relations it may read every one."""

    def listed(asked: Asked) -> Listed[ViewShown]:
        views = [view for view in features.views().values() if _missing(view, asked.principal) is None]
        return page([ViewShown.of(view) for view in views], lambda view: view.name, asked.query(Page))

    def show(asked: Asked) -> ViewShown:
        try:
            view = features.declared(asked.path["view"])
        except InvalidInput as error:
            raise Unavailable(f"the view cannot be used: {error}", where="view", found=asked.path["view"]) from None
        missing = _missing(view, asked.principal)
        if missing is not None:
            raise Forbidden("this key may not read every relation of the view", where=view.name, expected=missing)
        return ViewShown.of(view)

    return [
        Resource(
            method="GET",
            path=VIEWS,
            summary="List the views that the key may read",
            handler=listed,
            scope="any",
            query=Page,
            answer=Listed[ViewShown],
            tag="features",
        ),
        Resource(
            method="GET",
            path=VIEWS + "/{view}",
            summary="Show what a view reads",
            description="Needs `read:<relation>` of every relation of the view.",
            handler=show,
            scope="any",
            answer=ViewShown,
            tag="features",
        ),
    ]


def _missing(view: View, who: Principal) -> str | None:
    """A scope that the view needs and the key lacks."""
    scopes = sorted({f"read:{read.relation}" for read in view.reads})
    return next((scope for scope in scopes if not allows(who.scopes, scope)), None)
