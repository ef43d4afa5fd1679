"""Clients of a soak that predict: over every protocol, politely, rudely and wrongly; each does one thing at a time."""

from __future__ import annotations

import json
import queue
import socket
import time
from random import Random
from typing import Any

import httpx
import numpy as np
import tritonclient.grpc as triton
from numpy.typing import NDArray

from benchmarks.density_models import FEATURES, name_of
from benchmarks.request import Request, infer_binary, infer_json
from benchmarks.soak_tally import Counted, Wrong
from benchmarks.soak_world import ROW, TIMEOUT_S, World
from kaname.client import Client
from kaname.errors import InvalidInput

EXPONENT = 1.1
"""Of Zipf's law: how much more some models are asked than others."""
STREAM_ROWS, BAD_EVERY = 60, 7
TENSOR = "X"


class Activity:
    """What one client does again and again."""

    name = ""
    pause_s = 0.01
    """Between two times, on average."""

    def __init__(self, world: World, rng: Random, counted: Counted) -> None:
        self.world = world
        self.rng = rng
        self.counted = counted
        self.http = world.client()
        shares = 1 / np.arange(1, world.models + 1) ** EXPONENT
        self._shares = np.cumsum(shares / shares.sum())

    def once(self) -> None:
        """Do it. Raises Wrong, or whatever a client raises, when the server is at fault."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of connections."""
        self.http.close()

    def model(self) -> str:
        """One that is asked often, or seldom."""
        return name_of(int(np.searchsorted(self._shares, self.rng.random())))

    def rows(self) -> int:
        """Rows of a request."""
        return self.rng.choice((1, 1, 1, 2, 8, 64))

    def same(self, model: str, found: NDArray[np.floating[Any]]) -> None:
        """Every row was the same, so is every answer, and the same as ever."""
        for row in found.reshape(-1, 4):
            if complaint := self.world.check(model, row.tolist()):
                raise Wrong(complaint)

    def must(self, answer: httpx.Response, *statuses: int) -> httpx.Response:
        """Raises Wrong for another status than these."""
        if answer.status_code not in statuses:
            raise Wrong(f"{answer.request.url.path} answered {answer.status_code}: {answer.text[:300]}")
        return answer


class Api(Activity):
    """JSON over `/api/v1`."""

    name = "/api/v1, JSON"

    def once(self) -> None:
        model, rows = self.model(), self.rows()
        answer = self.http.post(f"/api/v1/models/{model}/predict", json={"instances": [ROW] * rows})
        found = np.array([each["prediction"] for each in self.must(answer, 200).json()["predictions"]])
        if len(found) != rows:
            raise Wrong(f"{len(found)} predictions for {rows} rows")
        self.same(model, found)


class Oip(Activity):
    """JSON over `/v2`."""

    name = "/v2, JSON"

    def once(self) -> None:
        model = self.model()
        answer = self._sent(infer_json(f"/v2/models/{model}/infer", TENSOR, _rows(self.rows())))
        self.same(model, np.array(answer.json()["outputs"][0]["data"]))

    def _sent(self, request: Request) -> httpx.Response:
        answer = self.http.post(request.path, content=request.body, headers=dict(request.headers))
        return self.must(answer, 200)


class Binary(Oip):
    """Binary tensors over `/v2`."""

    name = "/v2, binary"

    def once(self) -> None:
        model = self.model()
        answer = self._sent(infer_binary(f"/v2/models/{model}/infer", TENSOR, _rows(self.rows()), binary_answer=True))
        head = int(answer.headers["inference-header-content-length"])
        self.same(model, np.frombuffer(answer.content[head:], np.float32))


class Grpc(Activity):
    """ModelInfer over gRPC."""

    name = "gRPC"

    def __init__(self, world: World, rng: Random, counted: Counted) -> None:
        super().__init__(world, rng, counted)
        self._client = triton.InferenceServerClient(f"127.0.0.1:{world.grpc_port}")
        self._headers = {"authorization": f"Bearer {world.key}"}

    def once(self) -> None:
        model = self.model()
        given = [_tensor(self.rows())]
        answer = self._client.infer(model, given, headers=self._headers, client_timeout=TIMEOUT_S)
        self.same(model, answer.as_numpy("probabilities"))

    def close(self) -> None:
        self._client.close()
        super().close()


class GrpcStream(Grpc):
    """Twenty requests over one ModelStreamInfer."""

    name = "gRPC stream"
    pause_s = 0.3

    def once(self) -> None:
        model, answers = self.model(), queue.SimpleQueue[Any]()
        self._client.start_stream(lambda result, error: answers.put((result, error)), headers=self._headers)
        try:
            for _ in range(20):
                self._client.async_stream_infer(model, [_tensor(1)])
            for _ in range(20):
                result, error = answers.get(timeout=TIMEOUT_S)
                if error is not None:
                    raise Wrong(str(error))
                self.same(model, result.as_numpy("probabilities"))
        finally:
            self._client.stop_stream()


class Lines(Activity):
    """Rows over one NDJSON stream, some of them bad; each has its answer, in order."""

    name = "stream"
    pause_s = 0.2

    def __init__(self, world: World, rng: Random, counted: Counted) -> None:
        super().__init__(world, rng, counted)
        self._client = Client(world.url, world.key)

    def once(self) -> None:
        model = self.model()
        rows = [ROW if at % BAD_EVERY else ROW[1:] for at in range(STREAM_ROWS)]
        for at, answer in enumerate(self._client.stream(model, rows)):
            if at % BAD_EVERY:
                if isinstance(answer, Exception):
                    raise Wrong(f"line {at}: {answer}")
                self.same(model, np.array(answer.prediction))
            elif not isinstance(answer, InvalidInput):
                raise Wrong(f"line {at} was bad and was answered {answer}")
            else:
                self.counted.refused += 1

    def close(self) -> None:
        self._client.close()
        super().close()


class Leaving(Activity):
    """Goes away: in the middle of the head, of the body, of a stream, or before the answer."""

    name = "clients that leave"
    pause_s = 0.02

    def once(self) -> None:
        path = f"/api/v1/models/{self.model()}/predict"
        body = json.dumps({"instances": [ROW] * self.rng.choice((1, 200))}).encode()
        if self.rng.random() < 0.25:
            path, body = path + "/stream", json.dumps({"features": ROW}).encode() + b"\n"
        head = (
            f"POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {self.world.key}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        whole = head.encode() + body
        with socket.create_connection(("127.0.0.1", self.world.server.port), timeout=TIMEOUT_S) as connection:
            connection.sendall(whole[: self.rng.choice((len(head) // 2, len(head) + len(body) // 2, len(whole)))])
            if self.rng.random() < 0.3:
                time.sleep(self.rng.random() / 200)
        self.counted.left += 1


class Mistaken(Activity):
    """Asks what cannot be answered; each time the answer says so, and is no fault of the server."""

    name = "bad requests"
    pause_s = 0.02

    def once(self) -> None:
        model = self.model()
        path, body, headers, statuses = self.rng.choice(_mistakes(model))
        answer = self.http.post(path, content=body, headers={"content-type": "application/json", **headers})
        self.must(answer, *statuses)
        self.counted.refused += 1


def _mistakes(model: str) -> list[tuple[str, bytes, dict[str, str], tuple[int, ...]]]:
    predict, infer = f"/api/v1/models/{model}/predict", f"/v2/models/{model}/infer"
    odd = {"name": TENSOR, "shape": [1, FEATURES], "datatype": "FP32", "data": [1.0]}
    return [
        (predict, b"", {}, (400,)),
        (predict, b"{", {}, (400,)),
        (predict, b'{"features": null}', {}, (400,)),
        (predict, b'{"features": [1, 2]}', {}, (400,)),
        (predict, json.dumps({"instances": [ROW, ["a"] * FEATURES]}).encode(), {}, (400,)),
        (predict, b"[" * 5000, {}, (400,)),
        (predict, json.dumps({"features": ROW}).encode(), {"authorization": "Bearer no"}, (401,)),
        (predict, json.dumps({"features": ROW}).encode(), {"content-type": "text/html"}, (400, 415)),
        ("/api/v1/models/nobody/predict", json.dumps({"features": ROW}).encode(), {}, (404,)),
        (f"/api/v1/models/{model}/versions/99/predict", json.dumps({"features": ROW}).encode(), {}, (404,)),
        (infer, json.dumps({"inputs": [odd]}).encode(), {}, (400,)),
        (infer, b'{"inputs": []}', {}, (400,)),
        (infer, b"\x00" * 64, {"inference-header-content-length": "9"}, (400,)),
        (infer, b"{}", {"inference-header-content-length": "999999"}, (400,)),
    ]


def _rows(count: int) -> NDArray[np.float32]:
    return np.full((count, FEATURES), ROW[0], np.float32)


def _tensor(rows: int) -> Any:
    given = triton.InferInput(TENSOR, [rows, FEATURES], "FP32")
    given.set_data_from_numpy(_rows(rows))
    return given


CLIENTS: tuple[type[Activity], ...] = (Api, Oip, Binary, Grpc, GrpcStream, Lines, Leaving, Mistaken)
