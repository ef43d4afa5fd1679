"""A project from its first command to its last, as a person and a script meet it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import httpx
import pytest

from tests.cli.kaname import Ran, kaname
from tests.e2e import graphs
from tests.e2e.conftest import Serve
from tests.e2e.server import ROW, Server, predict, tail
from tests.processes import until

pytestmark = pytest.mark.slow


def _forest(folder: Path) -> tuple[Path, Path]:
    """A scikit-learn model in a joblib file, and a sample for it."""
    sklearn_datasets = pytest.importorskip("sklearn.datasets")
    joblib = pytest.importorskip("joblib")
    from sklearn.ensemble import RandomForestClassifier

    x, y = sklearn_datasets.load_iris(return_X_y=True)
    model = RandomForestClassifier(10, random_state=1).fit(x, y)
    joblib.dump(model, folder / "forest.joblib")
    (folder / "rows.json").write_text(json.dumps({"instances": x[:20].tolist()}))
    return folder / "forest.joblib", folder / "rows.json"


def _error(ran: Ran) -> str:
    """The error of a command on one line, as a KanameError says it."""
    message, *places = [line.strip().partition(" ") for line in ran.err.splitlines()]
    said = {name: value.strip() for name, _, value in places}
    return f"{said['where']}: {message[2]}; found {said['found']}"


def test_a_model_from_its_file_to_answers_and_away_again(project: Path, serve: Serve, tmp_path: Path) -> None:
    """Check, serve, ask, add a pickle (refused, then trusted), promote, roll back, archive, delete, read the record."""
    assert kaname("check", project).code == 0
    server = serve()
    assert server.predict().json()["prediction"] == "setosa"

    model, sample = _forest(tmp_path)
    refused = server.kaname("model", "add", "iris", model, "--sample", sample)
    assert refused.code == 2
    assert "--trust-pickle" in refused.err
    server.run("model", "add", "iris", model, "--sample", sample, "--trust-pickle", "--metric", "accuracy=0.96")
    assert server.predict().json()["version"] == "1"
    row = [5.1, 3.5, 1.4, 0.2]
    with server.client() as client:
        by_name = client.post("/api/v1/models/iris/versions/2/predict", json={"features": row})
    assert by_name.json()["version"] == "2", by_name.text

    server.run("model", "promote", "iris", "2")
    until(lambda: _version(server, row) == "2", "version 2 answers")
    deleted = server.kaname("model", "delete", "iris", "2")
    assert deleted.code == 1
    assert "answers" in deleted.err
    assert server.kaname("model", "archive", "iris", "2").code == 1

    server.run("model", "rollback", "iris")
    until(lambda: server.predict().json().get("version") == "1", "version 1 answers again")
    server.run("model", "archive", "iris", "2")
    until(lambda: _status_of(server, "2") == 404, "an archived version answers no longer")
    server.run("model", "delete", "iris", "2")

    events = until(lambda: [e for e in tail(server) if e["version"] == "2"], "recorded")
    assert {"request_id", "inputs", "outputs", "latency_us"} <= events[0].keys()
    pytest.importorskip("pyarrow")
    from pyarrow import parquet

    server.run("predictions", "export", "-o", tmp_path / "record.parquet", "--model", "iris")
    assert parquet.read_table(tmp_path / "record.parquet").num_rows >= 3
    assert server.stop() == 0


def _version(server: Server, row: object) -> str:
    with server.client() as client:
        return str(predict(client, features=row).json().get("version"))


def _status_of(server: Server, version: str) -> int:
    with server.client() as client:
        answer = client.post(f"/api/v1/models/iris/versions/{version}/predict", json={"features": [1, 2, 3, 4]})
    return answer.status_code


def test_a_key_opens_what_it_names_and_nothing_once_revoked(serve: Serve) -> None:
    """A key made beside the server works in every worker at once, is refused elsewhere, and ends within 200 ms."""
    with serve(workers=2) as server:
        made = server.run("key", "create", "--scope", "predict:iris", "--name", "shop", "--json").json()
        key, key_id = made["key"], made["info"]["id"]
        until(lambda: _codes(server, key) == {200}, "the key works everywhere", 2.0)
        assert server.predict("churn", key).status_code == 403
        with server.client(key) as client:
            assert client.get("/api/v1/models").status_code == 403
            assert client.delete("/api/v1/models/iris").status_code == 403
            assert client.get("/metrics").status_code == 403
            assert client.get("/api/v1/models/iris/metadata").status_code == 200
            assert client.get("/api/v1/models/other/metadata").status_code == 403
        assert server.predict(key="nonsense").status_code == 401
        assert key not in (server.project / ".kaname" / "control.db").read_bytes().decode("latin-1")

        with server.client() as admin:
            assert admin.delete(f"/api/v1/keys/{key_id}").status_code in (200, 204)
            time.sleep(0.2)  # what is promised
            assert _codes(server, key) == {401}


def _codes(server: Server, key: str) -> set[int]:
    """What 16 fresh connections are answered, which reach all workers."""
    return {server.predict(key=key).status_code for _ in range(16)}


def test_what_changed_by_hand_stands_when_the_server_starts_again(project: Path, serve: Serve) -> None:
    """A rollback over the API survives restarts; the file's wish is said as drift, until the file changes."""
    graphs.constant(project / "models" / "one.onnx", 1.0)
    graphs.constant(project / "models" / "two.onnx", 2.0)
    file = project / "models" / "steps.yaml"
    head = 'name: steps\nversions:\n  - {version: "1", path: models/one.onnx}\n'
    file.write_text(head + 'promoted: "1"\n')
    with serve() as server:
        assert "promote steps/1" in server.out()
    file.write_text(head + '  - {version: "2", path: models/two.onnx}\npromoted: "2"\n')
    with serve() as server:
        assert "add steps/2" in server.out()
        assert server.predict("steps", features=[1, 1]).json()["version"] == "2"
        with server.client() as client:
            assert client.post("/api/v1/models/steps/rollback").json()["model"]["promoted"] == "1"
        assert server.predict("steps", features=[1, 1]).json()["version"] == "1"
    with serve() as server:
        assert "drift" in server.out() or "stands until the file changes" in server.out(), server.out()
        assert server.predict("steps", features=[1, 1]).json()["version"] == "1"
        plan = kaname("apply", project, "--json").json()
        assert plan["steps"] == []
        assert any("steps" in str(each) for each in plan["drift"])
        file.write_text(head + "promoted: '1'\n")
        assert kaname("apply", project, "--yes").code == 0
    assert kaname("apply", project, "--json").json()["drift"] == []


def test_looking_at_a_project_with_and_without_its_server(project: Path, serve: Serve) -> None:
    """`status`, `settings` and `doctor` speak JSON; the status finds a server on whatever port it took."""
    assert kaname("status", project, "--json").json()["server"] == "not running"
    with serve() as server:
        found = kaname("status", project, "--json")
        assert found.code == 0
        assert found.json()["server"] == "ready"
        assert found.json()["address"] == server.url
        assert [model["name"] for model in found.json()["models"]] == ["iris"]
    assert {each["name"] for each in kaname("settings", project, "--json").json()["settings"]} > {"server.port"}
    assert kaname("doctor", project, "--json").json()["findings"]


def test_a_second_server_on_the_project_is_refused(project: Path, serve: Serve) -> None:
    """One server per folder; the second names the first."""
    with serve() as server:
        second = kaname("serve", project, "--port", "0")
        assert second.code == 1
        assert str(server.process.pid) in second.err


def test_a_server_of_another_project_does_not_share_the_port(project: Path, serve: Serve, tmp_path: Path) -> None:
    """A second project on a taken port is refused before it imports anything, and the first keeps all its clients."""
    kaname("init", tmp_path / "other")
    with serve() as server:
        second = kaname("serve", tmp_path / "other", "--port", str(server.port))
        assert second.code == 2
        assert f"server.port: the server cannot listen there; found 127.0.0.1:{server.port}" in _error(second)
        assert "importing" not in second.out
        assert {server.predict().status_code for _ in range(20)} == {200}


def test_the_client_of_the_package_asks_as_curl_does(serve: Serve) -> None:
    """kaname.client over a real server: a prediction, a list, an error with its place."""
    from kaname.client import Client
    from kaname.errors import NotFound

    with serve() as server, Client(server.url, server.admin) as client:
        assert client.ready()
        assert client.predict("iris", features=ROW).prediction == "setosa"
        assert [row.prediction for row in client.predict("iris", instances=[ROW, ROW]).predictions] == ["setosa"] * 2
        assert [model.name for model in client.models()] == ["iris"]
        with pytest.raises(NotFound, match="model"):
            client.predict("irish", features=ROW)


def test_a_python_program_and_a_server_share_a_project(project: Path, serve: Serve) -> None:
    """A Platform beside a running server sees the same models, and both record into one log."""
    from kaname.platform import Platform

    with serve() as server, Platform(project) as platform:
        mine = platform.predict("iris", ROW).request_id
        theirs = httpx.post(
            f"{server.url}/api/v1/models/iris/predict",
            json={"features": ROW},
            headers={"authorization": f"Bearer {server.admin}"},
            trust_env=False,
        ).json()["request_id"]
        until(lambda: {mine, theirs} <= {event["request_id"] for event in tail(server)}, "both are recorded")
