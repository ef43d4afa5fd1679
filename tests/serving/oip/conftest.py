"""A real server with real models, for clients that know nothing but its address."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from kaname.data_plane import DataPlane
from kaname.project import load_valid
from kaname.serving.workers.listening import HttpServer
from kaname.stores import Stores

START_S = 60.0


class Served:
    """A project's data plane behind a socket, on a thread of its own."""

    def __init__(self, folder: Path, grpc_port: int = 0, settings: str = "") -> None:
        """`settings`: more lines of `kaname.yaml`."""
        self.grpc_port = grpc_port
        (folder / "kaname.yaml").write_text(f"name: oip\ninference: {{max_rows: 2000}}\n{settings}")
        self.stores = Stores(load_valid(folder, os.environ))
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.socket.getsockname()[1]}"
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def key(self, name: str, *scopes: str) -> dict[str, str]:
        """Headers of a new key with these scopes, which the server knows when this returns."""
        _, secret = self.stores.keys.create(name, scopes, who="test")
        assert self.plane.settled(self.stores.models.seq(), START_S) == []
        return {"Authorization": f"Bearer {secret}"}

    def start(self) -> None:
        self._thread.start()
        assert self._started.wait(START_S)
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._leave.set)
        self._thread.join(START_S)
        self.socket.close()
        self.stores.close()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001  (raised again in the thread that started it)
            self._failure = error
            self._started.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._leave = asyncio.Event()
        plane = self.plane = DataPlane(self.stores, grpc_port=self.grpc_port)
        await plane.start()
        server = HttpServer(plane, {0: self.socket}, 128)
        await server.accept_from({0})
        self._started.set()
        await self._leave.wait()
        await server.leave(5.0)
        await plane.stop()


def words_model(path: Path) -> None:
    """Two texts in, the same two out."""
    text = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Identity", ["words"], ["echo"])],
        "words",
        [text("words", TensorProto.STRING, [None, 2])],
        [text("echo", TensorProto.STRING, [None, 2])],
    )
    _save(graph, path)


def sums_model(path: Path) -> None:
    """Two integer matrices in; their sum and their difference as FP16 out."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("Add", ["a", "b"], ["sum"]),
            helper.make_node("Sub", ["a", "b"], ["rest"]),
            helper.make_node("Cast", ["rest"], ["half"], to=TensorProto.FLOAT16),
        ],
        "sums",
        [value("a", TensorProto.INT32, [None, 16]), value("b", TensorProto.INT32, [None, 16])],
        [value("sum", TensorProto.INT32, [None, 16]), value("half", TensorProto.FLOAT16, [None, 16])],
    )
    _save(graph, path)


def iris_model(path: Path) -> None:
    """A linear classifier of four numbers into three classes."""
    value = helper.make_tensor_value_info
    weights = np.array([[1, 0, -1], [0.5, 0, -0.5], [-1, 0, 1], [-1, 0, 1]], dtype=np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["scores"]),
            helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
            helper.make_node("ArgMax", ["probabilities"], ["label"], axis=1, keepdims=0),
        ],
        "iris",
        [value("x", TensorProto.FLOAT, [None, 4])],
        [value("label", TensorProto.INT64, [None]), value("probabilities", TensorProto.FLOAT, [None, 3])],
        [numpy_helper.from_array(weights, "w")],
    )
    _save(graph, path)


def _save(graph: onnx.GraphProto, path: Path) -> None:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


@pytest.fixture(scope="package")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A running server with the models iris, words and sums."""
    folder = tmp_path_factory.mktemp("oip")
    server = Served(folder)
    for name, make in (("iris", iris_model), ("words", words_model), ("sums", sums_model)):
        make(folder / f"{name}.onnx")
        server.stores.models.add(name, folder / f"{name}.onnx", who="test")
    server.start()
    try:
        yield server
    finally:
        server.stop()
