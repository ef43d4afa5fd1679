"""A server that speaks the Open Inference Protocol as a test wants it: well, slowly, wrongly or not at all."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, ClassVar, Self

import msgspec
import numpy as np

from kaname.signature import OutputSpec, Signature
from kaname.tensors import NUMPY_OF, TensorSpec

SIGNATURE = Signature(
    task="other",
    inputs=(TensorSpec(name="x", datatype="FP32", shape=(-1, 2)),),
    outputs=(OutputSpec(name="y", datatype="FP32", shape=(-1, 2)),),
)
LENGTH = "inference-header-content-length"
Step = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """One connection; `peer` is the server's own."""

    peer: ClassVar[Peer]
    protocol_version = "HTTP/1.1"
    timeout: ClassVar[float] = 20
    disable_nagle_algorithm: ClassVar[bool] = True
    body: bytes = b""

    def do_GET(self) -> None:
        """Readiness, and what the server and its model are."""
        self.peer.seen(self)
        if self.path.endswith("/ready"):
            self.say(200 if self.peer.ready else 503, {"ready": self.peer.ready})
        elif self.path == "/v2":
            self.say(200, {"name": "peer", "extensions": self.peer.extensions})
        else:
            self.say(200, self.peer.metadata)

    def do_POST(self) -> None:
        """An inference: as `peer.step` has it."""
        self.body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.peer.seen(self)
        self.peer.step(self)

    def say(self, status: int, value: object, headers: dict[str, str] | None = None) -> None:
        """A whole answer."""
        body = value if isinstance(value, bytes) else msgspec.json.encode(value)
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        for name, text in (headers or {}).items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A client that left is no news."""


class Peer:
    """Counts what is asked; `inferences` are the attempts at an inference, in order, with their headers, and
    `bodies` what came with them."""

    def __init__(self, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.ready = True
        self.extensions = ["binary_tensor_data"]
        self.metadata: Any = {
            "name": "m",
            "ready": True,
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
            "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}],
        }
        self.step: Step = double
        self.inferences: list[dict[str, str]] = []
        self.bodies: list[bytes] = []
        self.ports: set[int] = set()
        self._lock = threading.Lock()
        handler = type("PeerHandler", (Handler,), {"peer": self})
        self._server = _Server(("127.0.0.1", port), handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def seen(self, handler: Handler) -> None:
        """Remember a request."""
        with self._lock:
            if handler.command == "POST":
                self.ports.add(handler.client_address[1])
                self.bodies.append(handler.body)
                self.inferences.append({name.lower(): value for name, value in handler.headers.items()})

    def close(self) -> None:
        """Refuse connections from now on."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def double(handler: Handler) -> None:
    """Twice the numbers, in the form in which they were asked for."""
    length = int(handler.headers.get(LENGTH, len(handler.body)))
    asked = msgspec.json.decode(handler.body[:length])
    one = asked["inputs"][0]
    raw, dtype = handler.body[length:], NUMPY_OF["FP32"]
    given = np.frombuffer(raw, dtype) if raw else np.array(one["data"], dtype)
    twice = given * np.float32(2)
    output = {"name": "y", "datatype": "FP32", "shape": one["shape"]}
    if asked["outputs"][0].get("parameters", {}).get("binary_data"):
        output["parameters"] = {"binary_data_size": twice.nbytes}
        head = msgspec.json.encode({"model_name": "m", "outputs": [output]})
        handler.say(200, head + twice.tobytes(), {LENGTH: str(len(head))})
    else:
        handler.say(200, {"model_name": "m", "outputs": [{**output, "data": twice.tolist()}]})


def says(status: int, value: object, headers: dict[str, str] | None = None) -> Step:
    """The same answer to everything."""
    return lambda handler: handler.say(status, value, headers)


def hang_up(handler: Handler) -> None:
    """Close the connection without a byte of an answer."""
    handler.close_connection = True


class Gate:
    """Answers when it is opened."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.inside = 0
        self._lock = threading.Lock()

    def __call__(self, handler: Handler) -> None:
        """Wait, then answer."""
        with self._lock:
            self.inside += 1
        self.open.wait(20)
        double(handler)
