"""The result cache as callers see it: a real server, every protocol, the record and the numbers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton

from kaname.predictions.reader import Query
from kaname.predictions.types import Prediction
from tests.processes import until
from tests.serving.grpc.conftest import hold_port
from tests.serving.oip.conftest import Served, iris_model

DICE = """
import random
import numpy as np

class Dice:
    deterministic = False
    signature = {
        "inputs": [{"name": "sides", "datatype": "INT64", "shape": [-1, 1]}],
        "outputs": [{"name": "eyes", "datatype": "FP64", "shape": [-1]}],
    }

    def predict(self, batch):
        return np.array([random.random() for _ in batch["sides"]])

    def stream(self, batch):
        yield self.predict(batch)
"""


class Cached(Served):
    """A server whose models keep answers."""

    def __init__(self, folder: Path, port: int) -> None:
        super().__init__(folder, port)
        iris_model(folder / "iris.onnx")
        (folder / "dice.py").write_text(DICE)
        for name, file in (("iris", "iris.onnx"), ("dice", "dice.py")):
            self.stores.models.add(name, folder / file, who="test")
            self.stores.models.override(name, {"cache.enabled": True}, who="test")
        self.start()
        self.client = httpx.Client(base_url=f"http://{self.address}", headers=self.key("admin", "admin"))

    def ask(self, row: list[float], model: str = "iris") -> httpx.Response:
        answer = self.client.post(f"/api/v1/models/{model}/predict", json={"instances": [row]})
        assert answer.status_code == 200, answer.text
        return answer

    def metric(self, result: str, model: str = "iris") -> float:
        """How many requests the cache answered so, of the first version."""
        wanted = f'kaname_cache_requests_total{{model="{model}",result="{result}",version="1"}}'
        lines = self.client.get("/metrics").text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(wanted))

    def recorded(self, request_ids: list[str]) -> list[Prediction]:
        """These requests as recorded, in this order."""

        def found() -> list[Prediction]:
            events = {event.request_id: event for event in self.stores.predictions.tail(Query(model="iris"), last=50)}
            return [events[name] for name in request_ids] if events.keys() >= set(request_ids) else []

        return until(found, "the requests are recorded")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cached]:
    with hold_port() as held:
        server = Cached(tmp_path_factory.mktemp("cache"), held.getsockname()[1])
        try:
            yield server
        finally:
            server.client.close()
            server.stop()


def is_hit(answer: httpx.Response) -> bool:
    return bool(answer.headers.get("cache-status") == "kaname; hit")


def test_a_row_asked_through_one_protocol_is_kept_for_all_of_them(served: Cached) -> None:
    """JSON, the Open Inference Protocol as JSON, in binary and over gRPC, TensorFlow Serving's: one run, one answer."""
    row = [5.25, 3.5, 1.5, 0.25]
    first = served.ask(row)
    assert not is_hit(first)
    data = np.array([row], np.float32)
    head: dict[str, Any] = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": row}]}
    answers = [served.client.post("/v2/models/iris/infer", json=head)]
    head["inputs"][0] = {"name": "x", "shape": [1, 4], "datatype": "FP32", "parameters": {"binary_data_size": 16}}
    head["outputs"] = [{"name": "probabilities", "parameters": {"binary_data": True}}]
    text = json.dumps(head).encode()
    size = {"inference-header-content-length": str(len(text))}
    answers.append(served.client.post("/v2/models/iris/infer", content=text + data.tobytes(), headers=size))
    answers.append(served.client.post("/v1/models/iris:predict", json={"instances": [row]}))
    answers.append(served.ask(row))
    assert [(answer.status_code, is_hit(answer)) for answer in answers] == [(200, True)] * 4
    outputs = {output["name"]: output["data"] for output in answers[0].json()["outputs"]}
    probabilities = np.array(outputs["probabilities"], np.float32)
    assert answers[1].content.endswith(probabilities.tobytes())
    with triton.InferenceServerClient(f"127.0.0.1:{served.grpc_port}") as client:
        one = triton.InferInput("x", [1, 4], "FP32")
        one.set_data_from_numpy(data)
        who = {"authorization": served.client.headers["authorization"]}
        found = client.infer("iris", [one], headers=who)
        assert found.as_numpy("probabilities").tobytes() == probabilities.tobytes()
        statistics = client.get_inference_statistics("iris", headers=who).model_stats[0]
    assert (served.metric("hit"), served.metric("miss")) == (5, 1)
    assert (statistics.inference_stats.cache_hit.count, statistics.inference_stats.cache_miss.count) == (5, 1)
    assert statistics.execution_count == 1


def test_hits_are_recorded_as_requests_of_their_own_that_were_not_computed(served: Cached) -> None:
    """Each has its inputs as they were asked, its outputs, and says that it was cached."""
    ids = [served.ask([1.1, 2.2, 3.3, 4.4]).headers["x-request-id"] for _ in range(3)]
    events = served.recorded(ids)
    assert [event.cached for event in events] == [False, True, True]
    assert events[0].outputs == events[2].outputs
    assert [event.inputs for event in events] == [{f"x[{i}]": [(11 + 11 * i) / 10] for i in range(4)}] * 3


def test_another_version_answers_by_itself_after_a_promotion(served: Cached) -> None:
    """What the old version said is never given as the new one's answer; after a rollback it is there again."""
    row = [9.0, 8.0, 7.0, 6.0]
    served.ask(row)
    models = served.stores.models
    models.add("iris", served.stores.project.root / "iris.onnx", who="test", version="two")
    models.promote("iris", "two", who="test")
    assert served.plane.settled(models.seq(), 30) == []
    new = served.ask(row)
    assert (new.json()["version"], is_hit(new)) == ("two", False)
    models.rollback("iris", who="test")
    assert served.plane.settled(models.seq(), 30) == []
    old = served.ask(row)
    assert (old.json()["version"], is_hit(old)) == ("1", True)


def test_a_model_that_says_that_it_is_not_deterministic_is_asked_each_time(served: Cached) -> None:
    """Though its owner switched the cache on; its streams are no answers to keep, either."""
    eyes = {served.ask([6], "dice").json()["predictions"][0]["prediction"] for _ in range(5)}
    assert len(eyes) == 5
    pieces = [served.client.post("/api/v1/models/dice/predict/events", json={"features": [6]}).text for _ in range(2)]
    assert pieces[0] != pieces[1]
    assert served.metric("miss", "dice") == 0


def test_switching_the_cache_off_lets_go_of_what_was_kept(served: Cached) -> None:
    """The next request is computed, and nothing says hit any more."""
    models, row = served.stores.models, [0.5, 0.5, 0.5, 0.5]
    served.ask(row)
    assert is_hit(served.ask(row))
    for enabled in (False, True):
        models.override("iris", {"cache.enabled": enabled}, who="test")
        assert served.plane.settled(models.seq(), 30) == []
        assert not is_hit(served.ask(row))
