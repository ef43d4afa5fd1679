"""A version is optimised over HTTP beside a running server, promoted, and answers."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import Serve
from tests.e2e.server import predict

pytestmark = pytest.mark.slow
AT = "/api/v1/models/iris/versions/1/optimize"


def test_an_optimised_version_answers_once_it_is_promoted(serve: Serve) -> None:
    """The same answer as before, from the new version; what was compared is kept with it."""
    with serve() as server, server.client() as client:
        before = predict(client).json()
        rows = [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]
        made = client.post(AT, json={"method": "graph", "version": "quick", "instances": rows})
        assert made.status_code == 201, made.text
        assert made.json()["report"]["rows"] == 2
        assert made.json()["version"]["metrics"]["agreement"] == 1.0
        assert predict(client).json()["version"] == "1"
        assert client.post("/api/v1/models/iris/versions/quick/promote").status_code == 200
        after = predict(client).json()
        assert (after["version"], after["prediction"]) == ("quick", before["prediction"])
        assert after["confidence"] == pytest.approx(before["confidence"])


def test_what_cannot_be_is_refused_and_nothing_is_registered(serve: Serve) -> None:
    """Trees and kernels have nothing to quantise, and a method is one of three."""
    with serve() as server, server.client() as client:
        refused = client.post(AT, json={"method": "int8"})
        assert (refused.status_code, refused.json()["where"]) == (400, "int8")
        unknown = client.post(AT, json={"method": "int4"})
        assert (unknown.status_code, unknown.json()["where"]) == (400, "body.method")
        ragged = client.post(AT, json={"instances": [[1.0, 2.0]]})
        assert ragged.status_code == 400
        assert [one["version"] for one in client.get("/api/v1/models/iris/versions").json()["items"]] == ["1"]
