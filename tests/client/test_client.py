"""The HTTP client against real sockets: typed answers, deadlines, and retries that stay within their budget."""

from __future__ import annotations

import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaname.client import Client, Model, Prediction, RetryBudget, Row
from kaname.errors import (
    DeadlineExceeded,
    Forbidden,
    InvalidInput,
    KanameError,
    NotFound,
    Overloaded,
    RateLimited,
    Unavailable,
)

ANSWER = {
    "prediction": "setosa",
    "confidence": 0.98,
    "probabilities": {"setosa": 0.98, "virginica": 0.02},
    "model": "iris",
    "version": "3",
    "request_id": "r-1",
    "latency_ms": 0.4,
}


class Asked(msgspec.Struct):
    """A request as the server saw it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    port: int


class Server:
    """A real HTTP server that plays a script: each entry answers one request, the last one all that follow."""

    def __init__(self) -> None:
        self.script: deque[Callable[[BaseHTTPRequestHandler], None]] = deque([reply(200, ANSWER)])
        self.asked: list[Asked] = []
        lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout: ClassVar[float] = 20
            disable_nagle_algorithm: ClassVar[bool] = True

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                with lock:
                    headers = {name.lower(): value for name, value in self.headers.items()}
                    outer.asked.append(Asked(self.command, self.path, headers, body, self.client_address[1]))
                    step = outer.script.popleft() if len(outer.script) > 1 else outer.script[0]
                step(self)

            do_GET = do_POST = handle_any  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def plays(self, *steps: Callable[[BaseHTTPRequestHandler], None]) -> None:
        self.script = deque(steps)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def reply(
    status: int, body: object, headers: Mapping[str, str] | None = None
) -> Callable[[BaseHTTPRequestHandler], None]:
    """A complete answer."""

    def step(handler: BaseHTTPRequestHandler) -> None:
        content = body if isinstance(body, bytes) else msgspec.json.encode(body)
        handler.send_response(status)
        handler.send_header("content-length", str(len(content)))
        for name, value in (headers or {}).items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(content)

    return step


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    """Close the connection without a byte."""
    handler.close_connection = True


def half(handler: BaseHTTPRequestHandler) -> None:
    """Close the connection in the middle of an answer."""
    handler.send_response(200)
    handler.send_header("content-length", "1000")
    handler.end_headers()
    handler.wfile.write(b"{")
    handler.close_connection = True


def problem(code: str, status: int, **more: object) -> Callable[[BaseHTTPRequestHandler], None]:
    """A problem document."""
    return reply(status, {"code": code, "detail": "it did not work", "status": status, **more})


@pytest.fixture
def server() -> Iterator[Server]:
    one = Server()
    yield one
    one.close()


class Naps:
    """Sleeps that take no time and are remembered."""

    def __init__(self) -> None:
        self.taken: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.taken.append(seconds)


class Half:
    """Randomness that always says one half."""

    def random(self) -> float:
        return 0.5


@pytest.fixture
def naps() -> Naps:
    return Naps()


@pytest.fixture
def client(server: Server, naps: Naps) -> Iterator[Client]:
    with Client(server.url, key="k-1", timeout_s=10, rng=Half(), sleep=naps) as one:
        yield one


def test_predict_one(server: Server, client: Client) -> None:
    """Features go out as JSON with the key and the time left; the answer comes back typed."""
    found = client.predict("iris", features={"sepal_length": 5.1})
    assert found == msgspec.convert(ANSWER, Prediction)
    (asked,) = server.asked
    assert (asked.method, asked.path) == ("POST", "/api/v1/models/iris/predict")
    assert msgspec.json.decode(asked.body) == {"features": {"sepal_length": 5.1}}
    assert asked.headers["authorization"] == "Bearer k-1"
    assert 9_000 < int(asked.headers["x-request-timeout-ms"]) <= 10_000


def test_predict_many_of_a_version(server: Server, client: Client) -> None:
    """Instances come back as rows in order; names are quoted; a deadline of its own is sent."""
    server.plays(reply(200, ANSWER | {"predictions": [{"prediction": 1.5}, {"prediction": "b", "confidence": 0.5}]}))
    found = client.predict("my model/x", instances=[{"a": 1}, {"a": 2}], version=7, deadline_ms=1500)
    assert found.predictions == (Row(prediction=1.5), Row(prediction="b", confidence=0.5))
    assert server.asked[0].path == "/api/v1/models/my%20model%2Fx/versions/7/predict"
    assert 1_000 < int(server.asked[0].headers["x-request-timeout-ms"]) <= 1_500


def test_features_or_instances(client: Client) -> None:
    """Neither or both is the caller's mistake and is not sent."""
    with pytest.raises(InvalidInput):
        client.predict("iris")
    with pytest.raises(InvalidInput):
        client.predict("iris", features={}, instances=[])


def test_an_entity_stands_for_features(server: Server, client: Client) -> None:
    """What is given goes with it; of several rows the keys of each."""
    client.predict("buys", entity={"user_id": "u1"}, features={"weight": 2})
    server.plays(reply(200, ANSWER | {"predictions": [{"prediction": 1}, {"prediction": 0}]}))
    client.predict("buys", entity={"shop": 1}, entities=[{"user_id": "u1"}, {"user_id": "u2"}])
    assert [msgspec.json.decode(asked.body) for asked in server.asked] == [
        {"entity": {"user_id": "u1"}, "features": {"weight": 2}},
        {"entity": {"shop": 1}, "entities": [{"user_id": "u1"}, {"user_id": "u2"}]},
    ]


def test_models_reads_all_pages(server: Server, client: Client) -> None:
    """`next` is followed to the end."""
    one, two = ({"id": i, "name": name, "promoted": "1", "etag": "x"} for i, name in ((1, "a"), (2, "b")))
    server.plays(reply(200, {"items": [one], "next": "a&"}), reply(200, {"items": [two], "next": None}))
    assert client.models() == [Model(id=1, name="a", promoted="1"), Model(id=2, name="b", promoted="1")]
    assert [asked.path for asked in server.asked] == ["/api/v1/models", "/api/v1/models?after=a%26"]


def test_any_resource_can_be_read(server: Server, client: Client) -> None:
    """As the server sends it; what it refuses raises the server's error."""
    server.plays(reply(200, b"kaname_rows_total 3"), problem("forbidden", 403))
    assert client.get("/metrics") == b"kaname_rows_total 3"
    with pytest.raises(Forbidden):
        client.get("/metrics")


def test_ready(server: Server, client: Client) -> None:
    """Ready is the server's own word; a server that is not there is not ready."""
    assert client.ready()
    server.plays(problem("unavailable", 503))
    assert not client.ready()
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert not Client(f"http://127.0.0.1:{port}").ready()


def test_errors_are_built_again(server: Server, client: Client) -> None:
    """The server's error class, place, found and expected arrive as they were."""
    server.plays(problem("not_found", 404, where="model", found="'irsi'", expected="iris"))
    with pytest.raises(NotFound) as found:
        client.predict("irsi", features={})
    assert str(found.value) == "model: it did not work; found 'irsi'; expected iris"


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (502, b"<html>bad gateway</html>", Unavailable),
        (504, b"", DeadlineExceeded),
        (500, b"\xff", KanameError),
        (418, {"code": "new_code", "detail": "of a newer server"}, KanameError),
        (429, b"", RateLimited),
    ],
)
def test_foreign_errors_are_errors_too(
    server: Server, client: Client, status: int, body: object, kind: type[KanameError]
) -> None:
    """An answer of a proxy or of a newer server becomes the nearest error, never a crash of the client."""
    server.plays(reply(status, body))
    with pytest.raises(KanameError) as found:
        client.predict("iris", features={})
    assert type(found.value) is kind


def test_connections_are_kept(server: Server, client: Client) -> None:
    """Requests one after the other use one connection."""
    for _ in range(3):
        client.predict("iris", features={})
    assert len({asked.port for asked in server.asked}) == 1


def test_connection_close_is_honoured(server: Server, client: Client, naps: Naps) -> None:
    """After `connection: close` the next request opens a new connection, without a retry."""
    server.plays(reply(200, ANSWER, {"connection": "close"}))
    for _ in range(3):
        client.predict("iris", features={})
    assert len({asked.port for asked in server.asked}) == 3
    assert naps.taken == []


def test_a_reset_before_the_answer_is_retried(server: Server, client: Client, naps: Naps) -> None:
    """A connection that closes before any byte is asked again, after a pause with jitter that grows."""
    server.plays(hang_up, hang_up, reply(200, ANSWER))
    assert client.predict("iris", features={}).prediction == "setosa"
    assert naps.taken == [0.025, 0.05]


def test_half_an_answer_is_not_retried(server: Server, client: Client) -> None:
    """Once the answer began, the request is not sent again."""
    server.plays(half)
    with pytest.raises(Unavailable, match="connection failed"):
        client.predict("iris", features={})
    assert len(server.asked) == 1


def test_retry_after_is_honoured(server: Server, client: Client, naps: Naps) -> None:
    """429 and 503 with a time to wait are asked again after it; the problem's fraction beats the header's seconds."""
    server.plays(
        problem("rate_limited", 429, retry_after_s=0.2),
        reply(503, b"", {"retry-after": "2"}),
        reply(200, ANSWER),
    )
    client.predict("iris", features={})
    assert naps.taken == pytest.approx([0.21, 2.1])


def test_retry_after_beyond_the_deadline_is_an_error_at_once(server: Server, client: Client, naps: Naps) -> None:
    """Who cannot wait that long learns it now."""
    server.plays(problem("overloaded", 503, retry_after_s=60))
    with pytest.raises(Overloaded) as found:
        client.predict("iris", features={}, deadline_ms=5000)
    assert found.value.retry_after_s == 60
    assert naps.taken == []
    assert len(server.asked) == 1


def test_503_without_a_time_is_not_retried(server: Server, client: Client) -> None:
    """Only the server knows when it will have room."""
    server.plays(problem("unavailable", 503))
    with pytest.raises(Unavailable):
        client.predict("iris", features={})
    assert len(server.asked) == 1


def test_retries_are_a_tenth_of_the_requests(server: Server, naps: Naps) -> None:
    """A server that refuses everything gets the saved retries and then one more request in ten, not twice the load."""
    server.plays(problem("overloaded", 503, retry_after_s=0.001))
    with Client(server.url, budget=RetryBudget(0.1, 5.0), rng=Half(), sleep=naps) as client:
        for _ in range(100):
            with pytest.raises(Overloaded):
                client.predict("iris", features={})
    assert 100 + 5 < len(server.asked) <= 100 + 5 + 10


def test_the_deadline_ends_a_wait(server: Server) -> None:
    """A server that accepts and never answers, or trickles, costs the deadline and no more."""
    over = threading.Event()

    def trickle(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("content-length", "100000")
        handler.end_headers()
        while not over.wait(0.02):
            try:
                handler.wfile.write(b" ")
            except OSError:
                break
        handler.close_connection = True

    def silent(handler: BaseHTTPRequestHandler) -> None:
        over.wait(20)
        handler.close_connection = True

    server.plays(silent, trickle)
    with Client(server.url) as client:
        for _ in range(2):
            with pytest.raises(DeadlineExceeded):
                client.predict("iris", features={}, deadline_ms=200)
        over.set()


def test_nobody_there(naps: Naps) -> None:
    """A refused connection is tried again within the budget and ends as Unavailable with the address."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    with Client(url, rng=Half(), sleep=naps) as client, pytest.raises(Unavailable, match=url):
        client.predict("iris", features={})
    assert len(naps.taken) == 10


def test_threads_share_a_client(server: Server, client: Client) -> None:
    """Many threads at once: every answer is whole, and idle connections are kept within the limit."""
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: client.predict("iris", features={"i": i}).prediction, range(200)))
    assert found == ["setosa"] * 200
    assert len({asked.port for asked in server.asked}) <= 40


@pytest.mark.parametrize(
    "url", ["", "localhost:8080", "ftp://x", "http://", "http://h:99999", "http://h:x", "http://[::1", "http://h/ü"]
)
def test_wrong_addresses(url: str) -> None:
    """What is not the address of a server is said when the client is made."""
    with pytest.raises(InvalidInput, match="url"):
        Client(url)


def test_a_key_out_of_a_file_has_a_line_end(server: Server) -> None:
    """`Path("admin.key").read_text()` is a key, too."""
    with Client(server.url, key=" k-1\n") as client:
        client.predict("iris", features={})
    assert server.asked[0].headers["authorization"] == "Bearer k-1"


@pytest.mark.parametrize("key", ["k-1\r\nx-evil: 1", "k 1", "ké"])
def test_what_is_no_key_is_said_without_being_shown(key: str) -> None:
    """No header can be smuggled in, and the error does not repeat what may be a secret."""
    with pytest.raises(InvalidInput, match="not an API key") as caught:
        Client("http://127.0.0.1:1", key=key)
    assert key not in str(caught.value)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"\xff", b'{"model": "\xff"}', b'{"model": 1}', b"<html>"])
def test_an_answer_that_is_none_is_an_error(server: Server, client: Client, body: bytes) -> None:
    """A status of 200 with anything but a prediction in it, as some proxies send, is said to be that."""
    server.plays(reply(200, body))
    with pytest.raises(KanameError, match="not what this client knows"):
        client.predict("iris", features={})
    with pytest.raises(KanameError, match="not what this client knows"):
        client.models()


@pytest.mark.parametrize("text", ["Wed, 21 Oct 2026 07:28:00 GMT", "soon", "-5", ""])
def test_a_retry_after_of_another_kind_keeps_nobody_waiting(
    server: Server, client: Client, naps: Naps, text: str
) -> None:
    """A date is not followed, a negative number means now."""
    server.plays(reply(503, b"", {"retry-after": text}), reply(200, ANSWER))
    if text == "-5":
        client.predict("iris", features={})
        assert naps.taken == [0.0]
    else:
        with pytest.raises(Overloaded):
            client.predict("iris", features={})
        assert naps.taken == []


@given(share=st.floats(0, 1), most=st.floats(0, 20), asked=st.lists(st.booleans(), max_size=200))
def test_the_budget_never_gives_more_than_its_share(share: float, most: float, asked: list[bool]) -> None:
    """Over any sequence of requests and retries: at most what was saved at the start and a share of the requests."""
    budget = RetryBudget(share, most)
    earned = spent = 0
    for retry in asked:
        if retry:
            spent += budget.spend()
        else:
            budget.earn()
            earned += 1
        assert spent <= most + share * earned + 1e-6
