"""A remote model against real sockets: time, retries within their budget, addresses that fail and come back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from kaname.errors import (
    DeadlineExceeded,
    InvalidInput,
    KanameError,
    Overloaded,
    RemoteFailed,
    TooLarge,
    Unavailable,
)
from kaname.runtimes.remote.description import Remote
from kaname.runtimes.remote.session import RemoteSession
from kaname.runtimes.types import SessionOptions
from kaname.tensors import Tensor
from tests.processes import until
from tests.servers import free_port

from .peer import SIGNATURE, Gate, Peer, double, hang_up, says

ROW = np.array([[1.5, -0.1]], np.float32)
Connect = Callable[..., RemoteSession]


@pytest.fixture
def peer() -> Iterator[Peer]:
    """A server that answers."""
    with Peer() as one:
        yield one


@pytest.fixture
def other() -> Iterator[Peer]:
    """Another one."""
    with Peer() as one:
        yield one


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Opens sessions on peers, or on URLs; all are closed at the end."""
    opened: list[RemoteSession] = []

    def open_(*peers: Peer | str, **fields: Any) -> RemoteSession:
        urls = tuple(one if isinstance(one, str) else one.url for one in peers)
        remote = Remote(**{"protocol": "oip", "urls": urls, "model": "m", "binary": True, "probe_ms": 50, **fields})
        opened.append(RemoteSession(remote, SIGNATURE, SessionOptions()))
        return opened[-1]

    yield open_
    for session in opened:
        session.close()


def in_ms(ms: float) -> int:
    """A deadline."""
    return time.monotonic_ns() + int(ms * 1e6)


def failure(session: RemoteSession, deadline_ns: int = 0) -> KanameError:
    """The error that a request ends in."""
    with pytest.raises(KanameError) as raised:
        session.ask((ROW,), deadline_ns)
    return raised.value


@pytest.mark.parametrize("binary", [True, False])
def test_an_answer_has_the_bits_that_the_remote_gave(peer: Peer, connect: Connect, binary: bool) -> None:
    """Random float32 rows come back doubled to the last bit, in binary and as JSON."""
    rows: Tensor = np.random.default_rng(3).normal(size=(200, 2)).astype(np.float32)
    (answer,) = connect(peer, binary=binary).run((rows,))
    assert answer.dtype == np.float32
    assert answer.tobytes() == (rows * np.float32(2)).tobytes()
    assert answer.flags.writeable


def test_what_is_left_of_the_deadline_is_passed_on(peer: Peer, connect: Connect) -> None:
    """The remote is told the time that the request has, not that of the description, unless that is nearer."""
    session = connect(peer, timeout_ms=5_000)
    session.ask((ROW,), in_ms(700))
    session.run((ROW,))
    session.ask((ROW,), in_ms(60_000))
    told = [int(headers["x-request-timeout-ms"]) for headers in peer.inferences]
    assert 300 < told[0] <= 700
    assert all(4_000 < one <= 5_000 for one in told[1:])


def test_a_slow_remote_costs_no_more_than_the_deadline(peer: Peer, connect: Connect) -> None:
    """A request with 100 ms ends in time, is not asked again, and says nothing against the address."""
    peer.step = gate = Gate()
    session = connect(peer, eject_failures=1)
    began = time.monotonic()
    error = failure(session, in_ms(100))
    assert isinstance(error, DeadlineExceeded)
    assert peer.url in str(error)
    assert time.monotonic() - began < 2
    assert len(peer.inferences) == 1
    assert session.trouble is None
    gate.open.set()


def test_no_time_is_no_request(peer: Peer, connect: Connect) -> None:
    """What is late already is not sent."""
    assert isinstance(failure(connect(peer), time.monotonic_ns() - 1), DeadlineExceeded)
    assert not peer.inferences


def test_connections_are_kept_and_bounded(peer: Peer, connect: Connect) -> None:
    """Two hundred requests of four threads share at most four connections."""
    session = connect(peer, connections=4)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: session.run((ROW,)), range(200)))
    assert len(peer.inferences) == 200
    assert len(peer.ports) <= 4


# --- retries --------------------------------------------------------------------------------------------


def test_retries_under_total_failure_stay_within_the_budget(peer: Peer, connect: Connect) -> None:
    """A remote that refuses everything sees a fifth more than what is asked, and the ten that were saved up."""
    peer.step = says(503, {"error": "no workers"})
    session = connect(peer, retry_share=0.2, retries_per_s=0)
    for _ in range(300):
        assert isinstance(failure(session), Unavailable)
    assert 300 + 60 <= len(peer.inferences) <= 300 + 60 + 10


@pytest.mark.parametrize("step", [hang_up, says(503, {"error": "starting"})], ids=["hang up", "503"])
def test_what_cannot_have_begun_is_asked_elsewhere(peer: Peer, other: Peer, connect: Connect, step: Any) -> None:
    """Nobody notices that one of two addresses fails, and after three failures it is asked no more."""
    peer.step = step
    session = connect(peer, other, probe_ms=60_000, eject_failures=3)
    for _ in range(50):
        session.run((ROW,))
    assert len(peer.inferences) == 3
    assert len(other.inferences) == 50


@pytest.mark.parametrize(
    "step",
    [says(500, {"error": "a fault"}), says(400, {"error": "a wrong row"}), says(504, b""), says(200, b"hello")],
    ids=["500", "400", "504", "nonsense"],
)
def test_what_may_have_been_computed_is_not_asked_again(peer: Peer, connect: Connect, step: Any) -> None:
    """One attempt, whatever is left of the budget."""
    peer.step = step
    failure(connect(peer))
    assert len(peer.inferences) == 1


def test_a_remote_that_names_a_time_is_not_pressed(peer: Peer, connect: Connect) -> None:
    """Retry-After goes to the caller: no thread waits for it here."""
    peer.step = says(503, {"error": "later"}, {"retry-after": "7"})
    error = failure(connect(peer))
    assert error.retry_after_s == 7.0
    assert len(peer.inferences) == 1


# --- addresses ------------------------------------------------------------------------------------------


def test_requests_are_spread(peer: Peer, other: Peer, connect: Connect) -> None:
    """Two equal addresses get equal shares."""
    session = connect(peer, other)
    for _ in range(40):
        session.run((ROW,))
    assert len(peer.inferences) == len(other.inferences) == 20


def test_an_address_that_is_not_ready_is_left_out_until_it_is(peer: Peer, other: Peer, connect: Connect) -> None:
    """The probe decides, both ways."""
    session = connect(peer, other)
    peer.ready = False
    until(lambda: not session.addresses.standing()[peer.url], "the address is left out")
    before = len(peer.inferences)
    for _ in range(10):
        session.run((ROW,))
    assert len(peer.inferences) == before
    peer.ready = True
    until(lambda: session.addresses.standing()[peer.url], "the address takes part again")
    until(lambda: session.run((ROW,)) and len(peer.inferences) > before, "it is asked")


def test_a_dead_server_is_noticed_and_comes_back(connect: Connect) -> None:
    """A session is opened while nobody listens: it says why it cannot answer, and answers once somebody does."""
    port = free_port()
    session = connect(f"http://127.0.0.1:{port}")
    trouble = until(lambda: session.trouble, "the probe has failed")
    assert "Connection refused" in str(trouble)
    error = failure(session)
    assert isinstance(error, Unavailable)
    assert error.retry_after_s
    with Peer(port):
        until(lambda: session.trouble is None, "the probe has succeeded")
        session.run((ROW,))


def test_the_last_address_is_not_left_out_for_failures_alone(peer: Peer, connect: Connect) -> None:
    """While its probes say that it is ready, every request is tried."""
    peer.step = says(503, {"error": "busy"})
    session = connect(peer, eject_failures=2, retry_share=0.0, retries_per_s=0)
    for _ in range(30):
        failure(session)
    peer.step = double
    session.run((ROW,))


def test_everything_is_told(peer: Peer, other: Peer, connect: Connect) -> None:
    """Attempts by outcome, retries by who failed, and the state of each address from the beginning."""
    told: list[tuple[object, ...]] = []

    class Listener:
        def asked(self, address: str, code: str) -> None:
            told.append((address, code))

        def again(self, address: str) -> None:
            told.append((address, "again"))

        def health(self, address: str, ready: bool) -> None:
            told.append((address, ready))

    peer.step = hang_up
    session = connect(peer, other, probe_ms=60_000)
    session.tell(Listener())
    assert told == [(peer.url, True), (other.url, True)]
    until(lambda: session.run((ROW,)) and (peer.url, "again") in told, "the failing address was asked")
    assert told[-3:] == [(peer.url, "unavailable"), (peer.url, "again"), (other.url, "ok")]


# --- what the remote says -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidInput),
        (401, RemoteFailed),
        (403, RemoteFailed),
        (404, RemoteFailed),
        (413, TooLarge),
        (422, InvalidInput),
        (429, Overloaded),
        (500, RemoteFailed),
        (502, RemoteFailed),
        (503, Unavailable),
        (504, DeadlineExceeded),
    ],
)
def test_statuses_are_errors_that_name_the_remote(
    peer: Peer, connect: Connect, status: int, kind: type[KanameError]
) -> None:
    """The class says what the caller should do; place and words are the remote's."""
    peer.step = says(status, {"error": "the very words"})
    error = failure(connect(peer, retry_share=0.0, retries_per_s=0))
    assert type(error) is kind
    assert error.where == peer.url
    assert "the very words" in str(error.found)
    assert str(status) in str(error.found)


OUTPUT = {"name": "y", "datatype": "FP32", "shape": [1, 2], "data": [1.0, 2.0]}


@pytest.mark.parametrize(
    "answer",
    [
        says(200, b"<html>"),
        says(200, {"outputs": []}),
        says(200, {"outputs": [{**OUTPUT, "data": [1.0]}]}),
        says(200, {"outputs": [{**OUTPUT, "data": None}]}),
        says(200, {"outputs": [{**OUTPUT, "datatype": "FP64"}]}),
        says(200, {"outputs": [{**OUTPUT, "datatype": "COMPLEX"}]}),
        says(200, {"outputs": [{**OUTPUT, "shape": [2, 1]}]}),
        says(200, {"outputs": [{**OUTPUT, "shape": [2, 2], "data": [1, 2, 3, 4]}]}),
        says(200, {"outputs": [{**OUTPUT, "data": None, "parameters": {"binary_data_size": 8}}]}),
        says(200, {"outputs": [OUTPUT]}, {"inference-header-content-length": "100000"}),
        says(200, {"outputs": [{**OUTPUT, "data": None, "parameters": {"binary_data_size": "8"}}]}),
        says(200, {"outputs": [{**OUTPUT, "shape": [-1, -1]}]}),
        says(200, b'{"outputs":' + b"[" * 100_000),
        says(302, b"", {"location": "http://127.0.0.1:1/"}),
    ],
)
def test_an_answer_that_is_not_the_protocols_is_the_remotes_failure(peer: Peer, connect: Connect, answer: Any) -> None:
    """Never an answer, never a fault of the server in front."""
    peer.step = answer
    error = failure(connect(peer))
    assert type(error) is RemoteFailed
    assert error.where == peer.url
