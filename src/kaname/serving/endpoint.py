"""One URL that predicts: from the bytes of a request to a call, and from its outcome to the bytes of an answer."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import NamedTuple, Protocol

from kaname.call import LOG, PRIORITIES, Answer, Call, Handlers, Observer, Outcome, Principal, Step, Target, as_error
from kaname.clock import Clock
from kaname.errors import Forbidden, InvalidInput, KanameError, Overloaded, TooLarge, UnsupportedMedia
from kaname.ids import IdSource
from kaname.models.types import VersionInfo
from kaname.serving.exchange import Body, Head, Reply

HeaderMap = dict[bytes, bytes]
PRINTABLE = frozenset(b"!#$%&*+-./0123456789:;=@ABCDEFGHIJKLMNOPQRSTUVWXYZ^_abcdefghijklmnopqrstuvwxyz|~")
LONGEST_ID = 128


class Codec(Protocol):
    """A protocol's view of one version: how its bodies become calls and its outcomes answers."""

    def accepts(self, content_type: bytes) -> bool:
        """Whether a body of this content type (lower case, with parameters) can be read."""

    def fill(self, call: Call, body: Body, headers: HeaderMap) -> None:
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


class Path(NamedTuple):
    """What becomes of a call: `observers` see every outcome, `step` is what follows once the input is known. `full` is
    asked before that and says why nothing may come in now; None without a limit of that kind. `record` is the first of
    the observers, where calls are recorded."""

    observers: Handlers
    step: Step
    full: Callable[[Principal], KanameError | None] | None
    record: Observer | None = None


class Deferral(Protocol):
    """Puts requests aside that cannot be answered now, so that they are answered later."""

    def keep(self, head: Head, body: Body, reply: Reply) -> Reply:
        """A reply that can be deferred."""

    def check(self, callback: bytes) -> None:
        """Raises InvalidInput for a URL that answers may not be sent to."""

    def take(self, reply: Reply, call: Call, refuse: Callable[[KanameError], None]) -> None:
        """Answer 202 once the request is safe; `refuse` where it cannot be."""


class Terms:
    """What a head says of its request: who asks and how important it is, for how long, under which id, how the body is
    encoded, and what is wrong with all that."""

    __slots__ = ("encoding", "fault", "principal", "request_id", "timeout_ns")

    def __init__(self, principal: Principal, timeout_ns: int) -> None:
        self.principal = principal
        self.timeout_ns = timeout_ns
        self.request_id: str | None = None
        self.encoding: bytes | None = None
        self.fault: KanameError | None = None


class PassingTerms(Terms):
    """Those of somebody who may ask for a time only: false when that is over, so that they are read again."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return bool(self.principal)


class PredictEndpoint:
    """Both doors enter here."""

    def __init__(
        self,
        *,
        info: VersionInfo,
        instance: str,
        codec: Codec,
        path: Path,
        principal_of: PrincipalOf,
        refused: Callable[[str], None],
        clock: Clock,
        ids: IdSource,
        timeout_ms: int,
        max_body_bytes: int,
        deferral: Deferral | None = None,
        lasting: bool = True,
    ) -> None:
        self.lasting = lasting
        self._target = Target(model=info.model, model_id=info.model_id, version=info.version, version_id=info.id)
        self._instance = instance
        self._refused = refused
        self._codec = codec
        self._fill = codec.fill
        self._render = codec.answer
        self._observers, self._path, full, _ = path
        self._full = full if deferral is None else None
        self._principal_of = principal_of
        self._monotonic_ns = clock.monotonic_ns
        self._ids = ids
        self._timeout_ns = timeout_ms * 1_000_000
        self._max_body_bytes = max_body_bytes
        self._deferral = deferral

    def enter(self, head: Head, body: Body, reply: Reply) -> None:
        """Answer through `reply`, now or later on the loop."""
        try:
            terms: Terms = head.terms or self._read(head)
        except KanameError as error:
            self._refused(error.code)
            reply.send(*self._codec.refuse(error, head.path, request_id(head.fields, self._ids)))
            return
        if self._full is not None and terms.fault is None:
            full = self._full(terms.principal)
            if full is not None:
                reply.send(*self._codec.refuse(full, self._instance, terms.request_id or self._ids()))
                return
        if self._deferral is not None:
            reply = self._deferral.keep(head, body, reply)
        now = self._monotonic_ns()
        call = Call(
            terms.request_id or self._ids(), terms.principal, self._answer, 0, None, None,
            now, now + terms.timeout_ns, self._observers,
        )  # fmt: skip
        call.target = self._target
        call.reply = reply
        reply.call = call
        try:
            if terms.fault is not None:
                call.fail(terms.fault)
                return
            if terms.encoding is not None:
                body = inflate(body, terms.encoding, self._max_body_bytes)
            self._fill(call, body, head.fields)
            self._path(call)
        except Exception as error:  # noqa: BLE001  (the guard: this request only)
            call.fail(as_error(error))

    def _read(self, head: Head) -> Terms:
        """The terms of a head, kept in it. Raises Unauthenticated."""
        fields = head.fields
        given = fields.get(b"x-request-id")
        principal = self._principal_of(fields.get(b"authorization"))
        terms = (Terms if type(principal) is Principal else PassingTerms)(principal, self._timeout_ns)
        terms.request_id = given.decode() if given is not None and _good_id(given) else None
        terms.encoding = fields.get(b"content-encoding")
        try:
            self._check(terms, fields)
        except KanameError as error:
            terms.fault = error
        head.terms = terms
        return terms

    def _check(self, terms: Terms, fields: HeaderMap) -> None:
        allowed = terms.principal.may_predict
        if allowed is not None and self._target.model not in allowed:
            raise self._forbidden()  # before the body is read: what is wrong with it would tell of the features
        content_type = fields.get(b"content-type")
        if content_type is not None and content_type != b"application/json":
            self._check_type(content_type)
        if b"x-request-timeout-ms" in fields:
            terms.timeout_ns = _timeout_ns(fields[b"x-request-timeout-ms"])
        if b"x-priority" in fields:
            terms.principal = terms.principal.at(_priority(fields[b"x-priority"]))
        if self._deferral is not None and b"x-callback-url" in fields:
            self._deferral.check(fields[b"x-callback-url"])

    def _answer(self, call: Call, outcome: Outcome) -> None:
        """The door of every call from here."""
        reply = call.reply
        call.reply = None
        if call.gone:
            return
        if type(outcome) is Answer:
            try:
                head, body = self._render(call, outcome, (call.ended_ns or self._monotonic_ns()) - call.started_ns)
            except Exception as error:  # noqa: BLE001  (the guard: a door that fails would leave the caller waiting)
                LOG.exception("request %s: the answer could not be written", call.request_id)
                reply.send(*self._codec.refuse(as_error(error), self._instance, call.request_id))
                return
            reply.send(200, head, body)
        else:
            assert isinstance(outcome, KanameError)

            def refuse(error: KanameError) -> None:
                reply.send(*self._codec.refuse(error, self._instance, call.request_id))

            if self._deferral is not None and type(outcome) is Overloaded:
                self._deferral.take(reply, call, refuse)
            else:
                refuse(outcome)

    def _forbidden(self) -> Forbidden:
        model = self._target.model
        return Forbidden("this key may not predict with this model", where=model, expected=f"predict:{model}")

    def _check_type(self, content_type: bytes) -> None:
        if not self._codec.accepts(content_type.lower()):
            found = content_type.decode("latin-1")
            raise UnsupportedMedia("content type", where="content-type", found=found, expected="application/json")

    def refuse(self, status: int, error: KanameError, head: Head, reply: Reply) -> None:
        """Answer a request that was not read to its end."""
        self._refused(error.code)
        reply.send(*self._codec.refuse(error, head.path, request_id(head.fields, self._ids), status))


class RefusingEndpoint:
    """A URL that would predict but for one reason (an unknown model, an unloaded one)."""

    lasting = False

    def __init__(
        self,
        error: KanameError,
        model: str,
        word: Refusal,
        principal_of: PrincipalOf,
        ids: IdSource,
        refused: Callable[[str], None],
    ) -> None:
        self._error = error
        self._model = model
        self._word = word
        self._principal_of = principal_of
        self._ids = ids
        self._refused = refused

    def enter(self, head: Head, _: Body, reply: Reply) -> None:
        """Refuse: first for missing credentials or scopes, so that names are not told to strangers."""
        error = self._error
        try:
            principal = self._principal_of(head.fields.get(b"authorization"))
            mine = principal.may_predict
            if mine is not None and self._model not in mine and "read" not in principal.scopes:
                error = Forbidden(
                    "this key may not predict with this model", where=self._model, expected=f"predict:{self._model}"
                )
        except KanameError as unknown:
            error = unknown
        self._refused(error.code)
        reply.send(*self._word(error, head.path, request_id(head.fields, self._ids), None))

    def refuse(self, status: int, error: KanameError, head: Head, reply: Reply) -> None:
        """Answer a request that was not read to its end."""
        self._refused(error.code)
        reply.send(*self._word(error, head.path, request_id(head.fields, self._ids), status))


def request_id(fields: HeaderMap, ids: IdSource) -> str:
    """The id that came with the request, when it is a usable one, else a new one."""
    given = fields.get(b"x-request-id")
    return ids() if given is None or not _good_id(given) else given.decode()


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


def _priority(value: bytes) -> int:
    name = value.strip().lower().decode("latin-1")
    if name not in PRIORITIES:
        raise InvalidInput("priority", where="x-priority", found=name[:40], expected=" or ".join(PRIORITIES))
    return PRIORITIES.index(name)


def inflate(body: Body, encoding: bytes, most: int) -> Body:
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
    if inflater.unused_data:
        found = f"{len(inflater.unused_data)} bytes"
        raise InvalidInput(f"bytes behind the end of the {name.decode()} body", where="body", found=found)
    if not inflater.eof:
        raise InvalidInput(f"the {name.decode()} body ends early", where="body", found=f"{len(body)} bytes")
    return plain
