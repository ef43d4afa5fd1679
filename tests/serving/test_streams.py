"""Streams against a real server: lines both ways over one request, and answers piece by piece."""

from __future__ import annotations

import asyncio
import json
import select
import socket
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from kaname.call import Answer, Call
from kaname.inference.streams import AHEAD
from tests.processes import until

from .conformance import ROW
from .world import World

LINE = json.dumps({"features": ROW}).encode() + b"\n"
NDJSON = {"content-type": "application/x-ndjson"}
PATH = "/api/v1/models/flowers/predict/stream"
DOORS = ("own", "asgi")
both = pytest.mark.parametrize("door", DOORS)


@pytest.fixture
def door(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def client(world: World, door: str) -> Iterator[httpx.Client]:
    host, port = world.addresses[door]
    headers = {"authorization": f"Bearer {world.key}"}
    with httpx.Client(base_url=f"http://{host}:{port}", headers=headers, timeout=20) as client:
        yield client


def lines_of(client: httpx.Client, *lines: bytes, **headers: str) -> list[dict[str, Any]]:
    answer = client.post(PATH, content=iter(lines), headers=NDJSON | headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.text.endswith("\n") or not answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


class Talk:
    """A stream over a raw connection, sent and read line by line."""

    def __init__(self, world: World, door: str, key: str | None = None, path: str = PATH, receive: int = 0) -> None:
        self.socket = socket.socket()
        if receive:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        self.socket.settimeout(20)
        self.socket.connect(world.addresses[door])
        head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {key or world.key}\r\n"
        self.socket.sendall(f"{head}content-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n".encode())
        self.file = self.socket.makefile("rb")

    def begun(self) -> dict[str, str]:
        """The headers of the answer."""
        assert b" 200 " in self.file.readline()
        found = {}
        while line := self.file.readline().strip():
            name, _, value = line.decode().partition(": ")
            found[name] = value
        return found

    def send(self, data: bytes) -> None:
        self.socket.sendall(b"%x\r\n%b\r\n" % (len(data), data))

    def finish(self) -> None:
        self.socket.sendall(b"0\r\n\r\n")

    def chunk(self) -> bytes:
        """The next piece of the answer; empty at its end."""
        size = int(self.file.readline(), 16)
        data = self.file.read(size)
        self.file.readline()
        return data

    def line(self) -> dict[str, Any]:
        found = self.chunk()
        assert found.count(b"\n") == 1
        return dict(json.loads(found))

    def rest(self) -> bytes:
        """Everything to the end of the answer."""
        return b"".join(iter(self.chunk, b""))

    def close(self) -> None:
        self.file.close()
        self.socket.close()


@pytest.fixture
def talk(world: World, door: str) -> Iterator[Talk]:
    talk = Talk(world, door)
    yield talk
    talk.close()


@both
def test_each_line_is_answered_in_order(client: httpx.Client) -> None:
    """Good and bad lines in turn, in pieces that end anywhere; each answer belongs to its line."""
    lengths = [number / 10 for number in range(50)]
    lines = [json.dumps({"features": [x, None, 1, "red"] if n % 3 else [x]}).encode() for n, x in enumerate(lengths)]
    text = b"\n".join(lines)
    pieces = [text[at : at + 99] for at in range(0, len(text), 99)]
    answers = lines_of(client, *pieces, **{"x-request-id": "s"})
    assert [answer["request_id"] for answer in answers] == [f"s-{n}" for n in range(1, 51)]
    alone = client.post("/api/v1/models/flowers/predict", json={"instances": [[x, None, 1, "red"] for x in lengths]})
    for n, (answer, expected) in enumerate(zip(answers, alone.json()["predictions"], strict=True)):
        if n % 3:
            assert {key: answer[key] for key in expected} == expected
        else:
            assert (answer["status"], answer["where"]) == (400, "features")


@both
@pytest.mark.parametrize(
    ("line", "status", "word"),
    [
        (b"{", 400, "truncated"),
        (b"[1]", 400, "array"),
        (b"{}", 400, "nothing to predict"),
        (b"\xff", 400, "malformed"),
        (b'{"features":{"colour":"\xff"}}', 400, "UTF-8"),
        (b'{"features":[NaN,1,1,"red"]}', 400, "malformed"),
        (b'{"features":[1e39,1,1,"red"]}', 400, "out of range"),
        (b'{"features":[1,1,1,"green"]}', 400, "unknown category"),
        (json.dumps({"instances": [ROW] * 51}).encode(), 413, "number of rows"),
        (b'{"features":"' + b"x" * 1_100_000 + b'"}', 413, "line is too long"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_a_bad_line_does_not_end_the_stream(client: httpx.Client, line: bytes, status: int, word: str) -> None:
    """Its answer is a problem document in its place; the lines around it are answered."""
    first, problem, last = lines_of(client, LINE, line + b"\n", LINE)
    assert first["prediction"] == last["prediction"] == "a"
    assert (problem["status"], problem["type"]) == (status, f"urn:kaname:problem:{problem['code']}")
    assert word in json.dumps(problem)
    assert problem["request_id"].endswith("-2")


@both
def test_empty_lines_and_the_last_newline_do_not_matter(client: httpx.Client) -> None:
    """CRLF, blank lines, no newline at the end, and nothing at all."""
    assert len(lines_of(client, b"\n\r\n  \n" + LINE.strip() + b"\r\n\n" + LINE.strip())) == 2
    assert lines_of(client, b"") == []


@both
def test_an_answer_comes_before_the_next_line_is_sent(talk: Talk) -> None:
    """A conversation: headers at once, each answer as soon as its line is there, however it is cut."""
    head = talk.begun()
    assert head["content-type"] == "application/x-ndjson"
    for number in range(1, 4):
        talk.send(LINE[:10])
        talk.send(LINE[10:])
        assert talk.line()["request_id"] == f"{head['x-request-id']}-{number}"
    talk.finish()
    assert talk.rest() == b""


@both
def test_a_client_that_does_not_read_is_not_read(world: World, door: str) -> None:
    """The server stops reading while its answers wait, and everything is answered once the client reads."""
    talk = Talk(world, door, receive=4096)
    line = json.dumps({"instances": [ROW] * 50}).encode() + b"\n"
    total, chunk = 3000, b"%x\r\n%b\r\n" % (len(line), line)
    unsent = chunk * total + b"0\r\n\r\n"
    sent = 0
    talk.socket.setblocking(False)
    while select.select([], [talk.socket], [], 0.5)[1]:
        sent += talk.socket.send(memoryview(unsent)[sent : sent + 65536])
    assert sent < len(unsent) * 0.9
    assert world.on_loop(lambda: world.plane.gate.held_bytes) < 1_000_000
    talk.socket.setblocking(True)
    sender = threading.Thread(target=talk.socket.sendall, args=(memoryview(unsent)[sent:],))
    sender.start()
    talk.begun()
    answers = talk.rest().splitlines()
    sender.join(20)
    talk.close()
    assert len(answers) == total
    assert all(answer.startswith(b'{"predictions":[') for answer in answers)


@both
def test_a_client_that_leaves_ends_the_work(world: World, door: str) -> None:
    """Nothing of the stream stays behind: no task, no call."""

    def tasks() -> int:
        return len(asyncio.all_tasks())

    until(lambda: world.on_loop(lambda: not world.plane.gate.held_bytes), "quiet")
    before = world.on_loop(tasks)
    talk = Talk(world, door)
    talk.begun()
    talk.send(LINE * 50)
    assert world.on_loop(tasks) > before
    talk.close()
    until(lambda: world.on_loop(tasks) <= before, "the stream's tasks end")


@both
def test_a_promotion_holds_from_the_next_line_on(world: World, talk: Talk) -> None:
    """A stream is no version's for life, and a model that goes away is a problem of the lines behind it."""
    models = world.stores.models

    def said() -> Any:
        assert world.plane.settled(models.seq(), 30.0) == []
        talk.send(LINE)
        answer = talk.line()
        return answer.get("version") or answer["code"]

    talk.begun()
    try:
        assert said() == "1"
        models.promote("flowers", "next", who="test")
        assert said() == "next"
        models.set_loaded("flowers", False, who="test")
        assert said() == "unavailable"
    finally:
        models.set_loaded("flowers", True, who="test")
        models.promote("flowers", "1", who="test")
        assert said() == "1"


@both
def test_a_revoked_key_is_refused_from_the_next_line_on(world: World, door: str) -> None:
    """Who asks is asked again for each line."""
    info, key = world.stores.keys.create("short", ("predict:flowers",), who="test")
    assert world.plane.settled(world.stores.models.seq(), 30.0) == []
    talk = Talk(world, door, key=key)
    talk.begun()
    talk.send(LINE)
    assert talk.line()["prediction"] == "a"
    world.stores.keys.revoke(info.id, who="test")
    assert world.plane.settled(world.stores.models.seq(), 30.0) == []
    talk.send(LINE)
    assert talk.line()["status"] == 401
    talk.close()


def test_a_client_that_falls_silent_is_told_so(world: World) -> None:
    """The body of a stream may take longer than that of other requests, but no silence may."""
    talk = Talk(world, "own")
    talk.begun()
    for _ in range(3):
        world.clock.advance(ms=40_000)  # two thirds of `server.body_timeout_ms`
        talk.send(LINE)
        assert talk.line()["prediction"] == "a"
    world.clock.advance(ms=61_000)
    told = talk.line()
    assert (told["status"], told["where"]) == (408, "body")
    assert talk.rest() == b""
    talk.close()


def test_a_server_that_leaves_says_which_lines_are_unanswered(world: World) -> None:
    """A draining server ends its streams, after the answers that it owes, with a problem that says what to do."""
    talk = Talk(world, "own")
    talk.begun()
    talk.send(LINE)
    assert talk.line()["prediction"] == "a"
    try:
        world.on_loop(lambda: setattr(world.plane.gate, "closing", True))
        told = talk.line()
        assert (told["status"], told["code"]) == (503, "unavailable")
        assert talk.rest() == b""
    finally:
        world.on_loop(lambda: setattr(world.plane.gate, "closing", False))
    talk.close()


# --- server-sent events ---------------------------------------------------------------------------------

EVENTS = "/api/v1/models/teller/predict/events"


def events_of(client: httpx.Client, count: int) -> list[tuple[str, Any]]:
    """Kind and data of every event, read as the standard says."""
    found = []
    with client.stream("POST", EVENTS, json={"features": {"count": count}}) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"] == "text/event-stream"
        fields: dict[str, str] = {}
        for line in answer.iter_lines():
            name, _, value = line.partition(": ")
            if line:
                fields[name] = value
            else:
                found.append((fields.get("event", "message"), json.loads(fields["data"])))
                fields = {}
    return found


def streams() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "stream-teller"]


@both
def test_every_piece_is_an_event(client: httpx.Client) -> None:
    """Answers in the order in which the model yields them, then the end."""
    *pieces, end = events_of(client, 40)
    assert [(kind, data["prediction"]) for kind, data in pieces] == [("message", f"piece {n}") for n in range(1, 41)]
    assert end == ("end", {"pieces": 40})


@both
def test_a_fault_of_the_model_is_the_last_event(client: httpx.Client) -> None:
    """What came before it stays; before the first piece it is an ordinary problem."""
    *pieces, (kind, problem) = events_of(client, -3)
    assert [data["prediction"] for _, data in pieces] == ["piece 1", "piece 2", "piece 3"]
    assert (kind, problem["code"]) == ("error", "model_failed")
    assert "out of words" in problem["detail"]
    answer = client.post(EVENTS, json={"features": [0]})
    assert (answer.status_code, answer.json()["where"], answer.json()["expected"]) == (500, "text", "1")


@both
def test_a_client_that_leaves_cancels_the_model(world: World, client: httpx.Client) -> None:
    """The generator is closed on its thread, and the call is counted."""
    with client.stream("POST", EVENTS, json={"features": [10**6]}) as answer:
        lines = answer.iter_lines()
        assert next(lines) == "id: 1"
        (thread,) = streams()
    until(lambda: not thread.is_alive(), "the thread ends")
    assert thread.closed is True  # type: ignore[attr-defined]  # set by the model


@both
def test_streams_are_bounded_and_predictions_go_on_beside_them(client: httpx.Client) -> None:
    """One stream too many is refused at once; `predict` of the same model does not wait for any."""
    with httpx.Client(base_url=client.base_url, headers=client.headers, timeout=20) as other:
        open_ones = [other.stream("POST", EVENTS, json={"features": [10**6]}) for _ in range(8)]
        for one in open_ones:
            assert one.__enter__().status_code == 200
        refused = client.post(EVENTS, json={"features": [1]})
        assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
        whole = client.post("/api/v1/models/teller/predict", json={"features": [1]})
        assert whole.json()["prediction"] == "whole"
        for one in open_ones:
            one.__exit__(None, None, None)
    until(lambda: not streams(), "the streams end")


def test_a_slow_reader_makes_the_model_wait(world: World) -> None:
    """The model is at most so many pieces ahead of what has gone out."""
    passed: list[Any] = []
    reply = _Slow(passed)
    principal = world.plane.node.principals.of(f"Bearer {world.key}".encode())
    info = world.plane.node.version("teller", None)

    def begin() -> Call:
        call = Call("slow", principal, lambda _, __: None, 1, [(10**6,)])
        call.reply = reply
        world.plane.node.streams.step(world.plane.node.want(info))(call)
        return call

    call = world.on_loop(begin)
    until(lambda: len(passed) == AHEAD, "the model runs ahead")
    assert isinstance(passed[0], Answer)
    reply.room.release()
    until(lambda: len(passed) == AHEAD + 1, "one more piece")
    call.gone = True
    until(lambda: not streams(), "the stream ends")
    assert len(passed) == AHEAD + 1


class _Slow:
    """A listener that gives no room back."""

    def __init__(self, passed: list[Any]) -> None:
        self.room = threading.Semaphore(AHEAD)
        self._passed = passed

    def piece(self, _: Any, answer: Any) -> None:
        self._passed.append(answer)


def test_the_description_covers_streams(world: World) -> None:
    """Both URLs with their media types."""
    host, port = world.addresses["own"]
    paths = httpx.get(f"http://{host}:{port}/openapi.json").json()["paths"]
    for base in ("/api/v1/models/{model}", "/api/v1/models/{model}/versions/{version}"):
        lines, events = (paths[f"{base}/predict/{kind}"]["post"] for kind in ("stream", "events"))
        assert "application/x-ndjson" in lines["requestBody"]["content"]
        assert "application/x-ndjson" in lines["responses"]["200"]["content"]
        assert "text/event-stream" in events["responses"]["200"]["content"]
