"""Answers piece by piece: models that yield, each stream on a thread of its own, beside the batches of the lanes."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Protocol

from kaname.call import Answer, Call, Outcome, Outputs, Step, as_error
from kaname.errors import CallerLeft, InvalidInput, KanameError, ModelFailed, Overloaded
from kaname.inference.gather import gather_for, strict_context
from kaname.inference.lane import Lane
from kaname.inference.residency import Residency
from kaname.inference.resident import Resident
from kaname.resilience.deadlines import Deadlines
from kaname.runtimes.types import Session, Streaming
from kaname.signature import Signature
from kaname.tensors import Tensor

AHEAD = 16
"""Pieces that wait for a slow reader; then the model waits."""
LOOK_S = 0.1


class Listener(Protocol):
    """The reply of a streamed call."""

    room: threading.Semaphore
    """Taken for each piece by the stream's thread, given back by whoever has passed the piece on."""

    def piece(self, call: Call, answer: Answer) -> None:
        """Pass on one piece, on the loop."""


class Streams:
    """The streams of one worker, at most `most` at once. The last piece of a stream is its answer for the record."""

    def __init__(self, most: int, residency: Residency, deadlines: Deadlines, loop: asyncio.AbstractEventLoop) -> None:
        self._most = most
        self._residency = residency
        self._deadlines = deadlines
        self._loop = loop
        self._threads: set[threading.Thread] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False

    def step(self, resident: Resident) -> Step:
        """The step that ends the request path of a streamed call, whose `reply` is a Listener."""

        def stream(call: Call) -> None:
            if call.deadline_ns:
                self._deadlines.watch(call)
                call.back(self._forget)
            task = self._loop.create_task(self._begin(call, resident))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        return stream

    async def _begin(self, call: Call, resident: Resident) -> None:
        lane = None
        try:
            lane = await self._residency.lease(resident)
            session = _streaming(lane.session, resident)
            if len(self._threads) >= self._most:
                found = f"{len(self._threads)} streams in progress"
                raise Overloaded("no more streams at once", found=found, retry_after_s=1.0)
        except Exception as error:  # noqa: BLE001  (the guard: this request only)
            if lane is not None:
                lane.let_go()
            call.fail(as_error(error))
            return
        run = _Run(call, session, resident.info.signature, self._loop, lambda: self._closing)
        self._start(run, lane, f"stream-{resident.info.model}")

    def _start(self, run: _Run, lane: Lane, name: str) -> None:
        thread = threading.Thread(target=run, name=name, daemon=True)
        self._threads.add(thread)

        def over() -> None:
            self._threads.discard(thread)
            lane.let_go()

        run.over = over
        thread.start()

    def _forget(self, call: Call, outcome: Outcome) -> Outcome:
        self._deadlines.forget(call)
        return outcome

    def close(self) -> None:
        """Let every stream end at its next piece, and wait for them. Blocks: on a thread."""
        self._closing = True
        for thread in list(self._threads):
            thread.join(timeout=30)


def _streaming(session: Session, resident: Resident) -> Streaming:
    if isinstance(session, Streaming) and session.streams:
        return session
    info = resident.info
    found = "a Python model without it" if info.runtime == "python" else f"runtime {info.runtime}"
    expected = "a Python model with a method `stream`"
    raise InvalidInput("this model has no pieces to stream", where=info.model, found=found, expected=expected)


class _Run:
    """The body of one stream's thread."""

    def __init__(
        self,
        call: Call,
        session: Streaming,
        signature: Signature,
        loop: asyncio.AbstractEventLoop,
        closing: Callable[[], bool],
    ) -> None:
        self._call = call
        self._session = session
        self._signature = signature
        self._loop = loop
        self._closing = closing
        self._last: Outputs | None = None
        self.over: Callable[[], None] = lambda: None
        """Told on the loop when the thread has nothing more to do."""

    def __call__(self) -> None:
        """Never raises: whatever happens ends the call."""
        try:
            outcome = self._pieces()
        except Exception as raised:  # noqa: BLE001  (the guard)
            outcome = _explained(raised)
        self._post(functools.partial(self._end, outcome))

    def _pieces(self) -> Outputs | KanameError:
        """Post every piece; the last one, or the error that ends the stream."""
        inputs, _ = strict_context().run(gather_for(self._signature), [self._call])
        pieces = self._session.stream(inputs)
        try:
            for tensors in pieces:
                if not self._room():
                    return CallerLeft("the caller left before the answer")
                self._last = last = self._checked(tensors)
                self._post(functools.partial(self._pass_on, last))
        finally:
            _close(pieces)
        if self._last is None:
            return ModelFailed("the model ended its stream without a piece", where="stream")
        return self._last

    def _room(self) -> bool:
        """Wait until the reader has room; False when nobody waits for more."""
        while self._wanted():
            listener: Listener | None = self._call.reply
            if listener is None:
                return False
            if listener.room.acquire(timeout=LOOK_S):
                return self._wanted()
        return False

    def _wanted(self) -> bool:
        return not (self._call.done or self._call.gone or self._closing())

    def _checked(self, tensors: tuple[Tensor, ...]) -> Outputs:
        rows = self._call.rows
        for spec, tensor in zip(self._signature.outputs, tensors, strict=True):
            if self._signature.batched and (not tensor.ndim or tensor.shape[0] != rows):
                found = str(tensor.shape)
                raise ModelFailed(
                    "a piece has not one row per input row", where=spec.name, found=found, expected=str(rows)
                )
        return Outputs(tensors)

    def _pass_on(self, piece: Outputs) -> None:
        call = self._call
        if not call.done and not call.gone and call.reply is not None:
            call.reply.piece(call, Answer(piece, 0, None))

    def _end(self, outcome: Outputs | KanameError) -> None:
        self.over()
        if self._call.done:
            return
        if isinstance(outcome, Outputs):
            self._call.answer(outcome, 0, None)
        else:
            self._call.fail(outcome)

    def _post(self, work: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(work)
        except RuntimeError:
            return  # the loop has closed: nobody waits any more


def _close(pieces: Iterator[tuple[Tensor, ...]]) -> None:
    """Run what the model has in `finally`."""
    close = getattr(pieces, "close", None)
    if close is not None:
        close()


def _explained(error: Exception) -> KanameError:
    if isinstance(error, KanameError):
        return error
    lines = str(error).strip().splitlines() or ["no message"]
    failed = ModelFailed(f"the model raised {type(error).__name__}: {lines[0][:300]}")
    failed.__cause__ = error
    return failed
