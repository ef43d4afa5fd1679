"""Loading one model leaves the answers of another alone, but for the CPU that it takes."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.e2e import graphs
from tests.e2e.conftest import Serve
from tests.e2e.server import Server, predict
from tests.processes import until

pytestmark = [pytest.mark.slow, pytest.mark.serial]

ASKED = 400


def _latencies_ms(client: httpx.Client, count: int) -> list[float]:
    found = []
    for _ in range(count):
        began = time.perf_counter()
        assert predict(client).status_code == 200
        found.append((time.perf_counter() - began) * 1000)
    return found


def _p99(values: list[float]) -> float:
    return float(np.percentile(values, 99))


def test_a_large_model_loads_beside_a_small_one_that_answers(serve: Serve, tmp_path: Path) -> None:
    """80 MB of weights are read, checked and opened again and again while iris answers; no answer waits for it."""
    weights = np.random.default_rng(2).normal(size=(4500, 4500)).astype(np.float32)
    large = graphs.affine(tmp_path / "large.onnx", weights)
    with serve() as server, server.client() as client:
        server.run("model", "add", "large", large, "--no-promote")
        _latencies_ms(client, 50)
        alone = _latencies_ms(client, ASKED)
        beside: list[float] = []
        loads = _loads(server)
        server.run("model", "promote", "large", "1")
        until(lambda: _asked_and_loaded(server, client, beside, loads), "large is loaded", 60.0)
    print(f"p99 alone {_p99(alone):.2f} ms, beside a load {_p99(beside):.2f} ms, worst {max(beside):.2f} ms")
    assert _p99(beside) < max(50.0, 10 * _p99(alone))
    assert max(beside) < 250.0


def _asked_and_loaded(server: Server, client: httpx.Client, found: list[float], before: float) -> bool:
    found += _latencies_ms(client, 50)
    return _loads(server) > before


def _loads(server: Server) -> float:
    with server.client() as client:
        lines = client.get("/metrics").text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith('kaname_loads_total{model="large"'))
