"""The request path's one currency: a `Call` that steps hand on, and the single outcome that ends it.

A step never blocks and never awaits. It fills in its part of the call and enters the next step, or ends the
call. A step that cares about the result pushes a handler before it hands on; the end of the call unwinds the
handlers, last in first out, on the event loop's thread, and then tells the door that the request came through.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from copy import copy
from typing import Any, Literal, NamedTuple, get_args

import msgspec

from kaname.errors import KanameError
from kaname.tensors import Tensor

Cell = float | int | str | None
Row = Sequence[Cell]


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """The version that answers a call."""

    model: str
    model_id: int
    version: str
    version_id: int


Priority = Literal["critical", "high", "normal", "low"]
PRIORITIES: tuple[Priority, ...] = get_args(Priority)
"""How important a request is, the most important first; under overload the last are refused first."""
NORMAL = PRIORITIES.index("normal")


class Principal:
    """Who asks: an API key or a token, reduced to what the request path needs.

    `may_predict` is None when every model is allowed, else the names of those that are; `scopes` are the
    other scopes it holds. Those of some kinds hold for a time: false when that is over, so memories of one are asked
    with `or`. `limiter` takes rows and returns the seconds to wait (0.0: go ahead); None: no limit.
    `priority` is the index in `PRIORITIES` of its requests.
    """

    __slots__ = ("burst_rows", "key_id", "limiter", "may_predict", "name", "priority", "scopes")

    def __init__(
        self,
        key_id: str,
        name: str,
        *,
        may_predict: frozenset[str] | None,
        scopes: frozenset[str],
        limiter: Callable[[int], float] | None = None,
        burst_rows: int = 0,
        priority: int = NORMAL,
    ) -> None:
        self.key_id = key_id
        self.name = name
        self.may_predict = may_predict
        self.scopes = scopes
        self.limiter = limiter
        self.burst_rows = burst_rows
        self.priority = priority

    def at(self, priority: int) -> Principal:
        """The same with requests of another priority: a less important one; a more important one is not granted."""
        if priority <= self.priority:
            return self
        lowered = copy(self)
        lowered.priority = priority
        return lowered


Render = Callable[["Outputs"], list[str]]
"""Writes every row of a run as text."""


class Outputs:
    """The output tensors of one run, in the order of the signature; several calls own rows of it.

    `cells` are the rows that went in, as they were asked, where all of them are numbers (FP64, a row per row, NaN for
    null): one array for the record instead of each call's table. `cached`: a run of earlier, or of another's call.
    """

    __slots__ = ("_lists", "_rendered", "_texts", "cached", "cells", "tensors")

    def __init__(self, tensors: tuple[Tensor, ...], cells: Tensor | None = None, *, cached: bool = False) -> None:
        self.tensors = tensors
        self.cells = cells
        self.cached = cached
        self._lists: list[list[Any] | None] = [None] * len(tensors)
        self._texts: list[list[str] | None] = [None] * len(tensors)
        self._rendered: dict[Render, list[str]] = {}

    def as_list(self, output: int) -> list[Any]:
        """All rows of one output as nested Python lists, converted once for all calls of the run."""
        found = self._lists[output]
        if found is None:
            found = self._lists[output] = self.tensors[output].tolist()
        return found

    def as_texts(self, output: int) -> list[str]:
        """The numbers of each row as JSON, separated by commas, for an output of one or two dimensions.

        Written once for all calls of the run: ten times cheaper than number by number. NaN and infinity are null.
        """
        found = self._texts[output]
        if found is None:
            rows = self.as_list(output)
            text = msgspec.json.encode(rows).decode()
            nested = self.tensors[output].ndim == 2
            found = self._texts[output] = (text[2:-2].split("],[") if nested else text[1:-1].split(",")) if rows else []
        return found

    def rendered(self, render: Render) -> list[str]:
        """What `render` makes of each row, made once for all calls of the run."""
        found = self._rendered.get(render)
        if found is None:
            found = self._rendered[render] = render(self)
        return found


class Answer:
    """Rows `start` to `stop` of a run's outputs; a `stop` of None: all of it, also where it has no rows."""

    __slots__ = ("outputs", "start", "stop")

    def __init__(self, outputs: Outputs, start: int, stop: int | None) -> None:
        self.outputs = outputs
        self.start = start
        self.stop = stop

    def tensors(self) -> tuple[Tensor, ...]:
        """This answer's own rows of every output, as views."""
        start, stop = self.start, self.stop
        if stop is None:
            return self.outputs.tensors
        return tuple(t[start:stop] for t in self.outputs.tensors)


Outcome = Answer | KanameError
Step = Callable[["Call"], None]
Handler = Callable[["Call", Outcome], Outcome | None]
"""Receives the outcome on its way back and returns it, or another in its place. None means that the handler
keeps the call and will end it later itself; the handlers below it then run at that time."""
Together = Callable[[Sequence["Call"], Outputs], None]
"""Is told of all calls that one run answered, in the order of their rows, at once and behind their doors."""


TraceOf = Callable[["Call"], str]
"""The id of the trace that a call belongs to."""


class Observer(NamedTuple):
    """What sees the end of every call: `each` alone, or `together` all calls that one run answered, where it can.
    `traced` makes what sees traced calls in the place of `each`; None: that does."""

    each: Handler
    together: Together | None = None
    traced: Callable[[TraceOf], Handler] | None = None


Handlers = tuple[Handler, "Handlers", Together | None] | None
"""Handlers in the order in which they run: the first, and those behind it. Calls share the ends of their chains. The
third is all that the chain does to calls that one run answered, where it can be done to many of them at once."""
Door = Callable[["Call", Outcome], None]


class Dropped:
    """Counts outcomes that came for calls that had already ended (a late answer after a deadline)."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


DROPPED = Dropped()
LOG = logging.getLogger("kaname.call")


class Call:
    """One request on its way to an answer.

    The input is either `table` (rows of plain Python cells, for tabular models: the batcher writes many of
    them into one matrix at once) or `tensors` (arrays in the signature's order whose first dimension is
    `rows`). `started_ns`, `deadline_ns` and `ended_ns` are monotonic nanoseconds; a deadline of 0 means none,
    an end of 0 that it has not come: the first handler that reads the clock for it sets it. `form` is the protocol's
    own note on how the answer should look, `reply` the door's on where it goes. `gone` is set when the caller left:
    whoever holds the call next may drop it.
    """

    __slots__ = (
        "_handlers",
        "deadline_ns",
        "done",
        "door",
        "ended_ns",
        "form",
        "gone",
        "principal",
        "reply",
        "request_id",
        "rows",
        "started_ns",
        "table",
        "target",
        "tensors",
        "wanted",
    )

    target: Target
    wanted: Any
    """What is to be read for it before it can be answered: set, to None at least, where a model reads features."""

    def __init__(
        self,
        request_id: str,
        principal: Principal,
        door: Door,
        rows: int,
        table: Sequence[Row] | None = None,
        tensors: tuple[Tensor, ...] | None = None,
        started_ns: int = 0,
        deadline_ns: int = 0,
        observers: Handlers = None,
    ) -> None:
        """`observers` are the handlers that run with the outcome behind those pushed later."""
        self.request_id = request_id
        self.principal = principal
        self.door = door
        self.rows = rows
        self.table = table
        self.tensors = tensors
        self.started_ns = started_ns
        self.deadline_ns = deadline_ns
        self.ended_ns = 0
        self.form: object = None
        self.reply: Any = None
        self.done = False
        self.gone = False
        self._handlers = observers

    def back(self, handler: Handler) -> None:
        """Run `handler` with the outcome when the call ends, before the handlers pushed earlier."""
        self._handlers = (handler, self._handlers, None)

    def answer(self, outputs: Outputs, start: int, stop: int | None) -> None:
        """End the call with rows `start` to `stop` of `outputs`."""
        self.end(Answer(outputs, start, stop))

    def fail(self, error: KanameError) -> None:
        """End the call with `error`."""
        self.end(error)

    def end(self, outcome: Outcome) -> None:
        """Unwind the handlers and tell the door; an outcome for a call that has ended is dropped and counted."""
        while not self.done:  # asked again behind each handler: it may have ended the call itself
            handlers = self._handlers
            if handlers is None:
                self.done = True
                try:
                    self.door(self, outcome)
                except Exception:
                    LOG.exception("the door failed to deliver the answer of request %s", self.request_id)
                return
            handler, self._handlers, _ = handlers
            try:
                kept = handler(self, outcome)
            except Exception as error:  # noqa: BLE001  (the guard: a handler's fault fails its own call only)
                outcome = as_error(error)
                continue
            if kept is None:
                return
            outcome = kept
        DROPPED.count += 1


def answer_all(calls: Sequence[Call], outputs: Outputs, now_ns: Callable[[], int]) -> None:
    """End the calls of one run, each with its rows of `outputs`, which lie in the order of the calls.

    Calls that share a chain of handlers (the usual case: those of one version) are answered first and then handed to
    the chain together; others end one by one.
    """
    chain = calls[0]._handlers
    together = None if chain is None else chain[2]
    for call in calls:
        if call._handlers is not chain or call.done:
            together = None
            break
    start = 0
    for call in calls:
        stop = start + call.rows
        if together is None:
            call.end(Answer(outputs, start, stop))
        else:
            call.ended_ns = now_ns()
            call._handlers = None
            call.done = True
            try:
                call.door(call, Answer(outputs, start, stop))
            except Exception:
                LOG.exception("the door failed to deliver the answer of request %s", call.request_id)
        start = stop
    if together is not None:
        together(calls, outputs)


def as_error(error: BaseException) -> KanameError:
    """`error` itself if a caller may see it, else an internal error that names its type and keeps it as cause.

    What the caller may not see is logged.
    """
    if isinstance(error, KanameError):
        return error
    LOG.error("a fault inside the server", exc_info=error)
    wrapped = KanameError(f"{type(error).__name__} inside the server; the log has the details")
    wrapped.__cause__ = error
    return wrapped


def enter(step: Step, call: Call) -> None:
    """Enter `step` under the guard: an exception ends this call and nothing else."""
    try:
        step(call)
    except Exception as error:  # noqa: BLE001  (the guard)
        call.fail(as_error(error))


async def ask(step: Step, make: Callable[[Door], Call]) -> Answer:
    """Send the call that `make` builds around a door through `step` and wait for its answer.

    Raises the KanameError that ended the call. Cancelling the waiter marks the call gone.
    """
    done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    def door(_: Call, outcome: Outcome) -> None:
        if not done.done():
            done.set_result(outcome)

    call = make(door)
    enter(step, call)
    try:
        outcome = await done
    except asyncio.CancelledError:
        call.gone = True
        raise
    if isinstance(outcome, KanameError):
        raise outcome
    return outcome
