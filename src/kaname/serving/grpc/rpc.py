"""Methods of gRPC services as handlers on bytes: reading the message, wording errors, bounding streams."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import grpc

from kaname.call import Principal
from kaname.errors import Forbidden, KanameError, Overloaded
from kaname.ids import IdSource
from kaname.protobuf.messages import Kind, Message, parse
from kaname.serving.endpoint import PrincipalOf
from kaname.serving.grpc import direct
from kaname.serving.grpc.callers import Callers
from kaname.serving.grpc.door import Door
from kaname.serving.grpc.status import refuse
from kaname.serving.grpc.ticket import Asked, Make, Ticket
from kaname.web.problems import internal

LOG = logging.getLogger("kaname.grpc")
Scope = Literal["read", "write"]
Handle = Callable[[Message, grpc.ServicerContext], Message]
"""Answers one message. Raises KanameError."""
Read = Callable[[bytes], tuple[Asked, Message]]
"""The model that a message asks, and the message. Raises KanameError."""
Unary = Callable[[bytes, grpc.ServicerContext], bytes]
Streaming = Callable[[Iterator[bytes], grpc.ServicerContext], Iterator[bytes]]
Method = Any
"""What grpc calls a RpcMethodHandler."""


class Access:
    """Who may ask, by the metadata `authorization: Bearer …`; the same keys and scopes as over HTTP."""

    def __init__(
        self, principal_of: PrincipalOf, may_enter: Callable[[dict[bytes, bytes]], Any], callers: Callers
    ) -> None:
        self._principal_of = principal_of
        self._may_enter = may_enter
        self._callers = callers

    def open(self, context: grpc.ServicerContext) -> None:
        """Raise Forbidden for calls by a name that is not the server's, and for pages of other origins."""
        self._fields(context)

    def _fields(self, context: grpc.ServicerContext) -> dict[bytes, bytes]:
        fields = {
            name.encode(): value if isinstance(value, bytes) else value.encode("latin-1", "replace")
            for name, value in self._callers.metadata(context)
            if name in ("authorization", "host", "origin")
        }
        refused = self._may_enter(fields)
        if refused is not None:
            raise refused[1]
        return fields

    def principal(self, context: grpc.ServicerContext) -> Principal:
        """Who asks. Raises Unauthenticated."""
        return self._principal_of(self._fields(context).get(b"authorization"))

    def need(self, context: grpc.ServicerContext, scope: Scope, model: str | None = None) -> Principal:
        """Who asks, with a scope. To read about a model it is enough to be allowed to predict with it."""
        principal = self.principal(context)
        if scope in principal.scopes:
            return principal
        may_predict = principal.may_predict
        if scope == "read" and model is not None and (may_predict is None or model in may_predict):
            return principal
        found = ", ".join(sorted(principal.scopes)) or "no such scope"
        raise Forbidden("the API key lacks a scope", where="authorization", found=found, expected=scope)


class Rpcs:
    """Makes handlers. Quick ones run on the server's own threads, `slow` and streaming ones on others."""

    def __init__(self, ids: IdSource, streams: int) -> None:
        self._ids = ids
        self._slow = ThreadPoolExecutor(4, "kaname-grpc-slow")
        self._streaming = ThreadPoolExecutor(streams + 4, "kaname-grpc-stream")  # the rest is for refusing
        self._room = threading.BoundedSemaphore(streams)
        self._streams = streams

    def raw(self, work: Unary) -> Method:
        """A method that reads and writes bytes itself."""

        def behavior(body: bytes, context: grpc.ServicerContext) -> bytes:
            try:
                return work(body, context)
            except KanameError as found:
                error = found
            except Exception as found:
                if not context.is_active() or context.code() is not None:
                    raise  # an RPC that has been ended on purpose
                LOG.exception("a gRPC call failed")
                error = internal(found)
            return refuse(context, error, self._ids())

        return grpc.unary_unary_rpc_method_handler(behavior)

    def predicting(self, read: Read, door: Door) -> Method:
        """A method whose messages `read` makes requests of a model; without a thread for each where that can be."""

        def work(body: bytes, context: grpc.ServicerContext) -> bytes:
            return door.ask(*read(body), len(body), context)

        def enter(body: bytes, context: grpc.ServicerContext, make: Make[Ticket]) -> None:
            door.enter(*read(body), len(body), context, make)

        method = self.raw(work)
        if direct.supported():
            method.unary_unary.experimental_thread_pool = direct.Direct(enter, self._ids)
        return method

    def unary(self, kind: Kind, handle: Handle, *, slow: bool = False) -> Method:
        """A method that answers one message with one."""

        def work(body: bytes, context: grpc.ServicerContext) -> bytes:
            answer: bytes = handle(parse(kind, body), context).SerializeToString()
            return answer

        method = self.raw(work)
        if slow:
            method.unary_unary.experimental_thread_pool = self._slow
        return method

    def stream(self, work: Streaming) -> Method:
        """A method that answers messages with messages, on a thread of its own."""
        return grpc.stream_stream_rpc_method_handler(self._bounded(work))

    def watch(self, kind: Kind, handle: Callable[[Message, grpc.ServicerContext], Iterator[Message]]) -> Method:
        """A method that answers one message with many."""

        def work(body: Any, context: grpc.ServicerContext) -> Iterator[bytes]:
            for message in handle(parse(kind, body), context):
                yield message.SerializeToString()

        return grpc.unary_stream_rpc_method_handler(self._bounded(work))

    def _bounded(self, work: Streaming) -> Any:
        def behavior(requests: Any, context: grpc.ServicerContext) -> Iterator[bytes]:
            if not self._room.acquire(blocking=False):
                refuse(context, Overloaded("too many streams are open", expected=f"{self._streams} at most"), "")
            try:
                yield from work(requests, context)
            except KanameError as found:
                error = found
            except Exception as found:
                if not context.is_active() or context.code() is not None:
                    raise
                LOG.exception("a gRPC stream failed")
                error = internal(found)
            else:
                return
            finally:
                self._room.release()
            refuse(context, error, self._ids())

        behavior.experimental_thread_pool = self._streaming  # type: ignore[attr-defined]  # grpc looks for it
        return behavior

    def close(self) -> None:
        """Let the threads end; whoever still waits finds its call cancelled."""
        self._slow.shutdown(wait=False)
        self._streaming.shutdown(wait=False)


class Methods(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    """All methods by path."""

    def __init__(self, methods: dict[str, Method]) -> None:
        self._methods = methods

    def service(self, details: grpc.HandlerCallDetails) -> Method | None:
        found = self._methods.get(details.method)
        return self._unknown(details.method) if found is None else found

    def _unknown(self, path: str) -> Method:
        services = sorted({known.split("/")[1] for known in self._methods})
        said = f"no such method: found {path!r}; expected one of {', '.join(services)}"

        def behavior(_: bytes, context: grpc.ServicerContext) -> bytes:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, said)
            raise AssertionError("abort raises")

        return grpc.unary_unary_rpc_method_handler(behavior)
