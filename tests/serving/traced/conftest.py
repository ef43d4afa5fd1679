"""A real server, over HTTP and gRPC, that traces every request and sends to a collector in this process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from kaname.settings import Caching, Limits, ModelConfig
from tests.collector import Collector
from tests.serving.grpc.conftest import hold_port
from tests.serving.oip.conftest import Served, iris_model, words_model

MOODY = """
import time
import numpy as np

class Model:
    def predict(self, batch):
        x = np.asarray(batch["x"], np.float32)
        if (x < 0).any():
            raise RuntimeError("in no mood")
        time.sleep(0.2 if (x > 100).any() else 0.003)
        return {"y": x}
"""
SETTINGS = """telemetry:
  otlp:
    endpoint: {url}
    sampling_ratio: {ratio}
    traces_interval_ms: 20
    metrics_interval_ms: 50
    headers: "authorization=Bearer collector%20key"
    resource: [deployment.environment.name=test]
"""
ROW = {"x": [5.1, 3.5, 1.4, 0.2]}
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Traced:
    """The server, its collector, and a key that may do everything."""

    def __init__(self, served: Served, collector: Collector) -> None:
        self.served = served
        self.collector = collector
        self.key = served.key("admin", "admin")
        self.url = f"http://{served.address}"

    @property
    def running(self) -> int:
        """How many traced calls are in progress."""
        tracing = self.served.plane.node.tracing
        assert tracing is not None
        return len(tracing.running)

    def client(self) -> httpx.Client:
        """With the key."""
        return httpx.Client(base_url=self.url, headers=self.key, timeout=30.0, trust_env=False)


def start(folder: Path, collector: Collector, ratio: float, grpc_port: int = 0) -> Served:
    """A server with the models iris, words, moody (which raises below 0, is slow, and above 100 slower) and kept (with
    a result cache)."""
    server = Served(folder, grpc_port, SETTINGS.format(url=collector.url, ratio=ratio))
    models = server.stores.models
    for name, make in (("iris", iris_model), ("words", words_model), ("kept", iris_model)):
        make(folder / f"{name}.onnx")
        models.add(name, folder / f"{name}.onnx", who="test")
    (folder / "moody.py").write_text(MOODY)
    (folder / "moody.json").write_text(json.dumps({"features": {"x": 1.5}}))
    models.add("moody", f"{folder / 'moody.py'}:Model", sample=folder / "moody.json", who="test")
    models.configure("kept", ModelConfig(cache=Caching(enabled=True)), who="test")
    models.configure("moody", ModelConfig(max_batch_rows=1, limits=Limits(adaptive="off")), who="test")
    server.start()
    return server


@pytest.fixture(scope="package")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    """One that traces every request."""
    with Collector() as collector, hold_port() as held:
        server = start(tmp_path_factory.mktemp("traced"), collector, 1.0, held.getsockname()[1])
        try:
            yield Traced(server, collector)
        finally:
            server.stop()


@pytest.fixture(scope="package")
def client(traced: Traced) -> Iterator[httpx.Client]:
    """An HTTP client of it."""
    with traced.client() as found:
        yield found
