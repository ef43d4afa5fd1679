"""A model that another server answers: real servers at both ends, one of them killed in the middle."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest
from tritonclient.http import InferenceServerClient, InferInput

from kaname.tensors import Tensor, encode_binary
from tests.cli.kaname import kaname
from tests.e2e.server import Server
from tests.processes import until
from tests.servers import free_port

pytestmark = pytest.mark.slow
ROWS = np.random.default_rng(11).normal(size=(64, 4)).astype(np.float32)
Far = Callable[..., Server]


@pytest.fixture
def far(served_before: Path, tmp_path: Path) -> Iterator[Far]:
    """Starts servers that are asked by others, each on a project of its own; all with the same keys and model."""
    started: list[Server] = []

    def start(name: str, port: str = "0") -> Server:
        folder = tmp_path / name
        if not folder.exists():
            shutil.copytree(served_before, folder)
        started.append(Server(folder, port=port))
        return started[-1]

    yield start
    for one in started:
        one.close()


def describe(project: Path, *fars: Server, **fields: object) -> Path:
    """A description of their iris model, and the settings that let this project ask it."""
    urls = [one.url for one in fars]
    secret = project / "far.secret"
    secret.write_text(f"Bearer {fars[0].admin}\n")
    entries = {f"far{i}": {"url": url, "value_file": "far.secret"} for i, url in enumerate(urls)}
    with (project / "kaname.yaml").open("ab") as file:
        file.write(b"\n" + msgspec.yaml.encode({"remotes": entries}))
    (project / "remotes").mkdir()
    description = project / "remotes" / "far.yaml"
    description.write_bytes(
        msgspec.yaml.encode({"protocol": "oip", "urls": urls, "model": "iris", "probe_ms": 100, **fields})
    )
    return description


def add(project: Path, description: Path) -> None:
    """Import it as the model `far`."""
    ran = kaname("-C", project, "model", "add", "far", description)
    assert ran.code == 0, ran.out + ran.err


def outputs(server: Server, model: str, rows: Tensor) -> dict[str, bytes]:
    """The bytes of every output, asked in binary."""
    with InferenceServerClient(server.url.removeprefix("http://")) as client:
        given = InferInput("input", list(rows.shape), "FP32")
        given.set_data_from_numpy(rows)
        answer = client.infer(model, [given], headers={"Authorization": f"Bearer {server.admin}"})
        return {
            str(one["name"]): encode_binary(answer.as_numpy(str(one["name"])))
            for one in answer.get_response()["outputs"]
        }


def ready(client: httpx.Client) -> Mapping[str, Any]:
    """What is said about the remote model's readiness."""
    found: dict[str, Any] = client.get("/v2/models/far/ready").json()
    return found


def test_a_remote_answers_with_the_bits_of_the_original(far: Far, project: Path) -> None:
    """Over the Open Inference Protocol every output of 64 random rows equals, to the bit, what the remote itself says;
    the secret that it needs comes from the settings."""
    one = far("one")
    add(project, describe(project, one))
    with Server(project) as near:
        assert outputs(near, "far", ROWS) == outputs(one, "iris", ROWS)
        answer = near.predict("far").json()
        assert answer["prediction"]["label"] == one.predict("iris").json()["prediction"]


def test_another_address_takes_over_and_the_killed_one_comes_back(far: Far, project: Path) -> None:
    """No request fails while one of two servers is killed and started again; with both gone the model says why it is
    not ready, its caller is told 503, other models go on, and it is ready again when one is back."""
    one, two = far("one"), far("two")
    add(project, describe(project, one, two))
    with Server(project) as near, near.client() as client:

        def ask() -> int:
            return client.post("/api/v1/models/far/predict", json={"instances": ROWS[:2].tolist()}).status_code

        def left_out() -> float:
            lines = client.get("/metrics").text.splitlines()
            return sum(float(line.split()[-1]) for line in lines if line.startswith("kaname_remote_left_out{"))

        until(lambda: ready(client)["ready"], "the model is ready")
        assert {ask() for _ in range(20)} == {200}
        kill(one)
        assert {ask() for _ in range(50)} == {200}
        until(lambda: left_out() == 1, "the dead address is left out")
        assert ready(client)["ready"]
        kill(two)
        until(lambda: not ready(client)["ready"], "the model says that it is not ready")
        assert "refused" in ready(client)["reason"]
        assert client.get("/health/all").json() == {"far": "ng", "iris": "ok"}
        refused = client.post("/api/v1/models/far/predict", json={"instances": ROWS[:2].tolist()})
        assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
        assert one.url in refused.json()["found"]
        assert near.predict("iris").status_code == 200
        far("one", port=str(one.port))
        until(lambda: ready(client)["ready"], "the model is ready again")
        assert {ask() for _ in range(20)} == {200}
        counted = client.get("/metrics").text
        assert f'kaname_remote_requests_total{{address="{one.url}",code="ok"' in counted
        assert "kaname_remote_requests_total" in counted


def kill(server: Server) -> None:
    """The supervisor and its workers."""
    pids = server.pids()
    server.process.kill()
    server.process.wait()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), "the workers are gone")


def test_a_declared_remote_is_applied(far: Far, project: Path) -> None:
    """`models/far.yaml` names the description; the model has the names of classes that it gives."""
    description = describe(project, far("one"), labels={"probabilities": ["a", "b", "c"]})
    declared = {"name": "far", "versions": [{"version": "1", "path": str(description.relative_to(project))}]}
    (project / "models" / "far.yaml").write_bytes(msgspec.yaml.encode(declared))
    ran = kaname("apply", project, "--yes")
    assert ran.code == 0, ran.out + ran.err
    with Server(project) as near:
        answer = near.predict("far").json()
        assert set(answer["probabilities"]) == {"a", "b", "c"}


def test_a_server_starts_while_its_remote_is_away(far: Far, project: Path) -> None:
    """It is ready for everything else, and for the remote when that comes."""
    one = far("one", port=str(free_port()))
    add(project, describe(project, one))
    kill(one)
    with Server(project) as near, near.client() as client:
        assert near.predict("iris").status_code == 200
        until(lambda: not ready(client)["ready"], "the remote is known to be away")
        far("one", port=str(one.port))
        until(lambda: ready(client)["ready"], "the remote is there")
        assert near.predict("far").status_code == 200
