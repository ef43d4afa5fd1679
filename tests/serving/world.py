"""A real data plane behind two doors: this server's own protocol class, and uvicorn's with the ASGI application.

The clock stands still and every request has the same id, so that both doors can be compared byte by byte.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import msgspec
import numpy as np
import uvicorn
import uvloop
from onnx import TensorProto, helper
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from kaname.clock import ManualClock
from kaname.data_plane import DataPlane
from kaname.models.importing.process import reprofile
from kaname.models.importing.types import Imported, ImportRequest
from kaname.models.registry import Models
from kaname.models.types import RuntimeChoice
from kaname.project import load_valid
from kaname.runtimes.python import MANIFEST, PythonManifest
from kaname.runtimes.types import Profile
from kaname.serving.certificates import Certificates
from kaname.settings import TlsSettings
from kaname.signature import Feature, OutputSpec, Signature
from kaname.stores import Stores
from kaname.tensors import TensorSpec
from tests.certificates import LOOPBACK, Authority
from tests.runtimes.graphs import graph

START_S = 60.0
REQUEST_ID = "the-same-id"
PROFILE = Profile(rows=(1, 8), us=(10.0, 20.0), best_rows=8, exact=True, splits=True)
SETTINGS = """
name: doors
inference: {max_rows: 50}
server:
  {max_body_bytes: 20000, max_header_bytes: 8192, max_headers: 40, allowed_origins: ["https://shop.example"]}
"""

FLOWERS = Signature(
    task="classification",
    inputs=(TensorSpec(name="x", datatype="FP32", shape=(-1, 4)),),
    outputs=(
        OutputSpec(name="label", datatype="INT64", shape=(-1,), role="label"),
        OutputSpec(name="probabilities", datatype="FP32", shape=(-1, 3), role="probabilities"),
    ),
    features=(
        Feature(name="length", datatype="FP32"),
        Feature(name="width", datatype="FP32", nullable=True),
        Feature(name="petals", datatype="FP32"),
        Feature(name="colour", datatype="FP32", categories=("red", "blue")),
    ),
    labels=("a", "b", "c"),
)
PAIR = Signature(
    task="other",
    inputs=(
        TensorSpec(name="a", datatype="INT32", shape=(-1, 2)),
        TensorSpec(name="b", datatype="INT32", shape=(-1, 2)),
    ),
    outputs=(OutputSpec(name="sum", datatype="INT32", shape=(-1, 2)),),
)
WORDS = Signature(
    task="other",
    inputs=(TensorSpec(name="words", datatype="BYTES", shape=(-1, 2)),),
    outputs=(OutputSpec(name="echo", datatype="BYTES", shape=(-1, 2)),),
)

HOUSE = Signature(
    task="regression",
    inputs=(
        TensorSpec(name="area", datatype="FP32", shape=(-1, 1)),
        TensorSpec(name="rooms", datatype="INT64", shape=(-1, 1)),
    ),
    outputs=(OutputSpec(name="price", datatype="FP32", shape=(-1, 1), role="value"),),
    features=(Feature(name="area", datatype="FP32"), Feature(name="rooms", datatype="INT64")),
)
SCAN = Signature(
    task="other",
    inputs=(TensorSpec(name="image", datatype="BYTES", shape=(-1,)),),
    outputs=(OutputSpec(name="echo_bytes", datatype="BYTES", shape=(-1,)),),
)

TELLER = Signature(
    task="other",
    inputs=(TensorSpec(name="count", datatype="INT64", shape=(-1, 1)),),
    outputs=(OutputSpec(name="text", datatype="BYTES", shape=(-1,)),),
    features=(Feature(name="count", datatype="INT64"),),
)
TELLER_CODE = """
import threading, time
import numpy as np

class Model:
    def predict(self, batch):
        return np.array([b"whole"] * len(batch["count"]), dtype=object)

    def stream(self, batch):
        count = int(batch["count"][0, 0])  # below 0: that many pieces, then a fault; from 1000: without end, slowly
        try:
            for number in range(1, abs(count) + 1):
                yield np.array([f"piece {number}"] * len(batch["count"]), dtype=object)
                if count >= 1000:
                    time.sleep(0.002)
            if count < 0:
                raise RuntimeError("out of words")
            if count == 0:
                yield np.array(["one", "too", "many"], dtype=object)
        finally:
            threading.current_thread().closed = True
"""


def flowers(path: Path) -> Path:
    """A linear classifier in which NaN counts as 0."""
    weights = np.array([[1, 0, -1], [0.5, 0, -0.5], [-1, 0, 1], [-1, 0, 1]], np.float32)
    return graph(
        path,
        [
            helper.make_node("IsNaN", ["x"], ["missing"]),
            helper.make_node("Where", ["missing", "zero", "x"], ["known"]),
            helper.make_node("MatMul", ["known", "w"], ["scores"]),
            helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
            helper.make_node("ArgMax", ["probabilities"], ["label"], axis=1, keepdims=0),
        ],
        outputs=[("label", TensorProto.INT64, ["n"]), ("probabilities", TensorProto.FLOAT, ["n", 3])],
        weights={"w": weights, "zero": np.zeros((), np.float32)},
    )


def pair(path: Path) -> Path:
    """The sum of two integer matrices."""
    spec = TensorProto.INT32, ["n", 2]
    return graph(
        path,
        [helper.make_node("Add", ["a", "b"], ["sum"])],
        inputs=[("a", *spec), ("b", *spec)],
        outputs=[("sum", *spec)],
    )


def words(path: Path) -> Path:
    """Two texts in, the same out."""
    spec = TensorProto.STRING, ["n", 2]
    return graph(
        path,
        [helper.make_node("Identity", ["words"], ["echo"])],
        inputs=[("words", *spec)],
        outputs=[("echo", *spec)],
    )


def house(path: Path) -> Path:
    """The area times the rooms."""
    area, rooms = (TensorProto.FLOAT, ["n", 1]), (TensorProto.INT64, ["n", 1])
    return graph(
        path,
        [
            helper.make_node("Cast", ["rooms"], ["factor"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["area", "factor"], ["price"]),
        ],
        inputs=[("area", *area), ("rooms", *rooms)],
        outputs=[("price", *area)],
    )


def scan(path: Path) -> Path:
    """One sequence of bytes in, the same out."""
    spec = TensorProto.STRING, ["n"]
    return graph(
        path,
        [helper.make_node("Identity", ["image"], ["echo_bytes"])],
        inputs=[("image", *spec)],
        outputs=[("echo_bytes", *spec)],
    )


def teller(path: Path) -> Path:
    """A Python model that yields."""
    path.with_name("model.py").write_text(TELLER_CODE)
    path.with_name(MANIFEST).write_bytes(msgspec.json.encode(PythonManifest(class_name="Model")))
    return path.with_name("model.py")


MADE: dict[str, tuple[Callable[[Path], Path], Signature]] = {
    "flowers": (flowers, FLOWERS),
    "pair": (pair, PAIR),
    "words": (words, WORDS),
    "house": (house, HOUSE),
    "scan": (scan, SCAN),
    "teller": (teller, TELLER),
}


def import_made(request: ImportRequest, workdir: Path) -> Imported:
    """The importer of these models: their signatures are known."""
    make, signature = MADE[request.name]
    folder = Path(tempfile.mkdtemp(dir=workdir))
    file = make(folder / "model.onnx").name
    runtime = "python" if file == "model.py" else "onnx"
    return Imported(
        files=folder,
        source=runtime,
        runtime=runtime,
        signature=signature,
        profile=PROFILE,
        choices=(RuntimeChoice(runtime=runtime, file=file, chosen=True),),
        sample=None,
        notes=(),
    )


class World:
    """One project, one data plane on a thread of its own, and two listening doors."""

    def __init__(self, folder: Path, grpc_port: int = 0) -> None:
        """`grpc_port`: where it listens for gRPC, too; 0: nowhere."""
        (folder / "kaname.yaml").write_text(SETTINGS)
        self.clock = ManualClock()
        self.stores = Stores(load_valid(folder, os.environ), self.clock)
        stores = self.stores
        models = Models(
            stores.database, stores.artefacts, self.clock, import_made, folder / ".kaname" / "work", reprofile
        )
        for name in MADE:
            models.add(name, folder / "kaname.yaml", who="test")
        models.add("flowers", folder / "kaname.yaml", who="test", version="next")
        models.tag("flowers", "next", add=["canary"], who="test")
        models.set_loaded("words", False, who="test")
        models.set_loaded("words", True, who="test")
        self.key = stores.keys.create("all", ("admin",), who="test")[1]
        self.reader = stores.keys.create("reader", ("read",), who="test")[1]
        self.poor = stores.keys.create("poor", ("predict:flowers",), who="test", rate_rows_per_s=0.001, burst_rows=2)[1]
        self.plane = DataPlane(stores, grpc_port=grpc_port)
        self.plane._ids = lambda: REQUEST_ID
        self.plane.gate.fallback._ids = lambda: REQUEST_ID  # type: ignore[attr-defined]  # a ProblemEndpoint
        self.addresses: dict[str, tuple[str, int]] = {}
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(START_S)
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._leave.set)
        self._thread.join(START_S)
        self.stores.close()

    def on_loop(self, look: Callable[[], Any]) -> Any:
        """What `look` returns on the data plane's thread."""

        async def looked() -> Any:
            return look()

        return asyncio.run_coroutine_threadsafe(looked(), self._loop).result(START_S)

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._serve())
        except BaseException as error:  # noqa: BLE001  (raised again in the thread that started it)
            self._failure = error
            self._ready.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._leave = asyncio.Event()
        await self.plane.start()
        authority = Authority(self.stores.project.data)
        certificate, key = authority.issue("server", *LOOPBACK)
        self.trust = authority.trusting()
        pair = Certificates(TlsSettings(certificate=str(certificate), key=str(key)), self.stores.project.root)
        servers = [
            await self._listen("own", self.plane.http_protocol),
            await self._listen("tls", self.plane.http_protocol, pair.context),
            await self._listen("asgi", HttpToolsProtocol),
        ]
        self._ready.set()
        await self._leave.wait()
        for server in servers:
            server.close()
        await self.plane.drain(5.0)
        for connection in list(self.states):
            for one in list(connection.connections):
                one.shutdown()
        await asyncio.sleep(0)
        await self.plane.stop()

    async def _listen(
        self, name: str, protocol: type[asyncio.Protocol], tls: ssl.SSLContext | None = None
    ) -> asyncio.Server:
        config = uvicorn.Config(
            self.plane.app,
            interface="asgi3",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
        )
        config.load()
        state = ServerState()
        state.default_headers = config.encoded_headers
        self.states = [*getattr(self, "states", []), state]
        make: Callable[..., asyncio.Protocol] = protocol
        server = await self._loop.create_server(
            lambda: make(config=config, server_state=state, app_state={}), "127.0.0.1", 0, ssl=tls
        )
        self.addresses[name] = server.sockets[0].getsockname()
        return server


class Client:
    """One raw connection."""

    def __init__(self, address: tuple[str, int], timeout_s: float = 10.0, tls: ssl.SSLContext | None = None) -> None:
        self.socket = socket.create_connection(address, timeout=timeout_s)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")
        self._read = b""

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self, *, head_only: bool = False) -> Response:
        """The next answer on the connection, interim ones left out. Raises EOFError when there is none."""
        while True:
            found = Response.take(self._read, head_only=head_only)
            if found is not None:
                response, self._read = found
                if response.status >= 200:
                    return response
                continue
            more = self.socket.recv(65536)
            if not more:
                raise EOFError(self._read)
            self._read += more

    def ended(self) -> bool:
        """Whether the server closes the connection without another byte."""
        try:
            return not self._read and self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Response:
    """One answer, as sent."""

    def __init__(self, raw: bytes, status: int, headers: dict[bytes, bytes], body: bytes) -> None:
        self.raw = raw
        self.status = status
        self.headers = headers
        self.body = body

    @classmethod
    def take(cls, data: bytes, *, head_only: bool = False) -> tuple[Response, bytes] | None:
        """The first answer in `data` and the rest, None when it is not whole yet."""
        head, found, rest = data.partition(b"\r\n\r\n")
        if not found:
            return None
        lines = head.split(b"\r\n")
        status = int(lines[0].split(b" ")[1])
        pairs = [line.split(b": ", 1) for line in lines[1:]]
        headers = {name.lower(): value for name, value in pairs}
        assert len(headers) == len(pairs), f"a header twice: {head!r}"
        if head_only or status < 200 or status in (204, 304):
            return cls(head + found, status, headers, b""), rest
        if headers.get(b"transfer-encoding") == b"chunked":
            return cls._chunked(head + found, status, headers, rest)
        size = int(headers[b"content-length"])
        if len(rest) < size:
            return None
        return cls(head + found + rest[:size], status, headers, rest[:size]), rest[size:]

    @classmethod
    def _chunked(
        cls, head: bytes, status: int, headers: dict[bytes, bytes], rest: bytes
    ) -> tuple[Response, bytes] | None:
        body, at = b"", 0
        while True:
            end = rest.find(b"\r\n", at)
            if end < 0:
                return None
            size = int(rest[at:end], 16)
            if len(rest) < end + 4 + size:
                return None
            body += rest[end + 2 : end + 2 + size]
            at = end + 4 + size
            if not size:
                return cls(head + rest[:at], status, headers, body), rest[at:]

    @property
    def closes(self) -> bool:
        return self.headers.get(b"connection") == b"close"
