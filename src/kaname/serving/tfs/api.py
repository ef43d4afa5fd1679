"""The protocol's resources beside the verbs: the list of models, their status and metadata."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.routing import BaseRoute, Route

from kaname.call import Principal
from kaname.errors import KanameError, NotFound
from kaname.ids import IdSource
from kaname.serving.oip.resource import Answered, Resource
from kaname.serving.oip.types import Authorize, Catalog
from kaname.serving.tfs import describe
from kaname.serving.tfs.codec import VERBS
from kaname.serving.tfs.labels import labelled

PATHS = (
    "/v1/models/{model}",
    "/v1/models/{model}/versions/{version}",
    "/v1/models/{model}/labels/{label}",
)


def routes(
    catalog: Catalog, authorize: Authorize, principal_of: Callable[[bytes | None], Principal], *, ids: IdSource
) -> list[BaseRoute]:
    """Everything under `/v1`. The verbs are answered by their own door before they come here: what does come is
    refused."""

    async def listed(request: Request) -> Answered:
        header = request.headers.get("authorization")
        who = principal_of(None if header is None else header.encode("latin-1"))
        names = [entry.info.name for entry in catalog.models() if may_see(who, entry.info.name)]
        return Answered(200, {"models": names})

    async def status(request: Request) -> Answered:
        authorize(request, "read")
        model = request.path_params["model"]
        return Answered(200, describe.status(catalog.entry(model), _version(request, catalog), catalog))

    async def metadata(request: Request) -> Answered:
        authorize(request, "read")
        version = catalog.version(request.path_params["model"], _version(request, catalog))
        return Answered(200, describe.metadata(version))

    def get(path: str, handle: Callable[[Request], Awaitable[Answered]]) -> Route:
        return Route(path, Resource({"GET": handle}, ids, _nothing))

    verbs = [Route(f"{path}:{verb}", Resource({}, ids, _nothing, elsewhere="POST")) for path in PATHS for verb in VERBS]
    unknown = [Route(f"{path}:{{verb}}", Resource({}, ids, _nothing)) for path in PATHS]
    return [
        get("/v1/models", listed),
        *verbs,
        *unknown,
        *(get(path, status) for path in PATHS),
        *(get(f"{path}/metadata", metadata) for path in PATHS),
        Route("/v1/{path:path}", Resource({}, ids, _nothing)),
    ]


def may_see(who: Principal, model: str) -> bool:
    """Whether somebody may learn of a model: to read about it, it is enough to be allowed to predict with it."""
    return "read" in who.scopes or who.may_predict is None or model in who.may_predict


def _version(request: Request, catalog: Catalog) -> str | None:
    label = request.path_params.get("label")
    if label is None:
        return request.path_params.get("version")
    return labelled(catalog.entry(request.path_params["model"]), label)


def _nothing(request: Request) -> KanameError:
    expected = "/v1/models/NAME[/versions/VERSION|/labels/LABEL][/metadata], or POST with :predict, :classify, :regress"
    return NotFound("no such resource", where="path", found=request.url.path, expected=expected)
