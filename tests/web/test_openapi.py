"""The OpenAPI document."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tests.web.asking import Asker
from tests.web.notes import Notes


def refs(value: object) -> Iterator[str]:
    """Every `$ref` in a document."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == "$ref":
                yield str(inner)
            else:
                yield from refs(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from refs(inner)


def check_document(document: dict[str, Any]) -> None:
    """What the specification demands of a document's structure, as far as a reader trips over it."""
    assert document["openapi"].startswith("3.1.")
    assert {"title", "version"} <= document["info"].keys()
    for ref in refs(document):
        at: Any = document
        for name in ref.removeprefix("#/").split("/"):
            at = at[name]
    seen: set[str] = set()
    for path, item in document["paths"].items():
        assert path.startswith("/")
        for method, operation in item.items():
            assert method in {"get", "post", "put", "patch", "delete"}
            assert operation["operationId"] not in seen
            seen.add(operation["operationId"])
            assert operation["responses"]
            assert all("description" in r or "$ref" in r for r in operation["responses"].values())
            parameters = operation.get("parameters", [])
            assert all({"name", "in", "schema"} <= parameter.keys() for parameter in parameters)
            named = {p["name"] for p in parameters if p["in"] == "path"}
            assert named == set(re.findall(r"\{(\w+)\}", path))
            assert all(p["required"] for p in parameters if p["in"] == "path")
            assert method != "get" or "requestBody" not in operation
    for name in document["components"]["schemas"]:
        assert re.fullmatch(r"[A-Za-z0-9._-]+", name), name


def test_the_served_document_is_sound(ask: Asker) -> None:
    """Every reference resolves, every operation is unique and complete; it is public."""
    answer = ask.as_(None)("GET", "/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    check_document(answer.json())


def test_it_describes_exactly_what_is_declared(notes: Notes, ask: Asker) -> None:
    """Served resources and those answered elsewhere are listed; scopes, parameters and bodies are told."""
    document = ask("GET", "/openapi.json").json()
    told = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    assert told == {(resource.method, resource.path) for resource in notes.resources}
    create = document["paths"]["/api/v1/notes"]["post"]
    assert "`write`" in create["description"]
    assert [p["name"] for p in create["parameters"]] == ["Idempotency-Key"]
    assert create["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("/Note")
    listed = document["paths"]["/api/v1/notes"]["get"]
    assert {p["name"]: p["schema"]["type"] for p in listed["parameters"]} == {"limit": "integer", "after": "string"}
    assert document["paths"]["/api/v1/broken"]["get"]["security"] == []
    assert "Idempotency-Key" not in str(document["paths"]["/api/v1/secrets"])
    predict = document["paths"]["/api/v1/models/{model}/predict"]["post"]
    assert predict["requestBody"]["content"]["application/json"]["example"] == {"name": "x"}
    assert ask("POST", "/api/v1/models/x/predict", json={"name": "x"}).status_code == 405
