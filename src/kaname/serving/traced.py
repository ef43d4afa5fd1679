"""Requests that are traced: the same path with marks of time, composed beside the plain one.

Each URL has two endpoints. A request that is not traced enters the plain one and pays for the decision only. One that
is traced enters the other, whose steps and observers note when they were reached; its spans are built from these marks
later, on the thread that sends them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from kaname.call import Answer, Call, Handler, Handlers, Outcome
from kaname.clock import Clock
from kaname.errors import KanameError
from kaname.inference.lane import Ran, Run
from kaname.serving.endpoint import Path
from kaname.serving.exchange import Body, Endpoint, Head, Reply
from kaname.serving.gate import Gate
from kaname.serving.marks import Marks, Place, Server, route_of
from kaname.serving.meters import LATENCY
from kaname.telemetry.exemplars import Exemplar, Exemplars
from kaname.telemetry.logs import Throttle
from kaname.telemetry.metrics import LATENCY_S
from kaname.telemetry.otlp.opened import Sending
from kaname.telemetry.spans import Spool
from kaname.telemetry.tracecontext import Sampler, echo, parent_of, state_of, traceparent, untraced

LOG = logging.getLogger("kaname.traced")
ASK_SOMEONE = frozenset({"internal", "model_failed", "corrupt_data"})
"""Errors that a person looks for in the log; the line there leads to the trace."""


class Tracing:
    """What all traced requests of a worker share. Belongs to the event loop."""

    def __init__(self, sampler: Sampler, spool: Spool, exemplars: Exemplars, clock: Clock, server: Server) -> None:
        self.sampler = sampler
        self.spool = spool
        self.clock = clock
        self.server = server
        self.running: dict[Call, Marks] = {}
        """The traced calls in progress."""
        self._exemplars = exemplars
        self._throttle = Throttle(clock)

    def endpoint(self, place: Place, plain: Endpoint, marked: Endpoint) -> Endpoint:
        """One endpoint of two: `marked` for requests that are traced."""
        return TracedEndpoint(self, place, plain, marked)

    def place(self, url: str, model: str, version: str | None, *, grpc: bool) -> Place:
        """What is asked at `url`, which is a method where `grpc`."""
        return Place(self.server, grpc, url.removeprefix("/") if grpc else route_of(url), model, version)

    def path(self, path: Path) -> Path:
        """The path of a version for traced calls."""
        running, now, steps = self.running, self.clock.monotonic_ns, path.step

        def marked(call: Call) -> None:
            running[call].decoded_ns = now()
            steps(call)

        observers = path.observers
        if path.record is not None and path.record.traced is not None and observers is not None:
            observers = path.record.traced(self._trace_of), observers[1], None
        return Path(_behind(observers, self._ended), marked, path.full)

    def _trace_of(self, call: Call) -> str:
        marks = self.running.get(call)
        return "" if marks is None else marks.trace_id

    def ran(self, then: Ran) -> Ran:
        """What a lane tells, to `then` and to the traced calls of the run."""
        running = self.running

        def ran(run: Run) -> None:
            then(run)
            if running:
                self._ran(run)

        return ran

    def _ran(self, run: Run) -> None:
        for call in run.calls:
            marks = self.running.get(call)
            if marks is not None:
                marks.run_ns, marks.input_ns, marks.compute_ns = run.began_ns, run.input_ns, run.compute_ns
                marks.batch_rows, marks.batch_calls = run.rows, len(run.calls)

    def outgoing(self, calls: Sequence[Call]) -> Mapping[str, str]:
        """The headers for a server that is asked on behalf of `calls`: it belongs to the run of the first of them that
        is traced. On any thread."""
        for call in calls:
            marks = self.running.get(call)
            if marks is not None:
                marks.run_id = self.sampler.span_id()
                own = {"traceparent": traceparent(marks.trace_id, marks.run_id).decode()}
                return {**own, "tracestate": marks.state} if marks.state else own
        return {}

    def _ended(self, call: Call, outcome: Outcome) -> Outcome:
        """The last observer: what it sees is what the door answers."""
        marks = self.running.pop(call, None)
        if marks is None:
            return outcome
        marks.request_id, marks.rows = call.request_id, call.rows
        marks.started_ns, marks.ended_ns = call.started_ns, self.clock.monotonic_ns()
        if call.gone:
            self.finish(marks, 0, 0)
        elif isinstance(outcome, Answer):
            marks.cached = outcome.outputs.cached
            self._show(call, marks)
        else:
            marks.error = outcome
            self._say(outcome, call, marks)
        return outcome

    def _show(self, call: Call, marks: Marks) -> None:
        """Let the bucket of the latency histogram that the call fell into lead to its trace."""
        target, seconds = call.target, (call.ended_ns - call.started_ns) / 1e9
        labels = (("model", target.model), ("version", target.version))
        wall_ns = marks.wall_ns + call.ended_ns - marks.began_ns
        shown = Exemplar(
            name=LATENCY, labels=labels, value=seconds, time_ns=wall_ns, trace_id=marks.trace_id, span_id=marks.span_id
        )
        self._exemplars.note(shown, LATENCY_S)

    def _say(self, error: KanameError, call: Call, marks: Marks) -> None:
        if error.code not in ASK_SOMEONE:
            return
        held_back = self._throttle.due((call.target.version_id, error.code))
        if held_back is not None:
            LOG.error(
                "request %s to %s@%s failed with %s: trace_id=%s span_id=%s (%d more since)",
                call.request_id, call.target.model, call.target.version, error.code, marks.trace_id, marks.span_id,
                held_back,
            )  # fmt: skip

    def begin(self, place: Place, head: Head, body_bytes: int) -> Marks | None:
        """The marks of a request that is traced, else None: as its caller says, or by the sampler where it says
        nothing, or nothing valid."""
        given = head.fields.get(b"traceparent")
        parent = None if given is None else parent_of(given)
        if parent is None:
            low = self.sampler.draw()
            return self.root(low, place, head, body_bytes) if low < self.sampler.bound else None
        if not parent.sampled:
            return None
        state = state_of(head.fields.get(b"tracestate", b""))
        return self._marks(place, head, body_bytes, parent.trace_id, parent.span_id, state)

    def root(self, low: int, place: Place, head: Head, body_bytes: int) -> Marks:
        """The marks of a request that begins a trace, whose id was drawn."""
        return self._marks(place, head, body_bytes, self.sampler.root(low))

    def _marks(
        self, place: Place, head: Head, body_bytes: int, trace_id: str, parent_id: str = "", state: str = ""
    ) -> Marks:
        clock = self.clock
        ids = trace_id, self.sampler.span_id(), parent_id, state
        marks = Marks(place, *ids, clock.monotonic_ns(), clock.time_ns())
        marks.fields, marks.path, marks.body_bytes = head.fields, head.target, body_bytes
        return marks

    def finish(self, marks: Marks, status: int, answer_bytes: int) -> None:
        """The request has been answered, or (a status of 0) nobody waits for the answer any more."""
        if not marks.answered_ns:
            marks.answered_ns = self.clock.monotonic_ns()
            marks.status, marks.answer_bytes = status, answer_bytes
            self.spool.offer(marks)


def tracing_of(sending: Sending, clock: Clock, gate: Gate, grpc_port: int) -> Tracing | None:
    """What decides which requests are traced; None where no traces are sent."""
    if sending.traces is None:
        return None
    gate.echo = echo
    settings = gate.settings
    server = Server("http" if settings.tls.certificate is None else "https", settings.host, settings.port, grpc_port)
    sampler = Sampler(sending.ratio, Random())  # noqa: S311  (no secret)
    return Tracing(sampler, sending.traces, sending.exemplars, clock, server)


def _behind(observers: Handlers, last: Handler) -> Handlers:
    """The observers with `last` behind them."""
    return (last, None, None) if observers is None else (observers[0], _behind(observers[1], last), None)


class TracedEndpoint:
    """One URL, for requests that are traced and for the others."""

    def __init__(self, tracing: Tracing, place: Place, plain: Endpoint, marked: Endpoint) -> None:
        self._place = place
        self._tracing = tracing
        self._draw, self._bound = tracing.sampler.draw, tracing.sampler.bound
        self._plain = plain
        self._enter_plain = plain.enter
        self._marked = marked
        self.lasting = plain.lasting

    def enter(self, head: Head, body: Body, reply: Reply) -> None:
        """Answer through `reply`, now or later on the loop."""
        given = head.fields.get(b"traceparent")
        if given is None:
            low = self._draw()
            if low >= self._bound:  # the usual case, without another function call
                self._enter_plain(head, body, reply)
                return
            marks: Marks | None = self._tracing.root(low, self._place, head, len(body))
        else:
            marks = None if untraced(given) else self._tracing.begin(self._place, head, len(body))
        if marks is None:
            self._enter_plain(head, body, reply)
        else:
            self._marked.enter(head, body, TracedReply(self._tracing, marks, reply))

    def refuse(self, status: int, error: KanameError, head: Head, reply: Reply) -> None:
        """Answer a request that was not read to its end."""
        marks = self._tracing.begin(self._place, head, 0)
        if marks is not None:
            reply = TracedReply(self._tracing, marks, reply)
        self._plain.refuse(status, error, head, reply)


class TracedReply:
    """The reply of a request that is traced: everything of `reply`, and it notes the answer."""

    __slots__ = ("_marks", "_reply", "_tracing")

    def __init__(self, tracing: Tracing, marks: Marks, reply: Reply) -> None:
        self._tracing = tracing
        self._marks = marks
        self._reply = reply

    @property
    def call(self) -> Call | None:
        """For the door that made the reply."""
        return self._reply.call

    @call.setter
    def call(self, call: Call | None) -> None:
        if call is not None:
            self._tracing.running[call] = self._marks
        self._reply.call = call

    def send(self, status: int, head: bytes, body: bytes) -> None:
        """Answer; a request that came without a trace is told its own."""
        marks = self._marks
        if not marks.parent_id:
            head += b"traceparent: %b\r\n" % traceparent(marks.trace_id, marks.span_id)
        self._reply.send(status, head, body)
        self._tracing.finish(marks, status, len(body))

    def __getattr__(self, name: str) -> Any:
        """What a protocol's own reply knows besides (the message of a gRPC call)."""
        return getattr(self._reply, name)
