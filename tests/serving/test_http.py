"""One connection, case by case: order, limits in bytes and time, closing, and callers that leave."""

from __future__ import annotations

import inspect
import socket
from collections.abc import Iterator

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from kaname.errors import Forbidden
from kaname.serving.ordered import MOST_SLOTS, RELIES_ON

from .wire import BIG_BYTES, Line, Wire, fast, in_chunks, slow


@pytest.fixture
def wire() -> Iterator[Wire]:
    made = Wire(
        max_body_bytes=100_000,
        max_header_bytes=2000,
        max_headers=20,
        header_timeout_ms=1000,
        body_timeout_ms=2000,
        keep_alive_ms=5000,
        inflight_bytes=150_000,
    )
    yield made
    made.close()


@pytest.fixture
def line(wire: Wire) -> Line:
    return wire.connect()


def bodies(line: Line) -> list[bytes]:
    return [one.body for one in line.answers()]


def closed(line: Line) -> bool:
    line.take()
    line.wire.turn()
    return line.eof


def test_uvicorn_has_every_member_that_the_connection_relies_on() -> None:
    """The canary: a release of uvicorn that renames one of them fails here, not at night."""
    source = inspect.getsource(HttpToolsProtocol)
    for name in RELIES_ON:
        assert hasattr(HttpToolsProtocol, name) or f"self.{name}" in source, name


# --- order ----------------------------------------------------------------------------------------------


def test_slow_fast_slow_are_answered_in_order(wire: Wire, line: Line) -> None:
    """Pipelined requests of both kinds: a fast answer waits for the slow one before it."""
    line.send(slow(note="1-later") + fast(b"two") + slow(b"three", "read"))
    assert wire.echo.entered[0][1] == b"two"
    assert bodies(line) == []
    wire.release()
    assert bodies(line) == [b"/asgi?1-later", b"two", b"three"]


def test_fast_answers_are_held_for_the_one_before(wire: Wire, line: Line) -> None:
    """Answers that are ready out of order leave in order."""
    line.send(b"".join(fast(b"%d" % n, "later") for n in range(4)))
    wire.release(3)
    wire.release(1)
    assert bodies(line) == []
    wire.release(0)
    assert bodies(line) == [b"0", b"1"]
    wire.release(0)
    assert bodies(line) == [b"2", b"3"]


def test_a_second_answer_of_an_endpoint_is_dropped(wire: Wire, line: Line) -> None:
    """Whatever an endpoint does, a request has one answer."""
    line.send(fast(b"a", "later"))
    _, reply = wire.echo.held[0]
    wire.release()
    reply.send(200, b"", b"again")
    assert bodies(line) == [b"a"]
    line.send(fast(b"b"))
    assert bodies(line) == [b"b"]


def test_reading_stops_at_many_open_requests_and_goes_on(wire: Wire, line: Line) -> None:
    """A client that pipelines without end is held at 32 open requests; all are answered in the end."""
    for n in range(3 * MOST_SLOTS):
        line.send(fast(b"%d" % n, "later"))
    assert len(line.server.slots) == MOST_SLOTS
    found: list[bytes] = []
    while wire.held:
        wire.release()
        line.pump()
        found += bodies(line)
    assert found == [b"%d" % n for n in range(3 * MOST_SLOTS)]


def test_an_application_that_does_not_read_a_large_body_leaves_the_connection_alive(line: Line) -> None:
    """Reading goes on after the answer: the rest of the body is thrown away, the next request is answered."""
    line.send(slow(b"x" * 90_000))
    assert line.one().body == b"/asgi?"
    assert not line.unsent
    line.send(fast(b"next"))
    assert line.one().body == b"next"


def test_expect_is_answered_once_and_in_turn(wire: Wire, line: Line) -> None:
    """`100 Continue` comes when the request is accepted, and not before the answers that are due earlier."""
    first, second = fast(b"1", "later"), fast(b"22", "", "expect: 100-continue")
    line.send(first + second[:-2])
    assert bodies(line) == []
    assert line.interim == 0
    wire.release()
    assert bodies(line) == [b"1"]
    assert line.interim == 1
    line.send(b"22")
    assert bodies(line) == [b"22"]
    assert line.interim == 1


def test_a_refused_expectation_gets_no_interim_answer(line: Line) -> None:
    """A body that is too large is refused instead of asked for."""
    line.send(b"POST /fast HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 200000\r\n\r\n")
    one = line.one()
    assert (one.status, one.closes, line.interim) == (413, True, 0)


# --- limits in bytes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("piece", [100_000, 100], ids=["at once", "in pieces"])
@pytest.mark.parametrize("kind", ["one", "many", "target"])
def test_large_heads_are_refused(line: Line, piece: int, kind: str) -> None:
    """431 for a head of too many bytes or lines, before it ends, for both kinds of requests."""
    more = {"one": b"x: " + b"y" * 3000, "many": b"".join(b"x-%d: y\r\n" % n for n in range(400)), "target": b""}[kind]
    target = b"/fast?" + b"y" * 3000 if kind == "target" else b"/asgi"
    raw = b"POST %b HTTP/1.1\r\nhost: h\r\n%b\r\n\r\n" % (target, more)
    for start in range(0, len(raw), piece):
        line.send(raw[start : start + piece])
    one = line.one()
    assert (one.status, one.closes) == (431, True)


def test_too_many_header_lines_are_refused(line: Line) -> None:
    """The number counts, too."""
    line.send(fast(b"", "", *[f"x{n}: y" for n in range(30)]))
    assert line.one().status == 431


def test_endless_trailers_are_refused(wire: Wire, line: Line) -> None:
    """Header lines behind a chunked body are held to the same limits."""
    line.send(in_chunks(b"body", 4, "/fast")[:-2])
    for n in range(60):
        line.send(b"t%d: y\r\n" % n)
    one = line.one()
    assert (one.status, one.closes) == (431, True)
    assert not wire.echo.entered


def test_a_trailer_without_end_is_refused(wire: Wire, line: Line) -> None:
    """One line that never ends is held to the size of a head."""
    line.send(in_chunks(b"body", 4, "/fast")[:-2] + b"t: ")
    for _ in range(20):
        line.send(b"y" * 8_000)
    one = line.one()
    assert (one.status, one.closes) == (431, True)
    assert not wire.echo.entered


def test_a_few_trailers_are_fine(wire: Wire, line: Line) -> None:
    """They are read and change nothing about the request."""
    line.send(in_chunks(b"body", 4, "/fast")[:-2] + b"x: y\r\nhost: evil\r\n\r\n")
    assert line.one().body == b"body"
    assert wire.echo.entered[0][0].fields[b"host"] == b"h"


@pytest.mark.parametrize("chunks", [False, True])
def test_a_large_body_is_refused_and_what_is_behind_it_ignored(wire: Wire, line: Line, chunks: bool) -> None:
    """413 once; pipelined data behind a request that was refused before its end is no request."""
    body = b"x" * 120_000
    raw = in_chunks(body, 30_000, "/fast") if chunks else fast(body)
    line.send(raw + fast(b"behind"))
    one = line.one()
    assert (one.status, one.closes) == (413, True)
    assert not wire.echo.entered
    line.end.shutdown(socket.SHUT_WR)
    assert closed(line) or closed(line)


def test_a_refusal_waits_for_its_turn(wire: Wire, line: Line) -> None:
    """What came before a refused request is answered first, then the refusal, then nothing."""
    line.send(fast(b"first", "later") + b"nonsense\r\n\r\n")
    line.end.shutdown(socket.SHUT_WR)
    wire.turn()
    assert line.answers() == []
    wire.release()
    first, second = line.answers()
    assert first.body == b"first"
    assert (second.status, second.closes) == (400, True)
    assert closed(line)


def test_a_refused_host_is_refused_before_the_body_is_read(wire: Wire, line: Line) -> None:
    """The endpoint is never entered."""
    wire.refused = 403, Forbidden("not here")
    line.send(fast(b"secret"))
    one = line.one()
    assert (one.status, one.closes) == (403, True)
    assert not wire.echo.entered


def test_waiting_bodies_are_let_in_one_after_the_other(wire: Wire) -> None:
    """Beyond the worker's bytes connections are not read; none waits for ever, and the room is given back."""
    lines = [wire.connect() for _ in range(6)]
    requests = [fast((b"%d" % n) * 90_000, "later") for n in range(6)]
    for line, raw in zip(lines, requests, strict=True):
        line.send(raw[:500])
    for line, raw in zip(lines, requests, strict=True):
        line.send(raw[500:])
    assert wire.held == 1
    assert 90_000 <= wire.gate.held_bytes <= 150_000
    answered: list[bytes] = []
    for _ in range(20):
        while wire.held:
            wire.release()
        for line in lines:
            line.pump()
            answered += [body[:1] for body in bodies(line)]
    assert sorted(answered) == [b"0", b"1", b"2", b"3", b"4", b"5"]
    assert wire.gate.held_bytes == 0


def test_a_waiting_connection_that_is_lost_takes_no_room(wire: Wire) -> None:
    """Its turn comes after it is gone: the room goes to the next."""
    first, lost, third = (wire.connect() for _ in range(3))
    first.send(fast(b"a" * 90_000, "later"))
    lost.send(fast(b"b" * 90_000, "later")[:500])
    third.send(fast(b"c" * 90_000))
    lost.server.transport.abort()
    wire.turn()
    wire.release()
    third.pump()
    assert [body[:1] for body in bodies(first) + bodies(third)] == [b"a", b"c"]
    assert wire.gate.held_bytes == 0


# --- limits in time -------------------------------------------------------------------------------------


def test_a_slow_head_is_refused(wire: Wire, line: Line) -> None:
    """408 once the time is over, not before."""
    line.send(fast()[:30])
    wire.sweep(ms=900)
    assert line.answers() == []
    wire.sweep(ms=200)
    one = line.one()
    assert (one.status, one.closes) == (408, True)


def test_a_slow_head_behind_a_slow_answer_is_refused_once(wire: Wire, line: Line) -> None:
    """However often the sweeper looks, there is one refusal, in its turn."""
    line.send(fast(b"first", "later") + fast()[:30])
    for _ in range(50):
        wire.sweep(ms=1000)
    assert len(line.server.slots) == 2
    wire.release()
    assert [one.status for one in line.answers()] == [200, 408]


def test_a_slow_body_is_refused(wire: Wire, line: Line) -> None:
    """For requests that predict with 408; the application sees a disconnect."""
    line.send(fast(b"x" * 100)[:-1])
    wire.sweep(ms=2100)
    assert line.one().status == 408
    other = wire.connect()
    other.send(slow(b"x" * 100, "read")[:-1])
    wire.sweep(ms=2100)
    wire.turn(10)
    assert closed(other)
    assert wire.disconnects == 1


def test_time_in_which_the_server_does_not_read_is_not_the_clients(wire: Wire) -> None:
    """A body that waits for room is not refused for being late."""
    first, second = wire.connect(), wire.connect()
    first.send(fast(b"a" * 90_000, "later"))
    second.send(fast(b"b" * 90_000))
    wire.sweep(ms=1900)
    wire.sweep(ms=1900)
    wire.release()
    second.pump()
    assert [body[:1] for body in bodies(first) + bodies(second)] == [b"a", b"b"]


def test_idle_connections_are_closed(wire: Wire, line: Line) -> None:
    """After the keep-alive time since the last answer, and not while a request is in progress."""
    line.send(fast(b"a", "later"))
    wire.sweep(ms=6000)
    wire.release()
    assert bodies(line) == [b"a"]
    wire.sweep(ms=4000)
    assert not closed(line)
    wire.sweep(ms=1100)
    assert closed(line)


def test_a_client_that_does_not_read_is_cut_off(wire: Wire, line: Line) -> None:
    """While its answers pile up it is not read; after the time of a body the connection is aborted."""
    line.send(b"".join(fast(b"", "big") for _ in range(8)))
    assert line.server.control.read_paused
    assert len(wire.echo.entered) <= 8
    wire.sweep(ms=2100)
    wire.turn(10)
    assert line.server not in wire.gate.connections


def test_a_slow_reader_gets_everything(wire: Wire, line: Line) -> None:
    """A reader that reads, however slowly, is waited for."""
    line.send(b"".join(fast(b"", "big") for _ in range(4)))
    found = 0
    for _ in range(200):
        found += len(line.answers())
        wire.sweep(ms=100)
        if found == 4:
            break
    assert found == 4
    assert BIG_BYTES


# --- closing --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("note", ["", "later"])
@pytest.mark.parametrize("make", [fast, slow], ids=["predict", "application"])
def test_a_client_that_closes_its_side_gets_its_answer_and_the_end(
    wire: Wire, line: Line, make: object, note: str
) -> None:
    """Half-closed: what is owed is sent, then the connection ends at once."""
    assert callable(make)
    line.send(make(b"a", note))
    line.end.shutdown(socket.SHUT_WR)
    wire.turn()
    wire.release()
    if line.answers() or note:
        assert closed(line) or closed(line)


def test_half_a_request_before_the_end_does_not_cost_the_answers_before_it(wire: Wire, line: Line) -> None:
    """The unfinished request is dropped, those before it are answered."""
    line.send(fast(b"a", "later") + fast(b"b" * 50)[:-3])
    line.end.shutdown(socket.SHUT_WR)
    wire.turn()
    wire.release()
    assert bodies(line) == [b"a"]
    assert closed(line)
    assert len(wire.echo.entered) == 1
    assert wire.gate.held_bytes == 0


@pytest.mark.parametrize("closing", [("1.0",), ("1.1", "connection: close")], ids=["HTTP/1.0", "close"])
def test_nothing_behind_the_last_request_is_computed(wire: Wire, line: Line, closing: tuple[str, ...]) -> None:
    """A request that ends the connection is the last: what is pipelined behind it takes no room and no time."""
    version, *lines = closing
    line.send(fast(b"a" * 1000, "later", *lines, version=version) + fast(b"b" * 1000))
    assert len(wire.echo.entered) == 1
    wire.release()
    one = line.one()
    assert one.closes
    assert closed(line)
    assert wire.gate.held_bytes == 0


def test_an_old_client_sees_the_end_every_time(wire: Wire) -> None:
    """HTTP/1.0 connections end with their answer, also when the very same head came before."""
    for _ in range(3):
        line = wire.connect()
        line.send(fast(b"a", version="1.0"))
        assert line.one().closes
        assert closed(line)


@pytest.mark.parametrize(
    "raw",
    [
        b"OPTIONS * HTTP/1.1\r\nhost: h\r\n\r\n",
        b"GET /asgi HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        fast(b"a", "", "connection: upgrade", "upgrade: h2c"),
        b"GET http://[::1/ HTTP/1.1\r\nhost: h\r\n\r\n",
        b"CONNECT h:443 HTTP/1.1\r\nhost: h\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
    ids=["star", "websocket", "h2c", "bad target", "connect", "h2"],
)
def test_odd_requests_are_answered(wire: Wire, line: Line, raw: bytes) -> None:
    """Never silence and never a hang: an answer, and the end when nothing else can be said on the connection."""
    line.send(raw)
    one = line.one()
    assert one.status in (200, 400)
    if b"upgrade" in raw or one.status == 400:
        assert closed(line)


def test_shutdown_closes_idle_connections_and_answers_the_others(wire: Wire) -> None:
    """Draining: idle connections end, requests in progress are answered, then theirs end."""
    idle, quick, asgi = (wire.connect() for _ in range(3))
    quick.send(fast(b"a", "later"))
    asgi.send(slow(b"b", "read-later"))
    wire.gate.closing = True
    for one in (idle, quick, asgi):
        one.server.shutdown()
    wire.turn()
    assert closed(idle)
    assert not idle.server.busy
    while wire.held:
        wire.release()
    for line, body in ((quick, b"a"), (asgi, b"b")):
        answer = line.one()
        assert (answer.body, answer.closes) == (body, True)
        assert closed(line)
        assert not line.server.busy


def test_draining_answers_all_that_is_pipelined(wire: Wire, line: Line) -> None:
    """Only the last answer of a connection says that it closes."""
    line.send(fast(b"1", "later") + fast(b"2", "later") + fast(b"3", "later"))
    wire.gate.closing = True
    while wire.held:
        wire.release()
    found = line.answers()
    assert [(one.body, one.closes) for one in found] == [(b"1", False), (b"2", False), (b"3", True)]
    assert closed(line)


def test_a_lost_connection_marks_its_calls_gone(wire: Wire, line: Line) -> None:
    """Whoever holds the calls may drop them; their late answers disturb nobody."""
    line.send(fast(b"1", "later") + slow(b"2", "read-later") + fast(b"3", "later"))
    line.server.transport.abort()
    wire.turn()
    assert [call.gone for call in wire.echo.calls] == [True, True]
    while wire.held:
        wire.release()
    assert wire.gate.held_bytes == 0
    assert not line.server.slots


def test_a_call_is_not_gone_because_its_neighbour_is(wire: Wire, line: Line) -> None:
    """Connections share limits, not fates."""
    other = wire.connect()
    line.send(fast(b"1", "later"))
    other.send(fast(b"2", "later"))
    line.server.transport.abort()
    wire.turn()
    wire.release(1)
    assert bodies(other) == [b"2"]
    assert [call.gone for call in wire.echo.calls] == [True, False]
