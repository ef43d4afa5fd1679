"""One URL that predicts: from the bytes of a request to a call, and from its outcome to the bytes of an answer."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Protocol

from kaname.call import Answer, Call, Outcome, Principal, Step, Target, as_error
from kaname.clock import Clock
from kaname.errors import InvalidInput, KanameError, TooLarge, UnsupportedMedia
from kaname.ids import IdSource
from kaname.models.types import VersionInfo
from kaname.serving.exchange import Incoming, Reply

HeaderMap = dict[bytes, bytes]
PRINTABLE = frozenset(b"!#$%&*+-./0123456789:;=@ABCDEFGHIJKLMNOPQRSTUVWXYZ^_abcdefghijklmnopqrstuvwxyz|~")
LONGEST_ID = 128


class Codec(Protocol):
    """A protocol's view of one version: how its bodies become calls and its outcomes answers."""

    def accepts(self, content_type: bytes) -> bool:
        """Whether a body of this content type (lower case, with parameters) can be read."""

    def fill(self, call: Call, body: bytes, headers: HeaderMap) -> None:
        """Set `rows`, `table` or `tensors`, and `form` of the call. Raises a KanameError."""

    def answer(self, call: Call, answer: Answer, latency_ns: int) -> tuple[bytes, bytes]:
        """Header lines and body of a good answer."""

    def refuse(
        self, error: KanameError, instance: str, request_id: str, status: int | None = None
    ) -> tuple[int, bytes, bytes]:
        """Status (`status` instead of the protocol's own, when given), header lines and body of an error."""


PrincipalOf = Callable[[bytes | None], Principal]
"""Who asks, by the value of `Authorization`; raises Unauthenticated."""
Refusal = Callable[[KanameError, str, str, int | None], tuple[int, bytes, bytes]]
"""An error, the path of the request, its id and perhaps a status, as status, header lines and body."""


class PredictEndpoint:
    """Both doors enter here. `observe` sees the call first, `path` is what follows once its input is known."""

    lasting = True

    def __init__(
        self,
        *,
        info: VersionInfo,
        codec: Codec,
        observe: Step,
        path: Step,
        principal_of: PrincipalOf,
        refused: Callable[[str], None],
        clock: Clock,
        ids: IdSource,
        timeout_ms: int,
        max_body_bytes: int,
    ) -> None:
        self._target = Target(model=info.model, model_id=info.model_id, version=info.version, version_id=info.id)
        self._refused = refused
        self._codec = codec
        self._path = path
        self._observe = observe
        self._principal_of = principal_of
        self._time_ns = clock.time_ns
        self._monotonic_ns = clock.monotonic_ns
        self._ids = ids
        self._timeout_ns = timeout_ms * 1_000_000
        self._max_body_bytes = max_body_bytes

    def enter(self, incoming: Incoming, reply: Reply) -> None:
        """Answer through `reply`, now or later on the loop."""
        headers = dict(incoming.headers)
        given = headers.get(b"x-request-id")
        request_id = self._ids() if given is None or not _good_id(given) else given.decode()
        try:
            principal = self._principal_of(headers.get(b"authorization"))
        except KanameError as error:
            self._refused(error.code)
            reply.send(*self._codec.refuse(error, _instance(incoming), request_id))
            return
        now = self._monotonic_ns()

        def door(call: Call, outcome: Outcome) -> None:
            if call.gone:
                return
            if type(outcome) is Answer:
                head, body = self._codec.answer(call, outcome, self._monotonic_ns() - now)
                if b"traceparent" in headers:
                    head += b"traceparent: %b\r\n" % headers[b"traceparent"]
                reply.send(200, head, body)
            else:
                assert isinstance(outcome, KanameError)
                reply.send(*self._codec.refuse(outcome, _instance(incoming), call.request_id))

        call = Call(
            request_id,
            principal,
            door,
            rows=0,
            arrived_ns=self._time_ns(),
            started_ns=now,
            deadline_ns=now + self._timeout_ns,
        )
        call.target = self._target
        reply.call = call
        self._observe(call)
        try:
            self._fill(call, incoming, headers)
            self._path(call)
        except Exception as error:  # noqa: BLE001  (the guard: this request only)
            call.fail(as_error(error))

    def refuse(self, status: int, error: KanameError, incoming: Incoming, reply: Reply) -> None:
        """Answer a request that was not read to its end."""
        self._refused(error.code)
        reply.send(*self._codec.refuse(error, _instance(incoming), self._ids(), status))

    def _fill(self, call: Call, incoming: Incoming, headers: HeaderMap) -> None:
        content_type = headers.get(b"content-type", b"application/json")
        if content_type != b"application/json" and not self._codec.accepts(content_type.lower()):
            raise UnsupportedMedia(
                "content type", where="content-type", found=content_type.decode("latin-1"), expected="application/json"
            )
        timeout = headers.get(b"x-request-timeout-ms")
        if timeout is not None:
            call.deadline_ns = call.started_ns + _timeout_ns(timeout)
        body = incoming.body
        encoding = headers.get(b"content-encoding")
        if encoding is not None:
            body = inflate(body, encoding, self._max_body_bytes)
        self._codec.fill(call, body, headers)


class RefusingEndpoint:
    """A URL that would predict but for one reason (an unknown model, an unloaded one)."""

    lasting = False

    def __init__(
        self,
        error: KanameError,
        word: Refusal,
        principal_of: PrincipalOf,
        ids: IdSource,
        refused: Callable[[str], None],
    ) -> None:
        self._error = error
        self._word = word
        self._principal_of = principal_of
        self._ids = ids
        self._refused = refused

    def enter(self, incoming: Incoming, reply: Reply) -> None:
        """Refuse: first for missing credentials, so that names are not told to strangers."""
        error = self._error
        try:
            self._principal_of(dict(incoming.headers).get(b"authorization"))
        except KanameError as unknown:
            error = unknown
        self._refused(error.code)
        reply.send(*self._word(error, _instance(incoming), self._ids(), None))

    def refuse(self, status: int, error: KanameError, incoming: Incoming, reply: Reply) -> None:
        """Answer a request that was not read to its end."""
        self._refused(error.code)
        reply.send(*self._word(error, _instance(incoming), self._ids(), status))


def _instance(incoming: Incoming) -> str:
    return incoming.target.decode("latin-1").partition("?")[0]


def _good_id(given: bytes) -> bool:
    return 0 < len(given) <= LONGEST_ID and PRINTABLE.issuperset(given)


def _timeout_ns(value: bytes) -> int:
    try:
        milliseconds = float(value)
    except ValueError:
        milliseconds = -1.0
    if not 0 < milliseconds <= 86_400_000:
        shown = value.decode("latin-1")[:40]
        raise InvalidInput("deadline", where="x-request-timeout-ms", found=shown, expected="milliseconds, above 0")
    return int(milliseconds * 1_000_000)


def inflate(body: bytes, encoding: bytes, most: int) -> bytes:
    """Undo `content-encoding: gzip` or `deflate`. Raises InvalidInput, or TooLarge beyond `most` bytes."""
    name = encoding.strip().lower()
    if name == b"identity":
        return body
    if name not in (b"gzip", b"x-gzip", b"deflate"):
        shown = encoding.decode("latin-1")[:40]
        raise UnsupportedMedia("content encoding", where="content-encoding", found=shown, expected="gzip or deflate")
    # 47: zlib or gzip header, found out by zlib; -15: the raw stream that some clients send as "deflate".
    raw_deflate = name == b"deflate" and not (body[:1] and body[0] & 0x0F == 8)
    inflater = zlib.decompressobj(-15 if raw_deflate else 47)
    try:
        plain = inflater.decompress(body, most + 1)
    except zlib.error as error:
        raise InvalidInput(f"the body is not valid {name.decode()}: {error}", where="body") from None
    if len(plain) > most:
        raise TooLarge("body after decompression", where="body", found="more", expected=f"at most {most} bytes")
    if not inflater.eof:
        raise InvalidInput(f"the {name.decode()} body ends early", where="body", found=f"{len(body)} bytes")
    return plain
