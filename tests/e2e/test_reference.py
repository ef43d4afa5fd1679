"""What the server says about itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.e2e.server import Server, new_project

pytestmark = pytest.mark.slow
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests of this module, which change nothing."""
    with Server(new_project(tmp_path_factory.mktemp("reference") / "project")) as server:
        yield server


def test_the_trace_of_a_caller_is_echoed(server: Server) -> None:
    """`traceparent` and a request id of the caller's come back, on predictions and on everything else."""
    with server.client() as client:
        client.headers["traceparent"] = TRACE
        for answer in (
            client.post("/api/v1/models/iris/predict", json={"features": {"input": [1, 2, 3, 4]}}),
            client.post("/api/v1/models/iris/predict", json={"features": {"input": [1]}}),
            client.get("/api/v1/models"),
        ):
            assert answer.headers["traceparent"] == TRACE, answer.request.url
            assert answer.headers["x-request-id"]


def test_the_description_names_every_route(server: Server) -> None:
    """/openapi.json lists every path and method that the application serves under /api, and each is really there."""
    from kaname.data_plane import DataPlane
    from kaname.platform import Platform

    with server.client() as client:
        document = client.get("/openapi.json").json()
        described = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
        assert document["openapi"].startswith("3.1")
        for method, path in described:
            target = re.sub(r"{\w+}", "no-such-thing", path)
            answer = client.request(method, target, headers={"authorization": "none"})
            assert answer.status_code != 405, (method, path)
            assert answer.status_code in (200, 401), (method, path, answer.status_code)
    with Platform(server.project) as platform:
        plane = platform._running()
        assert isinstance(plane, DataPlane)
        assert _routes(plane.app) <= described


def _routes(app: object) -> set[tuple[str, str]]:
    """The control routes inside the layers of the application."""
    while not hasattr(app, "routes"):
        app = app._app  # type: ignore[attr-defined]  # layers keep what they wrap there
    return {
        (method, route.path)
        for route in app.routes
        for method in route.methods or ()
        if route.path.startswith("/api") and method != "HEAD"
    }


class _Outside(HTMLParser):
    """Collects every address that a page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = {"script": "src", "link": "href", "img": "src", "iframe": "src", "use": "href", "form": "action"}
        self.loads += [value for name, value in attrs if name == names.get(tag) and value is not None]


def test_the_documentation_page_asks_nobody_else(server: Server) -> None:
    """/docs and everything that it loads come from the server itself."""
    with server.client() as client:
        page = client.get("/docs")
        assert page.status_code == 200
        reader = _Outside()
        reader.feed(page.text)
        for address in (each for each in reader.loads if not each.startswith("data:")):
            assert not re.match(r"(https?:)?//", address), address
            assert client.get(address).status_code == 200, address
        assert not re.search(r"@import|fetch\(['\"]https?:|url\(['\"]?https?:", page.text)
        policy = page.headers.get("content-security-policy", "")
        assert "default-src" in policy


def test_health_needs_no_key_and_metrics_do(server: Server) -> None:
    """Probes have no key; numbers are for those who may read."""
    with server.client(key="") as client:
        client.headers.pop("authorization")
        assert client.get("/health/live").status_code == 200
        assert client.get("/health/ready").status_code == 200
        assert client.get("/metrics").status_code == 401
        assert client.get("/api/v1/models").status_code == 401


def test_every_sample_of_metadata_works_when_posted_back(server: Server) -> None:
    """`metadata` shows a request that the model answers; `smoke` runs it."""
    with server.client() as client:
        sample = client.get("/api/v1/models/iris/metadata").json()["sample"]
        assert client.post("/api/v1/models/iris/predict", json=sample).status_code == 200
        assert client.post("/api/v1/models/iris/smoke").status_code == 200


def test_the_metrics_are_as_prometheus_reads_them(server: Server) -> None:
    """A client library of Prometheus parses the page, and finds the families that the manual names."""
    parser = pytest.importorskip("prometheus_client.parser")
    assert server.predict().status_code == 200
    with server.client() as client:
        families = {family.name for family in parser.text_string_to_metric_families(client.get("/metrics").text)}
    assert {"kaname_requests", "kaname_batch_rows", "kaname_loads", "kaname_recorded"} <= families


def test_requests_for_other_hosts_are_refused(server: Server, tmp_path: Path) -> None:
    """A page of another site that resolves to loopback reaches nothing."""
    with server.client() as client:
        for method, path in (("GET", "/api/v1/models"), ("POST", "/api/v1/models/iris/predict")):
            answer = client.request(method, path, headers={"host": "evil.example"})
            assert answer.status_code in (400, 403, 421), answer.status_code
            answer = client.request(method, path, headers={"origin": "https://evil.example"})
            assert answer.status_code == 403
