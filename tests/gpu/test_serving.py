"""A server on a device: imported, measured, optimised and served there, as a person would do it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.models import BenchModel
from kaname.settings import Device
from tests.cli.kaname import kaname
from tests.e2e import graphs as affines
from tests.e2e.conftest import Serve
from tests.e2e.server import Server
from tests.gpu.conftest import declare

pytestmark = [pytest.mark.gpu, pytest.mark.slow]
MIB = 1024 * 1024


def write(project: Path, **inference: Any) -> None:
    (project / "kaname.yaml").write_text(f"name: gpu\ninference: {json.dumps(inference)}\n")


def apply(project: Path) -> None:
    ran = kaname("apply", project, "--yes")
    assert ran.code == 0, ran.out + ran.err


def infer(server: Server, model: str, rows: np.ndarray, name: str = "X", status: int = 200) -> Any:
    """Rows as binary tensors."""
    head = {
        "inputs": [
            {
                "name": name,
                "shape": list(rows.shape),
                "datatype": "FP32",
                "parameters": {"binary_data_size": rows.nbytes},
            }
        ]
    }
    raw = json.dumps(head).encode()
    headers = {"inference-header-content-length": str(len(raw)), "content-type": "application/octet-stream"}
    with server.client() as client:
        answered = client.post(f"/v2/models/{model}/infer", content=raw + rows.tobytes(), headers=headers)
    assert answered.status_code == status, answered.text
    return answered.json()


def chances(answer: Any) -> np.ndarray:
    (output,) = answer["outputs"]
    return np.array(output["data"]).reshape(output["shape"])


def test_a_server_answers_from_the_device_as_from_the_processor(
    device: Device, project: Path, serve: Serve, benched: dict[str, BenchModel]
) -> None:
    """Over HTTP, one row and sixteen; the account has what the models take of the device."""
    for name in ("mlp", "cnn"):
        declare(project, name, benched[name].path)
    draw = np.random.default_rng(37)
    rows = {name: draw.normal(size=(16, *benched[name].row.shape)).astype(np.float32) for name in ("mlp", "cnn")}
    seen = {}
    for place in (device, "cpu"):
        write(project, device=place)
        apply(project)
        with serve() as server:
            seen[place] = {
                name: (chances(infer(server, name, given[:1])), chances(infer(server, name, given)))
                for name, given in rows.items()
            }
            taken = json.loads(server.run("residency", "--json").out)["total"]["device_bytes"]
        assert (taken > 0) == (place == "cuda")
    for name in rows:
        for found, expected in zip(seen[device][name], seen["cpu"][name], strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-4)


def test_more_than_the_device_holds_is_an_answer(cuda: Device, project: Path, serve: Serve, tmp_path: Path) -> None:
    """503 with the device's name; the worker lives, and answers what fits."""
    weights = np.ones((64, 4096), np.float32)
    declare(project, "wide", affines.affine(tmp_path / "wide.onnx", weights))
    write(project, device=cuda, device_bytes=32 * MIB)
    apply(project)
    rows = np.ones((5_000, 64), np.float32)
    with serve() as server:
        before = server.board.ready()
        refused = infer(server, "wide", rows, "x", status=503)
        assert "the memory of cuda does not suffice" in json.dumps(refused)
        assert chances(infer(server, "wide", rows[:1], "x")).shape == (1, 4096)
        assert [view.pid for view in server.board.ready()] == [view.pid for view in before]


def test_a_profile_is_the_devices_that_the_settings_name(
    device: Device, project: Path, benched: dict[str, BenchModel]
) -> None:
    """Imported on the device, measured again on the processor."""
    declare(project, "mlp", benched["mlp"].path)
    write(project, device=device)
    apply(project)
    show = ("model", "show", "mlp", "--json")
    assert kaname(*show, cwd=project).json()["versions"][0]["profile"]["device"] == device
    write(project, device="cpu")
    ran = kaname("model", "profile", "mlp", "1", cwd=project)
    assert ran.code == 0, ran.out + ran.err
    profile = kaname(*show, cwd=project).json()["versions"][0]["profile"]
    assert (profile["device"], profile["device_bytes"]) == ("cpu", 0)


def test_half_precision(cuda: Device, project: Path, benched: dict[str, BenchModel]) -> None:
    """`kaname model optimize` makes a version of half the size that agrees with its original; it runs there."""
    declare(project, "cnn", benched["cnn"].path)
    write(project, device=cuda)
    apply(project)
    ran = kaname("model", "optimize", "cnn@1", "--to", "float16", "--json", cwd=project)
    assert ran.code == 0, ran.out + ran.err
    made = ran.json()
    report = made["report"]
    assert report["agreement"] >= 0.99
    assert 0 < report["max_difference"] < 0.05
    assert report["after"]["bytes"] < report["before"]["bytes"] * 0.6
    assert made["version"]["profile"]["device"] == "cuda"
