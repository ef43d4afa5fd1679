"""A connection under a client that does anything: answers come in order, each once, and nothing is left behind."""

from __future__ import annotations

import socket

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from .wire import BIG_BYTES, Wire, fast, in_chunks, slow
from .world import Response

MOST = 40
notes = st.sampled_from(["", "later", "read", "read-later", "big", "big-later"])
sizes = st.sampled_from([0, 1, 5, 700, 70_000])
REPEATED = 400_000
"""The body of requests whose heads are equal to the last byte."""


class ConnectionMachine(RuleBasedStateMachine):
    """Requests of both kinds, split anywhere; answers released in any order; readers slow, half closed or gone."""

    def __init__(self) -> None:
        super().__init__()
        self.wire = Wire(inflight_bytes=900_000)
        self.line = self.wire.connect()
        self.other = self.wire.connect()
        self.pending = b""
        self.expected: list[tuple[int, bytes]] = []
        self.ends: list[int] = []
        self.made = 0
        self.sent = 0
        self.got = 0
        self.finished = False
        self.gone = False

    @precondition(lambda self: not self.finished and len(self.ends) < MOST)
    @rule(quick=st.booleans(), note=notes, size=sizes, how=st.sampled_from(["length", "chunks", "expect"]))
    def request(self, quick: bool, note: str, size: int, how: str) -> None:
        """One more request joins what the client is about to send."""
        number = len(self.ends)
        body = (b"%d:" % number).ljust(size, b"x")
        note = f"{number}-{note}"
        if how == "chunks":
            raw = in_chunks(body, max(1, size // 3), f"/{'fast' if quick else 'asgi'}?{note}")
        else:
            lines = ["expect: 100-continue"] if how == "expect" else []
            raw = (fast if quick else slow)(body, note, *lines)
        whole = body if quick or "read" in note else f"/asgi?{note}".encode()
        padded = BIG_BYTES if quick and "big" in note and "later" not in note else 0
        self.expected.append((padded, whole))
        self.pending += raw
        self.made += len(raw)
        self.ends.append(self.made)

    @precondition(lambda self: not self.finished and len(self.ends) < MOST)
    @rule()
    def repeat(self) -> None:
        """A large request with the same head as others; a whole one after it, as the parser must still be in step."""
        body = (b"%d:" % len(self.ends)).ljust(REPEATED, b"x")
        for raw, whole in ((fast(body, "again"), body), (fast(b"next", "again"), b"next")):
            self.expected.append((0, whole))
            self.pending += raw
            self.made += len(raw)
            self.ends.append(self.made)

    @rule(size=st.sampled_from([1, 2, 7, 40, 100, 1000, 100_000, 1_000_000]))
    def send(self, size: int) -> None:
        """The next bytes go out, cut anywhere."""
        if not self.gone and not self.line.unsent and self.pending:
            piece, self.pending = self.pending[:size], self.pending[size:]
            self.sent += len(piece)
            self.line.send(piece)

    @rule(which=st.integers(0, 40))
    def release(self, which: int) -> None:
        """One of the answers that wait is ready."""
        self.wire.release(which)

    @rule(size=st.sampled_from([1, 100, 100_000]))
    def read(self, size: int) -> None:
        """A slow reader takes a little."""
        if not self.gone:
            self.line.take(size)
            self.wire.turn()

    @rule()
    def read_all(self) -> None:
        if not self.gone:
            self.check(self.line.answers())

    @rule()
    def sweep(self) -> None:
        self.wire.sweep(ms=10)

    @precondition(lambda self: not self.finished)
    @rule(note=st.sampled_from(["", "later"]))
    def neighbour(self, note: str) -> None:
        """Another connection shares the limits."""
        self.other.send(fast(b"n" * 50_000, note))

    @precondition(lambda self: not self.finished and len(self.ends) > 2)
    @rule()
    def half_close(self) -> None:
        """The client has sent all it wants, perhaps in the middle of a request."""
        if self.line.unsent:
            return
        self.finished = True
        self.pending = b""
        self.line.end.shutdown(socket.SHUT_WR)
        self.wire.turn()

    @precondition(lambda self: not self.finished and self.line.server.slots)
    @rule()
    def vanish(self) -> None:
        """The client is gone."""
        self.finished = self.gone = True
        self.line.end.close()
        self.wire.turn()

    def check(self, answers: list[Response]) -> None:
        for one in answers:
            padded, body = self.expected[self.got]
            assert one.status == 200, one.raw[:300]
            assert one.body[: len(body)] == body, f"answer {self.got} is another's"
            assert len(one.body) == len(body) + padded
            self.got += 1

    @invariant()
    def the_connection_is_sane(self) -> None:
        server = self.line.server
        assert len(server.slots) <= 33
        assert self.wire.gate.held_bytes >= 0
        if server not in self.wire.gate.connections:
            assert not server.slots

    def teardown(self) -> None:
        line, wire = self.line, self.wire
        if not self.finished:
            line.send(self.pending)
            self.sent += len(self.pending)
        if not self.gone:
            whole = sum(end <= self.sent for end in self.ends)
            for _ in range(600):
                line.pump()
                if self.got >= whole and not self.finished:
                    break
                while wire.held:
                    wire.release()
                self.check(line.answers())
                self.other.answers()
                if line.eof and not line.read:
                    break
            cut = self.finished and self.sent not in (0, *self.ends)
            if not cut or self.got >= whole or not line.eof:
                assert self.got >= whole, "a request was not answered"  # more: the application may answer early
            if self.finished:
                wire.until(line.ended)
            else:
                assert not line.eof
                line.send(fast(b"and again"))
                while wire.held:
                    wire.release()
                assert line.one().body == b"and again"
        wire.close()


ConnectionMachine.TestCase.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestConnection = pytest.mark.slow(ConnectionMachine.TestCase)
