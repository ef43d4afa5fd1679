"""`/api/v1/keys`."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from starlette.applications import Starlette

from kaname.access import api
from kaname.access.answers import KeptAnswers
from kaname.access.buckets import Buckets
from kaname.access.keys import Keys
from kaname.access.principals import Principals
from kaname.clock import ManualClock
from kaname.ids import counting_ids
from kaname.storage.sql.database import Database
from kaname.web import endpoints, openapi
from kaname.web.endpoints import Site
from tests.web.asking import Asker
from tests.web.test_openapi import check_document


@pytest.fixture
def ask(keys: Keys, database: Database, clock: ManualClock, tmp_path: Path) -> Asker:
    """Asks as admin; every request sees the keys as they are."""
    buckets = Buckets(clock)
    site = Site(
        authenticate=lambda header: Principals(keys.rows(), buckets).of(header),
        ids=counting_ids(),
        answers=KeptAnswers(database, clock),
        spool=tmp_path,
    )
    return Asker(Starlette(routes=list(endpoints.routes(api.resources(keys), site))), keys.ensure_local_admin(tmp_path))


def test_a_key_works_from_its_creation_to_its_end(ask: Asker) -> None:
    """Created, used, shown, listed, revoked, refused."""
    made = ask("POST", "/api/v1/keys", json={"name": "second", "scopes": ["admin"], "rate_rows_per_s": 10})
    assert made.status_code == 201
    key, info = made.json()["key"], made.json()["info"]
    assert made.headers["cache-control"] == "no-store"
    second = ask.as_(key)
    assert second("GET", made.headers["location"]).json() == info
    assert info["id"] in {item["id"] for item in second("GET", "/api/v1/keys").json()["items"]}
    assert ask("DELETE", f"/api/v1/keys/{info['id']}").json()["revoked_us"] is not None
    assert second("GET", "/api/v1/keys").status_code == 401


def test_secrets_are_in_no_other_answer_log_or_error(ask: Asker, keys: Keys, caplog: pytest.LogCaptureFixture) -> None:
    """Neither keys nor hashes appear outside the answer that creates them."""
    with caplog.at_level(logging.DEBUG):
        key = ask("POST", "/api/v1/keys", json={"scopes": ["read"]}).json()["key"]
        answers = [
            ask("GET", "/api/v1/keys").text,
            ask.as_(key)("GET", "/api/v1/keys").text,
            ask.as_(key + "x")("GET", "/api/v1/keys").text,
        ]
    hashes = [info.hash for info in keys.list()]
    for text in [*answers, caplog.text]:
        assert not any(secret in text for secret in [key[12:], *hashes])


def test_only_admins_manage_keys(ask: Asker, keys: Keys) -> None:
    """Writers do not: they could make themselves admins."""
    _, writer = keys.create("writer", ["write", "predict:*"], who="t")
    assert ask.as_(writer)("GET", "/api/v1/keys").status_code == 403
    assert ask.as_(writer)("POST", "/api/v1/keys", json={"scopes": ["admin"]}).status_code == 403


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({}, "body"),
        ({"scopes": []}, "body.scopes"),
        ({"scopes": ["root"]}, "scopes"),
        ({"scopes": ["read"], "rate_rows_per_s": -1}, "rate_rows_per_s"),
        ({"scopes": ["read"], "key": "mine"}, "body"),
    ],
)
def test_malformed_requests_make_no_key(ask: Asker, keys: Keys, body: dict[str, object], where: str) -> None:
    """Each is a 400 that names the place."""
    answer = ask("POST", "/api/v1/keys", json=body)
    assert answer.status_code == 400
    assert answer.json()["where"] == where
    assert len(keys.list()) == 1


def test_the_resources_are_documented(keys: Keys) -> None:
    """Their part of the OpenAPI document is sound."""
    check_document(openapi.document(api.resources(keys), title="t", version="1"))
