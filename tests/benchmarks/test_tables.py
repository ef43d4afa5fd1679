"""The parts of the page that programs of their own write: what they say of figures that are known."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np

from benchmarks import collector, costs, devices, grpc
from kaname.protobuf.messages import kind


def test_features_beside_none() -> None:
    """The median without, and of each feature its cost, the difference within pairs, and how many times as much."""
    text = costs.section({"API key": [(10.0, 11.0), (12.0, 13.5), (11.0, 12.0)]})
    assert f"| {costs.BARE} | 11.0 | | |" in text
    assert "| API key | 12.0 | 1.0 (1.0–1.5) | 1.10 |" in text


def test_every_feature_is_another_project() -> None:
    """What they are compared with comes first; tracing goes where it is told."""
    rows = list(costs.features("http://127.0.0.1:4318"))
    assert rows[0].title == costs.BARE
    assert len({(row.settings, row.key, row.tls) for row in rows}) == len(rows)
    assert sum("http://127.0.0.1:4318" in row.settings for row in rows) == 2


def entry(name: str, title: str) -> grpc.Entry:
    server: Any = SimpleNamespace()  # nothing is asked of it
    return grpc.Entry(name, title, server, 1, b"", "")


def test_grpc_beside_others() -> None:
    """Ratios round by round, and the targets that there are figures for."""
    found = {
        (name, width): [(us, 1e6 / us)] * 3
        for name, us in ((grpc.KANAME, 200.0), (grpc.ECHO, 160.0), ("mlserver0", 700.0))
        for width in grpc.CONNECTIONS
    }
    text = grpc.section([entry(grpc.KANAME, "**Kaname**"), entry(grpc.ECHO, "echo")], found)
    assert "| **Kaname** | 16 | 5,000 | 200 | 1.00 |" in text
    assert "| echo | 64 | 6,250 | 160 | 0.80 |" in text
    assert "| Kaname's, × the echo's | ≤ 1.40 | ≤ 1.15 | 1.25 | must |" in text
    assert "| MLServer's, × Kaname's | ≥ 2.00 | ≥ 3.00 | 3.50 | aim |" in text


def test_rows_are_marked_with_the_device() -> None:
    """Its name in the first column but one, what it took of its memory in the last."""
    one = {"device_bytes": 0, "us": {"1": 9.0, "16": 20.0, "256": 256.0}, "difference": 0.0}
    two = {**one, "device_bytes": 64 * 1024 * 1024, "difference": 4e-7}
    text = devices.section(
        {
            "card": "CARD (driver 1)", "onnxruntime": "1.31", "taken": "2026-11-28",
            "machine": {"cores": "4", "CPU": "X"}, "models": {"mlp": {"CPU, 1 thread": one, "CARD": two}},
        }
    )  # fmt: skip
    assert "| mlp | CPU, 1 thread | 9 | 20 | 256 | 1,000,000 | 0 |  |" in text
    assert "| mlp | CARD | 9 | 20 | 256 | 1,000,000 | 4e-07 | 64 |" in text


def test_a_collector_takes_everything() -> None:
    """Over one connection, whatever the path."""
    with collector.collecting() as address, httpx.Client(base_url=address) as client:
        assert client.post("/v1/traces", content=b"x").status_code == 200
        assert client.post("/v1/metrics", content=b"").status_code == 200


def test_a_row_becomes_a_message() -> None:
    """Raw contents, little-endian, with the shape of one row."""
    read = kind("inference.ModelInferRequest")()
    read.ParseFromString(grpc.message("m", np.array([1.0, 2.0], np.float32)))
    assert (read.model_name, list(read.inputs[0].shape)) == ("m", [1, 2])
    assert np.frombuffer(read.raw_input_contents[0], "<f4").tolist() == [1.0, 2.0]
