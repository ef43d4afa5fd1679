"""The OpenAPI 3.1 document of declared resources. Source: https://spec.openapis.org/oas/v3.1.1."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from kaname.web.problems import Problem
from kaname.web.resources import Nothing, Resource, Upload

_REF = "#/components/schemas/{name}"
_PARAMETER = re.compile(r"\{(\w+)\}")
_WORD = re.compile(r"[A-Za-z0-9]+")
_PROBLEM = {"$ref": "#/components/responses/Problem"}
_SCOPE_TEXT = {
    "public": "No API key needed.",
    "any": "Any valid API key; which models it may see depends on its scopes.",
}


def document(resources: Iterable[Resource], *, title: str, version: str, description: str = "") -> dict[str, Any]:
    """The document as plain JSON values. `operationId`s are made of method and path, so they stay when texts change."""
    resources = list(resources)
    schemas = _Schemas(resources)
    paths: dict[str, dict[str, Any]] = {}
    for resource in resources:
        paths.setdefault(resource.path, {})[resource.method.lower()] = _operation(resource, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version, "description": description},
        "servers": [{"url": "/"}],
        "tags": [{"name": name} for name in dict.fromkeys(resource.group for resource in resources)],
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "An API key: `kn_…` (`kaname key create`)."}
            },
            "responses": {
                "Problem": {
                    "description": "The request was not answered; the document says why (RFC 9457).",
                    "content": {"application/problem+json": {"schema": schemas.of(Problem)}},
                }
            },
        },
        "security": [{"key": []}],
    }


class _Schemas:
    """Schemas of all types that the resources mention; named Structs become components."""

    def __init__(self, resources: list[Resource]) -> None:
        kinds: dict[object, None] = {Problem: None}
        for resource in resources:
            for kind in (resource.body, resource.query, resource.answer, resource.error):
                if kind is not None and not isinstance(kind, Upload):
                    kinds[kind] = None
        made, components = msgspec.json.schema_components(list(kinds), schema_hook=_schema_of, ref_template=_REF)
        self._of = dict(zip(kinds, made, strict=True))
        self.components: dict[str, Any] = components

    def of(self, kind: object) -> dict[str, Any]:
        """The schema of one type: a reference, or an inline schema."""
        return self._of[kind]

    def fields(self, kind: type[msgspec.Struct]) -> tuple[dict[str, Any], list[str]]:
        """The properties of a Struct and the names of those that must be given."""
        schema = self.components[_name(self._of[kind])]
        return schema.get("properties", {}), schema.get("required", [])


def _schema_of(kind: type) -> dict[str, Any]:
    """Schemas of types that msgspec leaves to its caller."""
    if kind is object:
        return {"description": "Any JSON value."}
    raise NotImplementedError


def _name(schema: dict[str, Any]) -> str:
    return str(schema.get("$ref", "")).rpartition("/")[2]


def _operation(resource: Resource, schemas: _Schemas) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": operation_id(resource),
        "summary": resource.summary,
        "description": " ".join(filter(None, (resource.description, _scope_text(resource)))),
        "tags": [resource.group],
        "responses": {str(resource.status): _success(resource, schemas), "default": _refusal(resource, schemas)},
    }
    if resource.etag and resource.method == "GET":
        operation["responses"]["304"] = {"description": "Not changed since the ETag in If-None-Match."}
    parameters = [*_path_parameters(resource), *_query_parameters(resource, schemas), *_header_parameters(resource)]
    if parameters:
        operation["parameters"] = parameters
    body = _body(resource, schemas)
    if body is not None:
        operation["requestBody"] = body
    if resource.scope == "public":
        operation["security"] = []
    return operation


def operation_id(resource: Resource) -> str:
    """`POST /api/v1/models/{model}/rollback` is `postModelsModelRollback`."""
    words = _WORD.findall(resource.path.removeprefix("/api/v1"))
    return resource.method.lower() + "".join(word[:1].upper() + word[1:] for word in words)


def _scope_text(resource: Resource) -> str:
    return _SCOPE_TEXT.get(resource.scope, f"Needs an API key with scope `{resource.scope}`.")


def _success(resource: Resource, schemas: _Schemas) -> dict[str, Any]:
    found: dict[str, Any] = {"description": "Done." if resource.answer is None else "The answer."}
    if resource.download:
        found = {"description": "The file.", "content": {"application/octet-stream": {}}}
    if resource.answer is not None:
        found["content"] = {resource.media: {"schema": schemas.of(resource.answer)}}
    if resource.etag:
        found["headers"] = {"ETag": {"description": "Changes with the resource.", "schema": {"type": "string"}}}
    return found


def _refusal(resource: Resource, schemas: _Schemas) -> dict[str, Any]:
    if resource.error is None:
        return _PROBLEM
    content = {resource.error_media: {"schema": schemas.of(resource.error)}}
    return {"description": "The request was not answered; the body says why.", "content": content}


def _path_parameters(resource: Resource) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PARAMETER.findall(resource.path)
    ]


def _query_parameters(resource: Resource, schemas: _Schemas) -> list[dict[str, Any]]:
    if resource.query is Nothing:
        return []
    properties, required = schemas.fields(resource.query)
    found = []
    for name, schema in properties.items():
        schema = dict(schema)
        parameter = {"name": name, "in": "query", "required": name in required, "schema": schema}
        if "description" in schema:
            parameter["description"] = schema.pop("description")
        found.append(parameter)
    return found


def _header_parameters(resource: Resource) -> list[dict[str, Any]]:
    if resource.method == "GET" or resource.handler is None:
        return []
    found = []
    if resource.etag:
        found.append(_header("If-Match", "Change only what still has this ETag; 412 otherwise."))
    if not resource.once:
        found.append(
            _header(
                "Idempotency-Key", "A repeated request with the same key gets the answer of the first, for 24 hours."
            )
        )
    return found


def _header(name: str, description: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "description": description, "schema": {"type": "string"}}


def _body(resource: Resource, schemas: _Schemas) -> dict[str, Any] | None:
    if resource.body is None:
        return None
    if isinstance(resource.body, Upload):
        content: dict[str, Any] = {kind: {} for kind in resource.body.media_types}
        return {"required": True, "description": resource.body.description, "content": content}
    media: dict[str, Any] = {"schema": schemas.of(resource.body)}
    if resource.example is not None:
        media["example"] = resource.example
    return {"required": True, "content": {resource.body_media: media}}
