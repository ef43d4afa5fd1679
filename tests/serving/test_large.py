"""Large bodies behind known heads: read past the parser, with the same answers, limits and ends as all others."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from kaname.serving.large import LARGE

from .wire import Line, Wire, fast

SIZE = 16 * LARGE


@pytest.fixture
def wire() -> Iterator[Wire]:
    wire = Wire(inflight_bytes=10 * SIZE)
    yield wire
    wire.close()


@pytest.fixture
def line(wire: Wire) -> Line:
    """A connection on which the head of `large` is known."""
    line = wire.connect()
    line.send(large(b"0"))
    assert line.one().body[:1] == b"0"
    return line


def large(mark: bytes, note: str = "") -> bytes:
    return fast(mark * SIZE, note)


def test_the_parser_never_sees_a_large_body_whose_head_is_known(wire: Wire, line: Line) -> None:
    """Its bytes go to their place, whole and in order; the next request is parsed as ever."""
    fed: list[int] = []
    parser = line.server.parser
    line.server.parser = type("Counting", (), {"feed_data": lambda _, data: fed.append(len(data))})()
    body = bytes(range(256)) * (SIZE // 256)
    line.send(fast(body))
    assert (line.one().body, fed) == (body, [])
    line.server.parser = parser
    line.send(fast(b"next", "another"))
    assert line.one().body == b"next"


def test_a_request_behind_a_large_body_is_read(line: Line) -> None:
    """What follows in the same write belongs to the next request."""
    line.send(large(b"a") + fast(b"b", "behind") + large(b"c"))
    first = line.answers()
    line.pump()
    assert [answer.body[:1] for answer in first + line.answers()] == [b"a", b"b", b"c"]


def test_answers_of_large_bodies_keep_their_order(wire: Wire, line: Line) -> None:
    """A request that is answered later holds back the answer of a large one behind it."""
    line.send(large(b"x", "later"))
    line.send(large(b"a"))
    assert line.answers() == []
    wire.release()
    assert [answer.body[:1] for answer in line.answers()] == [b"x", b"a"]


def test_nobody_writes_into_a_body(wire: Wire, line: Line) -> None:
    """A model that changes its input must not change what is recorded."""
    seen: list[bool] = []
    enter = wire.echo.enter

    def look(head: object, body: bytes | memoryview, reply: object) -> None:
        seen.append(isinstance(body, memoryview) and body.readonly)
        enter(head, body, reply)  # type: ignore[arg-type]  # as they came

    wire.echo.enter = look  # type: ignore[method-assign]  # the one endpoint of this wire
    line.send(large(b"a"))
    assert (line.one().status, seen) == (200, [True])


def test_a_large_body_that_does_not_arrive_is_refused_in_time(wire: Wire, line: Line) -> None:
    """The time limit of bodies holds; what comes late is thrown away and the connection ends."""
    line.send(large(b"a")[: -SIZE // 2])
    wire.sweep(ms=59_000)
    assert line.answers() == []
    wire.sweep(ms=2_000)
    assert line.one().status == 408
    line.send(b"a" * 1000)
    wire.sweep(ms=3_000)
    wire.until(line.ended)
    assert len(wire.echo.entered) == 1


@pytest.mark.parametrize("how", ["closed", "half closed"])
def test_a_client_that_leaves_in_the_middle_gives_its_room_back(wire: Wire, line: Line, how: str) -> None:
    """Nothing is computed for half a body."""
    line.send(large(b"a")[: -SIZE // 2])
    assert wire.gate.held_bytes == SIZE
    if how == "closed":
        line.end.close()
    else:
        line.end.shutdown(socket.SHUT_WR)
    wire.until(lambda: wire.gate.held_bytes == 0)
    assert len(wire.echo.entered) == 1


def test_without_room_the_body_waits_as_all_do(wire: Wire) -> None:
    """A large body never takes more than the worker may hold."""
    first, second = wire.connect(), wire.connect()
    first.send(large(b"0"))
    first.one()
    wire.gate.inflight_bytes = SIZE + 10
    first.send(large(b"a")[:-10])
    second.send(large(b"b"))
    assert wire.gate.held_bytes < 2 * SIZE
    assert len(second.unsent) > 0
    first.send(b"a" * 10)
    assert first.one().body[:1] == b"a"
    second.pump()
    assert second.one().body[:1] == b"b"
