"""`ModelStreamInfer`: many requests and their answers, in order, on one stream."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue

import grpc

from kaname.call import as_error
from kaname.errors import Forbidden, InvalidInput, Unauthenticated, Unavailable
from kaname.protobuf.messages import Message, kind, parse
from kaname.serving.grpc.codec import REQUEST
from kaname.serving.grpc.door import Door, error_text, refused
from kaname.serving.grpc.status import refusal
from kaname.serving.grpc.ticket import LOOK_S, Asked, Awaited
from kaname.varint import varint

RESPONSE = kind("inference.ModelStreamInferResponse")
AHEAD = 32
"""Requests of one stream that may be in progress at once: they share batches with those of other callers."""
_INFER_RESPONSE = b"\x12"
"""Tag of the field `infer_response`."""
_OF_CALLER = frozenset(refusal(error(""), "", "")[0] for error in (Unauthenticated, Forbidden))
"""Statuses that end the stream: what comes after would be refused as well."""
Arrived = tuple[Awaited | InvalidInput, str] | None


class Stream:
    """One open stream. Its requests are read on a thread of its own while answers are written.

    A request that is refused is answered with a message that says why, and the stream goes on.
    """

    def __init__(
        self,
        door: Door,
        asked: Callable[[Message], Asked],
        context: grpc.ServicerContext,
        closing: threading.Event,
    ) -> None:
        """`closing` is set when the server leaves: the stream then ends once what has arrived is answered."""
        self._door = door
        self._asked = asked
        self._context = context
        self._arrived: SimpleQueue[Arrived] = SimpleQueue()
        self._room = threading.Semaphore(AHEAD)
        self._closing = closing
        self._ended = False

    def answers(self, bodies: Iterator[bytes]) -> Iterator[bytes]:
        """The answers to `bodies`, as they become ready, in order."""
        threading.Thread(target=self._read, args=(bodies,), name="kaname-grpc-reader", daemon=True).start()
        try:
            while (arrived := self._next()) is not None:
                answer = self._answer(*arrived)
                if answer is None:
                    return
                yield answer
                self._room.release()
        finally:
            self._ended = True
            self._room.release()

    def _next(self) -> Arrived:
        """What has arrived next; None at the end. Raises Unavailable when the server leaves."""
        while True:
            try:
                return self._arrived.get(timeout=LOOK_S)
            except Empty:
                if self._closing.is_set():
                    raise Unavailable("the server is leaving", expected="the same request to another worker") from None

    def _read(self, bodies: Iterator[bytes]) -> None:
        try:
            for body in bodies:
                self._room.acquire()
                if self._ended:
                    return
                self._arrived.put(self._enter(body))
        except Exception as error:  # noqa: BLE001  (grpc ends the iterator of a cancelled stream with an exception)
            if self._context.is_active():
                as_error(error)
        finally:
            self._arrived.put(None)

    def _enter(self, body: bytes) -> tuple[Awaited | InvalidInput, str]:
        try:
            request = parse(REQUEST, body)
        except InvalidInput as error:
            return error, ""
        return self._door.enter(self._asked(request), request, len(body), self._context, Awaited), request.id

    def _answer(self, ticket: Awaited | InvalidInput, caller_id: str) -> bytes | None:
        """The bytes of a response; None when the caller has left."""
        if isinstance(ticket, InvalidInput):
            return _failed(str(ticket), caller_id)
        if not ticket.wait(self._context):
            return None
        if ticket.status == 200:
            return _wrapped(ticket.body)
        if ticket.status in _OF_CALLER:
            refused(self._context, ticket)
        return _failed(error_text(ticket), caller_id)


def _wrapped(answer: bytes) -> bytes:
    return b"".join((_INFER_RESPONSE, varint(len(answer)), answer))


def _failed(message: str, caller_id: str) -> bytes:
    found: bytes = RESPONSE(error_message=message, infer_response={"id": caller_id}).SerializeToString()
    return found
