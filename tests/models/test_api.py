"""`/api/v1/models…` over a real registry."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette

from kaname.access.answers import KeptAnswers
from kaname.access.buckets import Buckets
from kaname.access.keys import Keys
from kaname.access.principals import Principals
from kaname.clock import SystemClock
from kaname.ids import counting_ids
from kaname.models import api
from kaname.models.importing.process import run_import
from kaname.models.registry import Models
from kaname.web import endpoints, openapi
from kaname.web.endpoints import Site
from tests.models.world import World
from tests.web.asking import Asker
from tests.web.test_openapi import check_document

OCTETS = {"content-type": "application/octet-stream"}


class Server:
    """The resources over a registry, with keys of several scopes; `late` are workers that never follow."""

    def __init__(self, world: World, models: Models) -> None:
        self.models = models
        self.late: list[str] = []
        self.waited: list[tuple[int, float]] = []
        keys = Keys(world.database, world.clock)
        named = {name: keys.create(name, [name], who="t")[1] for name in ("admin", "write", "read", "predict:iris")}
        (world.folder / "spool").mkdir()
        self.spool = world.folder / "spool"
        site = Site(
            authenticate=Principals(keys.rows(), Buckets(world.clock)).of,
            ids=counting_ids(),
            answers=KeptAnswers(world.database, world.clock),
            spool=self.spool,
        )
        self.resources = api.resources(models, self._settled)
        app = Starlette(routes=list(endpoints.routes(self.resources, site)))
        self.by = {name: Asker(app, key) for name, key in named.items()}
        self.ask = self.by["write"]

    def _settled(self, seq: int, timeout_s: float) -> list[str]:
        self.waited.append((seq, timeout_s))
        return self.late


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A registry."""
    made = World(tmp_path)
    yield made
    made.close()


@pytest.fixture
def server(world: World) -> Server:
    """Its resources."""
    return Server(world, world.models)


def upload(server: Server, world: World, factor: float, query: str = "", ask: Asker | None = None) -> Any:
    """Upload a model that multiplies by `factor`."""
    content = world.file(factor).read_bytes()
    return (ask or server.ask)("POST", f"/api/v1/models/iris/versions{query}", content=content, headers=OCTETS)


def test_a_model_lives_and_dies_over_http(server: Server, world: World) -> None:
    """Uploaded, shown, promoted, rolled back, archived, deleted, with the same effects as by command line."""
    ask = server.ask
    made = upload(server, world, 2.0, "?metric=auc=0.9&tag=good&version=first")
    assert made.status_code == 201
    assert made.headers["location"] == "/api/v1/models/iris/versions/first"
    version = made.json()["version"]
    assert (version["version"], version["status"], version["metrics"]) == ("first", "deployed", {"auc": 0.9})
    assert version["tags"] == ["good"]
    assert made.json()["notes"] == ["one input"]
    assert upload(server, world, 3.0).json()["version"]["status"] == "training"
    second = ask("GET", "/api/v1/models/iris/versions").json()["items"][1]["version"]
    at = f"/api/v1/models/iris/versions/{second}"
    assert ask("POST", f"{at}/promote").json()["model"]["promoted"] == second
    assert ask("DELETE", at).status_code == 409
    assert ask("POST", f"{at}/archive").status_code == 409
    assert ask("POST", "/api/v1/models/iris/rollback").json()["model"]["promoted"] == "first"
    assert ask("POST", "/api/v1/models/iris/rollback").status_code == 409
    assert ask("POST", f"{at}/archive").json()["status"] == "archived"
    assert ask("DELETE", at).status_code == 204
    assert ask("GET", at).status_code == 404
    assert ask("DELETE", "/api/v1/models/iris").status_code == 409
    assert ask("POST", "/api/v1/models/iris/unload").json()["model"]["loaded"] is False
    assert ask("DELETE", "/api/v1/models/iris").status_code == 204
    assert ask("GET", "/api/v1/models").json() == {"items": [], "next": None}
    changes = ask("GET", "/api/v1/changes?limit=1000").json()["items"]
    assert all(change["who"].startswith("key:") for change in changes if not change["action"].startswith("key."))
    assert list(server.spool.iterdir()) == []


def test_what_may_differ_reaches_the_import(server: Server, world: World) -> None:
    """`tolerance` and `max_share` of the query; what is no share is a 400."""
    assert upload(server, world, 2.0, "?tolerance=0.5&max_share=0.25").status_code == 201
    assert [(each.tolerance, each.max_share) for each in world.requests] == [(0.5, 0.25)]
    refused = upload(server, world, 3.0, "?max_share=2")
    assert (refused.status_code, refused.json()["where"]) == (400, "query.max_share")


def test_a_model_is_found_by_name_and_by_number(server: Server, world: World) -> None:
    """Both identify it everywhere; an unknown name tells the near ones."""
    upload(server, world, 2.0)
    found = server.ask("GET", "/api/v1/models/iris").json()
    assert server.ask("GET", f"/api/v1/models/{found['id']}").json() == found
    unknown = server.ask("GET", "/api/v1/models/irsi")
    assert unknown.status_code == 404
    assert unknown.json()["expected"] == "iris"


def test_promote_waits_for_the_workers_and_names_those_that_lag(server: Server, world: World) -> None:
    """200 when all have applied it; else 202 with their names, and the change holds all the same."""
    upload(server, world, 2.0)
    upload(server, world, 3.0)
    at = "/api/v1/models/iris/versions/2/promote"
    done = server.ask("POST", f"{at}?wait_s=7")
    assert (done.status_code, done.json()["applied"]["complete"]) == (200, True)
    assert server.waited[-1] == (world.models.seq(), 7.0)
    assert done.json()["applied"]["seq"] == world.models.seq()
    server.late = ["worker 2"]
    late = server.ask("POST", "/api/v1/models/iris/rollback")
    assert late.status_code == 202
    assert late.json()["applied"]["laggards"] == ["worker 2"]
    assert world.models.get("iris").promoted == "1"
    assert server.ask("POST", f"{at}?wait_s=1000").status_code == 400


def test_a_stale_etag_changes_nothing(server: Server, world: World) -> None:
    """412 for promotions and settings when someone else was faster; the present ETag works."""
    upload(server, world, 2.0)
    upload(server, world, 3.0)
    old = server.ask("GET", "/api/v1/models/iris").headers["etag"]
    promoted = server.ask("POST", "/api/v1/models/iris/versions/2/promote", headers={"if-match": old})
    assert promoted.status_code == 200
    new = promoted.headers["etag"]
    for method, path in [
        ("POST", "/api/v1/models/iris/rollback"),
        ("POST", "/api/v1/models/iris/versions/1/promote"),
        ("PUT", "/api/v1/models/iris/config"),
        ("PATCH", "/api/v1/models/iris/config"),
    ]:
        stale = server.ask(method, path, headers={"if-match": old})
        assert stale.status_code == 412, path
        assert stale.json()["code"] == "precondition_failed"
    assert world.models.get("iris").promoted == "2"
    assert server.ask("POST", "/api/v1/models/iris/rollback", headers={"if-match": new}).status_code == 200
    nothing = server.ask("GET", "/api/v1/models/iris").headers["etag"]
    again = server.ask("POST", "/api/v1/models/iris/rollback", headers={"if-match": nothing})
    assert again.status_code == 409


def test_settings_are_replaced_patched_and_reset(server: Server, world: World) -> None:
    """PUT replaces all, PATCH single ones by dotted name; a wrong name or value changes nothing."""
    upload(server, world, 2.0)
    path = "/api/v1/models/iris/config"
    assert server.ask("PUT", path, json={"limits": {"queue": 5}, "timeout_ms": 9}).json()["limits"]["queue"] == 5
    patched = server.ask("PATCH", path, json={"set": {"record.policy": "block"}, "unset": ["timeout_ms"]}).json()
    assert (patched["limits"]["queue"], patched["record"]["policy"], patched["timeout_ms"]) == (5, "block", 30_000)
    assert server.ask("GET", path).json() == patched
    for method, body in [
        ("PUT", {"limits": {"queu": 5}}),
        ("PUT", {"record": {"policy": "never"}}),
        ("PATCH", {"set": {"limits.queu": 5}}),
        ("PATCH", {"set": {"limits.queue": "many"}}),
        ("PATCH", {"sets": {}}),
    ]:
        assert server.ask(method, path, json=body).status_code == 400, body
    assert server.ask("GET", path).json() == patched


def test_tags_and_profiles(server: Server, world: World) -> None:
    """Tags come and go; a new profile is measured from the stored artefact."""
    upload(server, world, 2.0)
    at = "/api/v1/models/iris/versions/1"
    assert server.ask("PUT", f"{at}/tags/golden").json()["tags"] == ["golden"]
    assert server.ask("DELETE", f"{at}/tags/golden").json()["tags"] == []
    profiled = server.ask("POST", f"{at}/profile").json()
    assert profiled["profile"]["us"][0] == len(world.file(2.0).read_bytes())
    assert server.ask("GET", at).json() == profiled


def test_metadata_is_for_those_who_may_read_or_predict(server: Server, world: World) -> None:
    """It holds the signature and a sample; a key for another model does not learn whether this one exists."""
    upload(server, world, 2.0)
    world.add("secret")
    found = server.by["predict:iris"]("GET", "/api/v1/models/iris/metadata")
    assert found.status_code == 200
    assert found.json()["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 1]}]
    assert found.json()["predict"] == "/api/v1/models/iris/predict"
    assert found.json()["sample"] == {"instances": [[1.0]]}
    named = server.by["read"]("GET", "/api/v1/models/secret/versions/1/metadata").json()
    assert named["predict"] == "/api/v1/models/secret/versions/1/predict"
    hidden = [server.by["predict:iris"]("GET", f"/api/v1/models/{name}/metadata") for name in ("secret", "nothing")]
    assert [answer.status_code for answer in hidden] == [403, 403]
    assert server.by["predict:iris"]("GET", "/api/v1/models").status_code == 403


def test_readers_change_nothing(server: Server, world: World) -> None:
    """Every resource that changes something needs `write`."""
    upload(server, world, 2.0)
    seq = world.models.seq()
    for resource in server.resources:
        if resource.method != "GET":
            path = resource.path.format(model="iris", version="1", tag="t")
            assert server.by["read"](resource.method, path).status_code == 403, path
    assert world.models.seq() == seq


@pytest.mark.parametrize("name", ["model.joblib", "model.pt2", "model.pt"])
def test_pickles_need_admin_and_trust(server: Server, world: World, name: str) -> None:
    """A pickle is code: without trust it is refused with the reason, with trust only admins may send it."""
    query = f"?file_name={name}"
    untrusted = upload(server, world, 2.0, query)
    assert untrusted.status_code == 400
    assert untrusted.json()["where"] == "query.trust_pickle"
    assert upload(server, world, 2.0, f"{query}&trust_pickle=true").status_code == 403
    assert upload(server, world, 2.0, "?trust_pickle=true").status_code == 403
    assert world.models.list() == []
    assert upload(server, world, 2.0, f"{query}&trust_pickle=true", server.by["admin"]).status_code == 201


@pytest.mark.parametrize(
    ("query", "where"),
    [
        ("?file_name=../../etc/passwd.onnx", "query.file_name"),
        ("?file_name=model.py", "query.file_name"),
        ("?file_name=model.py:Model", "query.file_name"),
        ("?file_name=", "query.file_name"),
        ("?metric=auc", "query.metric"),
        ("?metric=auc=high", "query.metric"),
        ("?metrics=auc=1", "query.metrics"),
        ("?promote=perhaps", "query.promote"),
        ("?version=a%20b", "version"),
    ],
)
def test_malformed_uploads_add_nothing(server: Server, world: World, query: str, where: str) -> None:
    """Each is a 400 that names the parameter."""
    answer = upload(server, world, 2.0, query)
    assert answer.status_code == 400, answer.text
    assert answer.json()["where"] == where
    assert world.models.list() == []
    assert list(server.spool.iterdir()) == []


def test_a_broken_file_is_the_fault_of_the_request(server: Server) -> None:
    """The answer names the body, not a path on the server."""
    answer = server.ask("POST", "/api/v1/models/iris/versions", content=b"nonsense", headers=OCTETS)
    assert answer.status_code == 400
    assert answer.json()["where"] == "body"
    assert str(server.spool) not in answer.text


def test_an_upload_repeated_under_one_key_adds_one_version(server: Server, world: World) -> None:
    """A client that lost the answer may send the file again."""
    headers = {**OCTETS, "idempotency-key": "upload-1"}
    content = world.file(2.0).read_bytes()
    answers = [
        server.ask("POST", "/api/v1/models/iris/versions", content=content, headers=headers).json() for _ in range(2)
    ]
    assert answers[0] == answers[1]
    assert len(world.models.versions("iris")) == 1


def test_the_journal_is_read_in_pages(server: Server, world: World) -> None:
    """Following `next` shows every change once, in order."""
    for factor in (1.0, 2.0, 3.0):
        world.add("iris", factor)
    seen: list[int] = []
    after: str | None = "0"
    while after is not None:
        answer = server.ask("GET", f"/api/v1/changes?limit=2&after={after}").json()
        seen += [change["seq"] for change in answer["items"]]
        after = answer["next"]
    assert seen == list(range(1, world.models.seq() + 1))


def test_the_resources_are_documented(server: Server) -> None:
    """Their part of the OpenAPI document is sound, schemas of all Structs included."""
    document = openapi.document(server.resources, title="t", version="1")
    check_document(document)
    assert "ModelInfo" in document["components"]["schemas"]


@pytest.mark.slow
def test_an_upload_passes_the_real_importer_with_its_sample(world: World) -> None:
    """Import in a child process: the sample of the query becomes the version's; a sample that does not fit is a 400."""
    models = Models(
        world.database,
        world.artefacts,
        SystemClock(),
        run_import,
        world.folder / "imports",
        lambda version, _: (version.profile, version.runtime, version.choices),
    )
    server = Server(world, models)
    sample = '{"instances": [[2.5]]}'
    made = server.ask(
        "POST",
        "/api/v1/models/iris/versions",
        params={"sample": sample},
        content=world.file(2.0).read_bytes(),
        headers=OCTETS,
    )
    assert made.status_code == 201, made.text
    assert "2.5" in str(made.json()["version"]["sample"])
    bad = server.ask(
        "POST",
        "/api/v1/models/iris/versions",
        params={"sample": "[[1, 2, 3]]"},
        content=world.file(3.0).read_bytes(),
        headers=OCTETS,
    )
    assert bad.status_code == 400, bad.text
    assert str(world.folder) not in bad.text
