"""More models than memory: every request is answered, and the account says what happened and adds up."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.kaname import kaname
from tests.e2e import graphs
from tests.e2e.conftest import Serve
from tests.e2e.server import Server

pytestmark = pytest.mark.slow

WIDTH, MODELS = 500, 12
MIB = 1024 * 1024
ROW = [1.0] * WIDTH


def declare(project: Path, name: str, width: int, more: str = "") -> None:
    """A model whose weights take `width` squared times four bytes."""
    draw = np.random.default_rng(hash(name) % 1000)
    graphs.affine(project / "models" / f"{name}.onnx", draw.normal(size=(width, width)).astype(np.float32))
    (project / "models" / f"{name}.yaml").write_text(
        f'name: {name}\nversions:\n  - {{version: "1", path: models/{name}.onnx}}\npromoted: "1"\n{more}'
    )


@pytest.fixture(scope="module")
def imported(served_before: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve models of a megabyte and room for about six, one of them pinned; and one that never fits."""
    project = Path(shutil.copytree(served_before, tmp_path_factory.mktemp("crowded") / "project"))
    (project / "kaname.yaml").write_text(f"name: crowded\ninference: {{memory_bytes: {6 * MIB}, preload: 3}}\n")
    (project / "models" / "iris.yaml").unlink()
    for number in range(MODELS):
        declare(project, f"m{number}", WIDTH, "config: {pinned: true}\n" if number == MODELS - 1 else "")
    declare(project, "huge", 1400)
    ran = kaname("apply", project, "--yes")
    assert ran.code == 0, ran.out + ran.err
    return project


@pytest.fixture
def crowded(imported: Path, project: Path) -> Path:
    """A copy of it, in the place where `serve` starts its server."""
    shutil.rmtree(project)
    return Path(shutil.copytree(imported, project))


def account(server: Server) -> Any:
    return json.loads(server.run("residency", "--json").out)


def rss_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Rss"))


def test_more_models_than_memory(crowded: Path, serve: Serve) -> None:
    """Nothing fails but the model that can never fit; the budget holds; the rows add up to what the process uses."""
    with serve() as server:
        began = account(server)
        warm = {v["model"] for v in began["versions"] if v["state"] == "in memory"}
        assert f"m{MODELS - 1}" in warm
        assert len(warm) == 4, "the pinned one and as many as preload says"
        with server.client() as client:
            for number in [*range(MODELS), *range(MODELS), 0, 0, 0]:
                answer = client.post(f"/api/v1/models/m{number}/predict", json={"features": ROW})
                assert answer.status_code == 200, answer.text
            refused = client.post("/api/v1/models/huge/predict", json={"features": [1.0] * 1400})
            over_http = client.get("/api/v1/residency", params={"model": "m0"}).json()
            metrics = client.get("/metrics").text
        assert refused.status_code == 503
        assert "the version takes more memory than models may have" in refused.text
        found = account(server)
        (worker,) = found["workers"]
        rows = {v["model"]: v for v in found["versions"]}
        inside = [v for v in rows.values() if v["state"] == "in memory"]
        assert sum(v["bytes"] for v in inside) == worker["memory"]["sessions"] <= 6 * MIB
        assert worker["evictions"] == sum(v["evictions"] for v in rows.values()) > MODELS
        assert rows["m0"]["state"] == "in memory"
        assert (rows[f"m{MODELS - 1}"]["loads"], rows[f"m{MODELS - 1}"]["pinned"]) == (1, True)
        evicted = next(v for v in rows.values() if v["state"] == "absent")
        assert evicted["why"].startswith("room for m")
        assert evicted["last_used_us"] is not None
        assert rows["huge"]["state"] == "failed"
        assert [v["model"] for v in over_http["items"]] == ["m0"]
        assert over_http["total"]["memory"]["sessions"] <= 6 * MIB
        assert "kaname_evictions_total" in metrics
        memory, rss = worker["memory"], rss_kib(worker["pid"]) * 1024
        accounted = memory["interpreter"] + memory["sessions"] + memory["slack"]
        print(f"accounted {accounted / 1e6:.1f} MB of {rss / 1e6:.1f} MB, slack {memory['slack'] / 1e6:.1f} MB")
        assert abs(accounted - rss) <= 0.1 * rss
        assert memory["slack"] <= 0.2 * rss


def test_the_account_of_two_workers(crowded: Path, serve: Serve) -> None:
    """Each has half of the budget and its own versions; the table shows both and their sum."""
    with serve(workers=2) as server:
        for number in range(MODELS):
            assert server.predict(f"m{number}", features=ROW).status_code == 200
        found = account(server)
        assert [worker["budget"] for worker in found["workers"]] == [3 * MIB, 3 * MIB]
        assert found["total"]["memory"]["sessions"] == sum(w["memory"]["sessions"] for w in found["workers"])
        table = server.run("residency").out
        assert "interpreter" in table
        assert "\nall " in table
        pinned = next(v for v in found["versions"] if v["pinned"])
        assert (pinned["workers"], pinned["loads"]) == (2, 2)


def test_without_a_server_there_is_nothing_to_show(crowded: Path, serve: Serve) -> None:
    """An error that says what to do."""
    server = serve()
    server.stop()
    ran = server.kaname("residency")
    assert ran.code != 0
    assert "no server runs on this project" in ran.err
