"""A real server with a gRPC port and real models."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.serving.oip.conftest import Served, iris_model, sums_model, words_model


def hold_port() -> socket.socket:
    """A socket that keeps a free port for servers that share it; close it to give the port back."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    held.bind(("127.0.0.1", 0))
    return held


@pytest.fixture(scope="package")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A running server with the models iris, words and sums, over HTTP and gRPC."""
    folder = tmp_path_factory.mktemp("grpc")
    with hold_port() as held:
        server = Served(folder, held.getsockname()[1])
        for name, make in (("iris", iris_model), ("words", words_model), ("sums", sums_model)):
            make(folder / f"{name}.onnx")
            server.stores.models.add(name, folder / f"{name}.onnx", who="test")
        server.start()
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="package")
def target(served: Served) -> str:
    """Where it answers gRPC."""
    return f"127.0.0.1:{served.grpc_port}"


@pytest.fixture(scope="package")
def admin(served: Served) -> dict[str, str]:
    """Metadata of a key that may do everything."""
    return {"authorization": served.key("admin", "admin")["Authorization"]}
