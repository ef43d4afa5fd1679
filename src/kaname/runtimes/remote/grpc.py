"""Over gRPC: one channel per address, a dialect that knows the messages, and what statuses mean. Needs the extra
`grpc`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import grpc

from kaname import errors
from kaname.errors import KanameError, RemoteFailed
from kaname.protobuf.messages import Kind, Message
from kaname.runtimes.remote.refusals import understood
from kaname.runtimes.remote.types import Described, Tensors, Trouble
from kaname.telemetry.tracecontext import OUTGOING

Code = grpc.StatusCode
_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_retries", 0),  # the session's budget decides
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
]
_REQUEST = frozenset({Code.INVALID_ARGUMENT, Code.OUT_OF_RANGE, Code.FAILED_PRECONDITION})
_OURS = {
    Code.UNAUTHENTICATED: "the remote does not accept our credentials",
    Code.PERMISSION_DENIED: "the remote does not let us ask this model",
    Code.NOT_FOUND: "the remote does not know this model",
    Code.UNIMPLEMENTED: "the remote does not speak as described",
}


class Dialect(Protocol):
    """The messages of one protocol, for one model."""

    method: str
    """Path of the method that infers."""
    answered: Kind
    """Its answer."""

    def request(self, inputs: Tensors) -> Message:
        """The question."""

    def answer(self, message: Message) -> Tensors:
        """The outputs in the order of the signature. Raises what `understood` makes the remote's failure."""

    def ready(self, link: GrpcLink, timeout_s: float) -> None:
        """Return when the model is ready. Raises Trouble."""

    def described(self, link: GrpcLink, timeout_s: float) -> Described:
        """What the server says of the model. Raises Trouble."""


class GrpcLink:
    """See `types.Link`."""

    def __init__(self, url: str, dialect: Dialect, *, headers: Mapping[str, str], ca_file: str | None) -> None:
        """`url`: `grpc://HOST:PORT`, or `grpcs://` with TLS."""
        self.address = url
        scheme, _, target = url.partition("://")
        self._dialect = dialect
        self._headers = tuple(headers.items())
        self._channel = grpc.insecure_channel(target, _OPTIONS) if scheme == "grpc" else _secure(target, ca_file)
        self._infer = self._method(dialect.method, dialect.answered)

    def _method(self, path: str, answered: Kind) -> Any:
        return self._channel.unary_unary(
            path,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answered.FromString,
        )

    def infer(self, inputs: Tensors, timeout_s: float) -> Tensors:
        """See `Link.infer`; the deadline is the call's own."""
        message = self._call(self._infer, self._dialect.request(inputs), timeout_s)
        return understood(lambda: self._dialect.answer(message), self.address)

    def probe(self, timeout_s: float) -> None:
        """See `Link.probe`."""
        understood(lambda: self._dialect.ready(self, timeout_s), self.address)

    def described(self, timeout_s: float) -> Described:
        """See `Link.described`."""
        return understood(lambda: self._dialect.described(self, timeout_s), self.address)

    def ask(self, path: str, request: Message, answered: Kind, timeout_s: float) -> Message:
        """The answer of another method. Raises Trouble."""
        return self._call(self._method(path, answered), request, timeout_s)

    def _call(self, method: Any, request: Message, timeout_s: float) -> Message:
        try:
            return method(request, timeout=timeout_s, metadata=(*self._headers, *OUTGOING.get().items()))
        except grpc.RpcError as error:
            raise refused(error, self.address) from error
        except ValueError as error:  # the channel was closed meanwhile
            closed = errors.Unavailable(f"the connection is closed: {error}", where=self.address)
            raise Trouble(closed) from error

    def close(self) -> None:
        """See `Link.close`."""
        self._channel.close()


def _secure(target: str, ca_file: str | None) -> grpc.Channel:
    try:
        roots = None if ca_file is None else Path(ca_file).read_bytes()
    except OSError as error:
        raise errors.InvalidInput("unusable certificates", where="remotes: ca_file", found=str(error)) from error
    return grpc.secure_channel(target, grpc.ssl_channel_credentials(roots), _OPTIONS)


def refused(error: Any, address: str) -> Trouble:
    """The failure that a status stands for."""
    code: grpc.StatusCode = error.code()
    found = f"{code.name}: {str(error.details() or 'nothing')[:300]}"
    known: KanameError
    if code is Code.UNAVAILABLE:
        known = errors.Unavailable("the remote cannot answer now", where=address, found=found)
        known.retry_after_s = _pushback_s(error)
        return Trouble(known, again=True, blame=True)
    if code is Code.DEADLINE_EXCEEDED:
        known = errors.DeadlineExceeded("the remote did not answer in time", where=address, found=found)
        return Trouble(known, blame=True)
    if code is Code.RESOURCE_EXHAUSTED:
        known = errors.Overloaded("the remote limits us", where=address, found=found)
        known.retry_after_s = _pushback_s(error)
        return Trouble(known)
    if code in _REQUEST:
        return Trouble(errors.InvalidInput("the remote refused the request", where=address, found=found))
    return Trouble(RemoteFailed(_OURS.get(code, "the remote failed"), where=address, found=found))


def _pushback_s(error: Any) -> float | None:
    """When the server wants to be asked again, if it says so."""
    for name, value in error.trailing_metadata() or ():
        if name == "grpc-retry-pushback-ms" and value.isdigit():
            return int(value) / 1000
    return None
