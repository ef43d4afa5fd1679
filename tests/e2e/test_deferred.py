"""Requests that are answered later: every 202 is answered once, whatever is killed meanwhile."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import random
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cli.kaname import kaname
from tests.e2e import sleepers
from tests.e2e.conftest import Serve
from tests.e2e.server import Server
from tests.processes import until

pytestmark = pytest.mark.slow
PREDICT = "/api/v1/models/sleeper/predict"


@pytest.fixture
def queued(project: Path) -> Path:
    """A project whose model puts requests aside that would wait for more than 20 ms."""
    sleepers.add(project, "limits.patience_ms=20", "overload=queue")
    return project


class Crowd:
    """Asks for many rows at once; remembers for which value each 202 was, and what was answered at once."""

    def __init__(self, server: Server, first: int, count: int, **headers: str) -> None:
        self.later: dict[str, float] = {}
        self.now = 0
        self.broken = 0
        self._server, self._headers = server, headers
        with ThreadPoolExecutor(24) as pool:
            list(pool.map(self._ask, range(first, first + count)))

    def _ask(self, number: int) -> None:
        try:
            with self._server.client() as client:
                answer = client.post(PREDICT, json={"features": {"x": float(number)}}, headers=self._headers)
        except httpx.TransportError:
            self.broken += 1  # the worker was killed: it was promised nothing
            return
        if answer.status_code == 202:
            assert answer.headers["location"] == answer.json()["answer_at"]
            self.later[answer.json()["id"]] = float(number)
        else:
            assert answer.status_code == 200, answer.text
            self.now += 1


def _done(server: Server, answer_id: str) -> dict[str, Any] | None:
    with server.client() as client:
        answer = client.get(f"/api/v1/answers/{answer_id}", params={"wait_ms": 500})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found if found["status"] == "done" else None


def _check(server: Server, later: dict[str, float]) -> None:
    """Everything that was put aside is answered, with the answer to its own row."""
    for answer_id, value in later.items():
        found = until(lambda: _done(server, answer_id), f"{answer_id} is answered", 60.0)  # noqa: B023
        assert found is not None
        assert found["http_status"] == 200, found
        assert found["answer"]["prediction"] == [value * 2], found


def test_what_is_put_aside_is_answered(queued: Path, serve: Serve) -> None:
    """Of a crowd some are answered at once and the others get an id, under which their own answer is found."""
    server = serve()
    crowd = Crowd(server, 0, 120)
    assert crowd.now > 0
    assert crowd.later
    _check(server, crowd.later)
    with server.client() as client:
        unknown = client.get(f"/api/v1/answers/{next(iter(crowd.later))[:-1]}x")
    assert unknown.status_code == 404


def test_an_answer_is_for_who_asked(queued: Path, serve: Serve) -> None:
    """Another key without the scope `read` is told that there is no such answer."""
    server = serve()
    crowd = Crowd(server, 0, 120)
    answer_id = next(iter(crowd.later))
    other = json.loads(server.run("key", "create", "--scope", "predict:*", "--json").out)["key"]
    with server.client(other) as client:
        assert client.get(f"/api/v1/answers/{answer_id}").status_code == 404


def test_nothing_is_lost_when_workers_are_killed(queued: Path, serve: Serve) -> None:
    """Workers die with SIGKILL at random moments while a crowd asks; every 202 is answered, once, with its answer."""
    server = serve(workers=2)
    draw, later = random.Random(5), dict[str, float]()
    for turn in range(4):
        timer = threading.Timer(draw.uniform(0.05, 0.4), lambda: os.kill(draw.choice(sorted(server.pids())), 9))
        timer.start()
        later |= Crowd(server, turn * 1000, 100).later
        timer.join()
        until(lambda: len(server.pids()) == 2, "the worker is replaced", 60.0)
    assert later
    _check(server, later)


def test_nothing_is_lost_when_the_server_is_killed(queued: Path, serve: Serve) -> None:
    """The supervisor and its workers die at once; the next run of the server answers what the last one took."""
    server = serve()
    pids = server.pids()
    later = Crowd(server, 0, 150).later
    os.kill(server.process.pid, signal.SIGKILL)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    server.process.wait()
    assert later
    again = serve()
    _check(again, later)


# --- encrypted ------------------------------------------------------------------------------------------

SECRET = "a-request-that-nobody-else-may-see"


def _on_disk(project: Path) -> bytes:
    """Every byte of what is kept of deferred requests, the holes of their files left out."""
    return b"".join(path.read_bytes() for path in (project / ".kaname" / "deferred").rglob("*") if path.is_file())


def test_requests_and_answers_are_encrypted_at_rest(queued: Path, serve: Serve) -> None:
    """What was put aside without a key is answered with one; from then on nothing on the disk can be read; a rotation
    wraps it anew beside the server, and then the old key may go."""
    keys = queued / "keys"
    with serve() as server:
        plain = Crowd(server, 0, 150, **{"x-request-id": SECRET}).later
    assert plain
    assert SECRET.encode() in _on_disk(queued)
    old, new = (kaname("encryption", "new-key", name).out.strip() for name in ("2025-11", "2026-11"))
    keys.write_text(old + "\n")
    with (queued / "kaname.yaml").open("a") as file:
        file.write(f"\nencryption:\n  keys_file: {keys}\n")
    with serve() as server:
        _check(server, plain)
        mark = f"{SECRET}-now"
        sealed = Crowd(server, 1000, 150, **{"x-request-id": mark}).later
        assert sealed
        _check(server, sealed)
        keys.write_text(f"{new}\n{old}\n")
        assert "deferred requests: 0" not in server.run("encryption", "rotate").out
    assert mark.encode() not in _on_disk(queued)
    assert kaname("-C", queued, "encryption", "rotate").code == 0
    keys.write_text(new + "\n")
    with serve() as server:
        _check(server, plain | sealed)


# --- webhooks -------------------------------------------------------------------------------------------


class Receiver(ThreadingHTTPServer):
    """Takes webhooks; refuses the first attempt of each."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Hook)
        self.seen: dict[str, int] = {}
        self.bodies: dict[str, dict[str, Any]] = {}
        self.key = b""
        self.wrong: list[str] = []

    def take(self, headers: Any, body: bytes) -> int:
        signed_id, at = headers["webhook-id"], headers["webhook-timestamp"]
        signed = hmac.digest(self.key, f"{signed_id}.{at}.".encode() + body, hashlib.sha256)
        if headers["webhook-signature"] != "v1," + base64.b64encode(signed).decode():
            self.wrong.append(signed_id)
        self.seen[signed_id] = self.seen.get(signed_id, 0) + 1
        if self.seen[signed_id] == 1:
            return 500
        self.bodies[signed_id] = json.loads(body)
        return 204


class Hook(BaseHTTPRequestHandler):
    """One request to the receiver."""

    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.send_response(self.server.take(self.headers, body))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver, running."""
    found = Receiver()
    thread = threading.Thread(target=found.serve_forever, daemon=True)
    thread.start()
    yield found
    found.shutdown()
    found.server_close()


def test_answers_come_by_webhook_too(queued: Path, serve: Serve, receiver: Receiver) -> None:
    """Signed, with the id of the 202, and again until they are taken, also after the server was killed."""
    url = f"http://127.0.0.1:{receiver.server_port}/hooks/"
    (queued / "kaname.yaml").write_text(f"name: hooks\ndeferred: {{webhooks: ['{url}']}}\n")
    (queued / ".kaname" / "webhook.key").write_text(f"whsec_{base64.b64encode(b'k' * 32).decode()}\n")
    receiver.key = b"k" * 32
    server = serve()
    crowd = Crowd(server, 0, 100, **{"x-callback-url": url + "answers"})
    assert crowd.later
    until(lambda: receiver.seen, "a first attempt was made", 30.0)
    server.close()
    serve()
    until(lambda: crowd.later.keys() <= receiver.bodies.keys(), "all were taken", 60.0)
    assert not receiver.wrong
    for answer_id, value in crowd.later.items():
        assert receiver.bodies[answer_id]["id"] == answer_id
        assert receiver.bodies[answer_id]["answer"]["prediction"] == [value * 2]


def test_answers_go_only_where_the_owner_permits(queued: Path, serve: Serve) -> None:
    """Without an entry in `deferred.webhooks` a request that names a target is refused."""
    server = serve()
    with server.client() as client:
        answer = client.post(
            PREDICT, json={"features": {"x": 1.0}}, headers={"x-callback-url": "http://169.254.169.254/latest"}
        )
    assert (answer.status_code, answer.json()["where"]) == (400, "x-callback-url")
