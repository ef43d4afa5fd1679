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
from tests.e2e.test_batch_jobs import JOBS, ended, rows
from tests.processes import until
from tests.servers import free_port

pytestmark = pytest.mark.slow
ROWS = np.random.default_rng(11).normal(size=(64, 4)).astype(np.float32)
Far = Callable[..., Server]


@pytest.fixture
def far(served_before: Path, tmp_path: Path) -> Iterator[Far]:
    """Starts servers that are asked by others, each on a project of its own; all with the same keys and model."""
    started: list[Server] = []

    def start(name: str, port: str = "0", grpc_port: int = 0) -> Server:
        folder = tmp_path / name
        if not folder.exists():
            shutil.copytree(served_before, folder)
        started.append(Server(folder, port=port, KANAME_SERVER__GRPC_PORT=str(grpc_port)))
        return started[-1]

    yield start
    for one in started:
        one.close()


def trust(project: Path, key: str, *urls: str) -> None:
    """The settings that let this project ask these servers with a key."""
    (project / "far.secret").write_text(f"Bearer {key}\n")
    entries = {f"far{i}": {"url": url, "value_file": "far.secret"} for i, url in enumerate(urls)}
    with (project / "kaname.yaml").open("ab") as file:
        file.write(b"\n" + msgspec.yaml.encode({"remotes": entries}))


def describe(project: Path, *urls: str, name: str = "far", **fields: object) -> Path:
    """A description of the iris model there."""
    (project / "remotes").mkdir(exist_ok=True)
    description = project / "remotes" / f"{name}.yaml"
    content = {"protocol": "oip", "urls": urls, "model": "iris", "probe_ms": 100, **fields}
    description.write_bytes(msgspec.yaml.encode(content))
    return description


def add(project: Path, description: Path | str) -> None:
    """Import it as the model that it is called, or as `far`."""
    name = description.stem if isinstance(description, Path) else "far"
    ran = kaname("-C", project, "model", "add", name, description)
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


ROW_SIGNATURE = {
    "inputs": [{"name": "input", "datatype": "FP32", "shape": [-1, 4]}],
    "outputs": [
        {"name": "prediction", "datatype": "BYTES", "shape": [-1]},
        {"name": "confidence", "datatype": "FP32", "shape": [-1]},
    ],
}


def test_a_remote_answers_with_the_bits_of_the_original(far: Far, project: Path) -> None:
    """Over each protocol every output of 64 random rows equals, to the bit, what the remote itself says; the secret
    that it needs comes from the settings."""
    port = free_port()
    one = far("one", grpc_port=port)
    grpc = f"grpc://127.0.0.1:{port}"
    trust(project, one.admin, one.url, grpc)
    add(project, describe(project, one.url, name="oip"))
    add(project, describe(project, one.url, name="json", binary=False))
    add(project, describe(project, grpc, name="grpc", protocol="oip-grpc"))
    add(project, describe(project, one.url, name="tfs", protocol="tfs"))
    add(project, describe(project, grpc, name="tfs-grpc", protocol="tfs-grpc"))
    form = {"named": True, "ready": "/health/ready"}
    url = f"{one.url}/api/v1/models/iris/predict"
    add(project, describe(project, url, name="rows", protocol="http", signature=ROW_SIGNATURE, http=form))
    add(project, f"{one.url}/v2/models/iris")
    with Server(project) as near:
        original = outputs(one, "iris", ROWS)
        for name in ("oip", "json", "grpc", "tfs", "tfs-grpc", "far"):
            assert outputs(near, name, ROWS) == original, name
        found = outputs(near, "rows", ROWS)
        labels, chances = original["label"], np.frombuffer(original["probabilities"], np.float32).reshape(-1, 3)
        assert found["prediction"] == labels
        assert found["confidence"] == chances.max(axis=1).tobytes()
        with near.client() as client:
            until(lambda: set(client.get("/health/all").json().values()) == {"ok"}, "all are ready")


@pytest.mark.parametrize("protocol", ["oip", "oip-grpc", "tfs-grpc"])
def test_another_address_takes_over_and_the_killed_one_comes_back(far: Far, project: Path, protocol: str) -> None:
    """No request fails while one of two servers is killed and started again; with both gone the model says why it is
    not ready, its caller is told 503, other models go on, and it is ready again when one is back."""
    ports = free_port(), free_port()
    one, two = far("one", grpc_port=ports[0]), far("two", grpc_port=ports[1])
    urls = [f"grpc://127.0.0.1:{port}" for port in ports] if protocol.endswith("grpc") else [one.url, two.url]
    trust(project, one.admin, *urls)
    add(project, describe(project, *urls, protocol=protocol))
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
        assert urls[0] in refused.json()["found"]
        assert near.predict("iris").status_code == 200
        far("one", str(one.port), ports[0])
        until(lambda: ready(client)["ready"], "the model is ready again")
        assert {ask() for _ in range(20)} == {200}
        assert f'kaname_remote_requests_total{{address="{urls[0]}",code="ok"' in client.get("/metrics").text


def kill(server: Server) -> None:
    """The supervisor and its workers."""
    pids = server.pids()
    server.process.kill()
    server.process.wait()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), "the workers are gone")


def test_a_batch_job_asks_the_remote(far: Far, project: Path) -> None:
    """A file of rows, over HTTP and at the command line, is answered as the original answers it, many rows a request;
    while the remote is away the run ends in its error, and is continued later."""
    one = far("one")
    trust(project, one.admin, one.url)
    add(project, describe(project, one.url, batch_rows=50))
    source = rows(project / "data" / "flowers.csv", 500)
    with Server(project) as near, near.client() as client:
        made = client.post(JOBS, json={"model": "far", "input": "flowers.csv", "output_format": "jsonl"})
        assert made.status_code == 201, made.text
        assert ended(client, made.json()["id"])["status"] == "done"
        result = client.get(f"{JOBS}/{made.json()['id']}/result").content
        assert len(result.splitlines()) == 500
        kill(one)
        ran = near.kaname("predict", "far", "-i", source, "-o", project / "out.jsonl")
        assert ran.code == 1, ran.out + ran.err
        assert one.url in ran.err
        far("one", str(one.port))
        near.run("predict", "far", "-i", source, "-o", project / "out.jsonl")
        assert (project / "out.jsonl").read_bytes() == result


def test_a_declared_remote_is_applied(far: Far, project: Path) -> None:
    """`models/far.yaml` names the description; the model has the names of classes that it gives."""
    one = far("one")
    trust(project, one.admin, one.url)
    description = describe(project, one.url, labels={"probabilities": ["a", "b", "c"]})
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
    trust(project, one.admin, one.url)
    add(project, describe(project, one.url))
    kill(one)
    with Server(project) as near, near.client() as client:
        assert near.predict("iris").status_code == 200
        until(lambda: not ready(client)["ready"], "the remote is known to be away")
        far("one", port=str(one.port))
        until(lambda: ready(client)["ready"], "the remote is there")
        assert near.predict("far").status_code == 200
