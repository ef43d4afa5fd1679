"""One gRPC call on its way to the event loop and back."""

from __future__ import annotations

from _thread import allocate_lock
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import grpc

from kaname.call import Call
from kaname.errors import KanameError
from kaname.protobuf.messages import Message
from kaname.serving.grpc.status import refusal
from kaname.serving.routes import Form

LOOK_S = 0.25
"""How often a thread that waits looks whether its caller is still there."""
Metadata = tuple[tuple[str, str | bytes], ...]


class Asked(NamedTuple):
    """What a message asks: a model by name, a version of it (None: the one that answers) or a label for one, through
    `form`, at the method `instance`."""

    form: Form
    instance: str
    ref: str
    version: str | None
    labelled: bool = False


class Ticket:
    """The `Reply` of one call, answered on the loop.

    `status` is 200 for an answer, else the number of a gRPC status; `head` then holds its metadata, as header lines,
    and `body` its details. `size` is that of the message in bytes.
    """

    __slots__ = (
        "asked", "body", "call", "deadline_ns", "done", "head", "metadata", "release", "request", "size",
        "status",
    )  # fmt: skip

    def __init__(self, asked: Asked, request: Message, size: int, metadata: Metadata, deadline_ns: int) -> None:
        self.asked = asked
        self.request = request
        self.size = size
        self.metadata = metadata
        self.deadline_ns = deadline_ns
        self.call: Call | None = None
        self.status = 0
        self.head = b""
        self.body = b""
        self.done = False
        self.release: Callable[[int], None] | None = None

    def send(self, status: int, head: bytes, body: bytes) -> None:
        """Take the answer; a second one is dropped."""
        if self.done:
            return
        self.done = True
        self.status, self.head, self.body = status, head, body
        if self.release is not None:
            self.release(self.size)
        self.deliver()

    def deliver(self) -> None:
        """What becomes of the answer."""
        raise NotImplementedError

    def fail(self, error: KanameError, request_id: str) -> None:
        """Answer with an error."""
        self.send(*refusal(error, "", request_id))

    @property
    def request_id(self) -> str:
        """The id under which the call is recorded; empty when it was refused before."""
        return "" if self.call is None else self.call.request_id


class Awaited(Ticket):
    """One that a thread waits for."""

    __slots__ = ("_wait",)

    def __init__(self, asked: Asked, request: Message, size: int, metadata: Metadata, deadline_ns: int) -> None:
        super().__init__(asked, request, size, metadata, deadline_ns)
        self._wait = allocate_lock()
        self._wait.acquire()

    def deliver(self) -> None:
        self._wait.release()

    def wait(self, context: grpc.ServicerContext) -> bool:
        """Wait for the answer; False when the caller has left, whose call is then marked gone."""
        while not self._wait.acquire(timeout=LOOK_S):
            if not context.is_active():
                if self.call is not None:
                    self.call.gone = True
                return False
        return True


T = TypeVar("T", bound=Ticket)
Make = Callable[[Asked, Message, int, Metadata, int], T]
"""Makes the ticket of what is asked: the message, its bytes, its metadata, its deadline (monotonic ns, 0: none)."""
