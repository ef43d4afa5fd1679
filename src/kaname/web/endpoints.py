"""Runs declared resources: checks who asks, decodes, calls the handler in a thread, encodes the answer."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from urllib.parse import quote

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from kaname.call import Principal
from kaname.errors import Forbidden, InvalidInput, KanameError, NotFound
from kaname.ids import IdSource
from kaname.web import bodies, decoding, idempotency
from kaname.web.idempotency import Answers, StoredAnswer
from kaname.web.problems import internal, problem
from kaname.web.resources import Asked, Handler, Nothing, Reply, Resource, Upload

_log = logging.getLogger("kaname.web")
_encode = msgspec.json.Encoder().encode
_ETAG = re.compile(r'"([\x21\x23-\x7e]*)"')
_NOBODY = Principal("", "nobody", may_predict=frozenset(), scopes=frozenset())


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """What all resources of a server share."""

    authenticate: Callable[[bytes | None], Principal]
    """From the `Authorization` header to the principal; raises Unauthenticated."""
    ids: IdSource
    """Request ids."""
    answers: Answers
    """Answers kept for repeated requests with an Idempotency-Key."""
    spool: Path
    """Existing folder for uploads in progress."""
    max_body_bytes: int = 1024 * 1024
    """Largest JSON body of a resource."""
    max_upload_bytes: int = 4 * 1024 * 1024 * 1024
    """Largest file."""


def routes(resources: Iterable[Resource], site: Site) -> list[Route]:
    """One Starlette route per path, in the order of the resources.

    Resources without a handler are answered by a door of their own; here only their other methods are refused.
    """
    by_path: dict[str, dict[str, Resource]] = {}
    for resource in resources:
        methods = by_path.setdefault(resource.path, {})
        if resource.method in methods:
            raise ValueError(f"{resource.method} {resource.path} is declared twice")
        methods[resource.method] = resource
    return [Route(path, _Endpoint(methods, site)) for path, methods in by_path.items()]


def exception_handlers(ids: IdSource) -> dict[type[Exception], Callable[[Request, Exception], Awaitable[Response]]]:
    """For the Starlette application: what its own router and plain routes refuse is told as a problem, too."""

    async def refuse(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == 404:
            return _problem(NotFound("no such resource", where="path", found=request.url.path), request, ids())
        return _problem(InvalidInput(error.detail), request, ids(), status=error.status_code)

    async def tell(request: Request, error: Exception) -> Response:
        assert isinstance(error, KanameError)
        return _problem(error, request, ids())

    return {HTTPException: refuse, KanameError: tell}


class _Endpoint:
    """All methods of one path, as an ASGI application (Starlette adds no methods of its own to those)."""

    def __init__(self, methods: dict[str, Resource], site: Site) -> None:
        self._methods = methods
        self._site = site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        request_id = self._site.ids()
        try:
            response = await self._answer(request, request_id)
        except KanameError as error:
            response = _problem(error, request, request_id)
        except ClientDisconnect:
            return
        except Exception as error:  # noqa: BLE001  (the guard: a fault fails its own request only)
            _log.exception("%s %s failed; request %s", request.method, request.url.path, request_id)
            response = _problem(internal(error), request, request_id)
        response.headers["x-request-id"] = request_id
        if "traceparent" in request.headers:
            response.headers["traceparent"] = request.headers["traceparent"]
        await response(scope, receive, send)

    async def _answer(self, request: Request, request_id: str) -> Response:
        resource = self._methods.get("GET" if request.method == "HEAD" else request.method)
        if resource is None or resource.handler is None:
            allowed = ", ".join(sorted(self._methods))
            error = InvalidInput("no such method here", where="method", found=request.method, expected=allowed)
            response = _problem(error, request, request_id, status=405)
            response.headers["allow"] = allowed
            return response
        return await _run(resource, request, request_id, self._site)


async def _run(resource: Resource, request: Request, request_id: str, site: Site) -> Response:
    principal = _admit(resource, request, site)
    query = decoding.decode_query(request.query_params.multi_items(), resource.query)
    if_match = _if_match(resource, request)
    key = _idempotency_key(resource, request)
    body, file, body_hash = await _take_body(resource, request, site)
    asked = Asked(
        principal=principal,
        request_id=request_id,
        path=dict(request.path_params),
        query=query,
        body=body,
        file=file,
        if_match=if_match,
    )
    try:
        if resource.download:
            return await _download(resource, asked)
        if key is None:
            stored = await run_in_threadpool(_call, resource, asked)
        else:
            print_ = idempotency.fingerprint(request.method, _target(request), body_hash)
            stored = await run_in_threadpool(_call_once, resource, asked, site.answers, key, print_)
    finally:
        if file is not None:
            file.unlink(missing_ok=True)
    return _response(stored, request)


async def _download(resource: Resource, asked: Asked) -> Response:
    assert resource.handler is not None
    reply = await run_in_threadpool(resource.handler, asked)
    assert isinstance(reply, Reply)
    assert reply.file is not None
    return FileResponse(reply.file, media_type=reply.media_type, filename=reply.file.name)


# --- before the handler ---------------------------------------------------------------------------------


def _admit(resource: Resource, request: Request, site: Site) -> Principal:
    if resource.scope == "public":
        return _NOBODY
    header = request.headers.get("authorization")
    principal = site.authenticate(None if header is None else header.encode("latin-1"))
    if resource.scope != "any" and resource.scope not in principal.scopes:
        raise Forbidden(
            "the API key lacks a scope",
            where="Authorization",
            found=", ".join(sorted(principal.scopes)) or "no such scope",
            expected=resource.scope,
        )
    return principal


def _if_match(resource: Resource, request: Request) -> str | None:
    header = request.headers.get("if-match")
    if header is None or request.method in ("GET", "HEAD") or header.strip() == "*":
        return None
    if not resource.etag:
        raise InvalidInput("this resource has no ETag to match", where="If-Match", expected="no such header")
    match = _ETAG.fullmatch(header.strip())
    if match is None:
        raise InvalidInput("unusable ETag", where="If-Match", found=repr(header), expected='one strong ETag: "…"')
    return match[1]


def _idempotency_key(resource: Resource, request: Request) -> str | None:
    header = request.headers.get("idempotency-key")
    if header is None or resource.method == "GET":
        return None
    if resource.once:
        raise InvalidInput(
            "the answer holds a secret and is never stored, so it cannot be repeated",
            where="Idempotency-Key",
            expected="no such header",
        )
    return idempotency.check(header)


async def _take_body(
    resource: Resource, request: Request, site: Site
) -> tuple[msgspec.Struct | None, Path | None, bytes]:
    if isinstance(resource.body, Upload):
        bodies.check_media_type(request, resource.body.media_types)
        file, body_hash = await bodies.spool(request, site.max_upload_bytes, site.spool)
        return None, file, body_hash
    raw = await bodies.read(request, site.max_body_bytes)
    if raw:
        bodies.check_media_type(request, ("application/json",))
    body = decoding.decode(raw, resource.body or Nothing)
    return body, None, hashlib.blake2b(raw, digest_size=32).digest()


def _target(request: Request) -> bytes:
    path = request.scope.get("raw_path") or request.url.path.encode()
    return bytes(path) + b"?" + bytes(request.scope["query_string"])


# --- the handler and after ------------------------------------------------------------------------------


def _call(resource: Resource, asked: Asked) -> StoredAnswer:
    handler: Handler | None = resource.handler
    assert handler is not None
    value = handler(asked)
    reply = value if isinstance(value, Reply) else Reply(value=value)
    headers: list[tuple[str, str]] = []
    if reply.etag is not None:
        headers.append(("etag", f'"{reply.etag}"'))
    if reply.location is not None:
        headers.append(("location", quote(reply.location)))
    body = b""
    if resource.answer is not None:
        body = _encode(reply.value)
        headers.append(("content-type", "application/json"))
    if resource.once:
        headers.append(("cache-control", "no-store"))
    return StoredAnswer(reply.status or resource.status, tuple(headers), body)


def _call_once(resource: Resource, asked: Asked, answers: Answers, key: str, print_: str) -> StoredAnswer:
    owner = asked.principal.key_id
    before = answers.begin(owner, key, print_)
    if before is not None:
        return StoredAnswer(before.status, (*before.headers, ("idempotency-replayed", "true")), before.body)
    try:
        stored = _call(resource, asked)
    except BaseException:
        answers.forget(owner, key, print_)
        raise
    answers.finish(owner, key, print_, stored)
    return stored


def _response(stored: StoredAnswer, request: Request) -> Response:
    headers = dict(stored.headers)
    if request.method in ("GET", "HEAD") and "etag" in headers:
        known = request.headers.get("if-none-match", "")
        if known.strip() == "*" or headers["etag"] in [part.strip().removeprefix("W/") for part in known.split(",")]:
            return Response(status_code=304, headers={"etag": headers["etag"]})
    return Response(stored.body, stored.status, headers)


def _problem(error: KanameError, request: Request, request_id: str, *, status: int | None = None) -> Response:
    status, headers, body = problem(error, instance=request.url.path, request_id=request_id, status=status)
    return Response(body, status, {name.decode(): value.decode("latin-1") for name, value in headers})
