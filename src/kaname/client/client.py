"""Asking a server: typed calls with deadlines, and retries that never make an overload worse."""

from __future__ import annotations

import random
import ssl
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from os import PathLike
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from kaname import errors
from kaname.client.budget import RetryBudget
from kaname.client.connections import Connections
from kaname.client.exchanged import Broken, Reply
from kaname.client.features import Features
from kaname.clock import Clock, SystemClock
from kaname.errors import DeadlineExceeded, KanameError, Overloaded, RateLimited, Unavailable

Json = Any  # what JSON can hold: the type of a model's answer is the model's

FIRST_PAUSE_S = 0.05
MAX_PAUSE_S = 1.0
RETRIED = frozenset({429, 503})
T = TypeVar("T")


class Random(Protocol):
    """Where jitter comes from: `random.Random` is one."""

    def random(self) -> float:
        """A number in [0, 1)."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """What the model says of one row; `confidence` is the top probability of a classifier, else None."""

    prediction: Json
    confidence: float | None = None
    probabilities: Json = None


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to one request. For `features`, `prediction` and its companions are filled in; for `instances`,
    `predictions` has one Row per instance, in order."""

    model: str
    version: str
    request_id: str
    latency_ms: float
    """Time inside the server."""
    prediction: Json = None
    confidence: float | None = None
    probabilities: Json = None
    predictions: tuple[Row, ...] = ()


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A model on the server; `promoted` is the version that answers when a request names none."""

    id: int
    name: str
    promoted: str | None = None
    loaded: bool = True


class _Models(msgspec.Struct):
    items: list[Model]
    next: str | None = None


class _Problem(msgspec.Struct):
    code: str = "internal"
    detail: str = ""
    title: str = ""
    where: str | None = None
    found: str | None = None
    expected: str | None = None
    retry_after_s: float | None = None


class Client:
    """A client of one server at `url`, with an API key where the server wants one.

    A request takes `timeout_s` at most, retries included, unless it names its own deadline; the server is told what is
    left of it (`x-request-timeout-ms`) and stops working on what nobody waits for. A request is sent again when its
    connection failed before any byte of the answer, or when the server says 429 or 503 with a time to wait that ends
    before the deadline; in both cases only while the retry budget lasts, so that a server in trouble gets at most
    one tenth more. What fails raises the KanameError that the server raised.

    Behind https://, `ca` is a file of the authorities to believe (without: the system's), `certificate` the files of a
    certificate and its key (None: in the same file) to show to a server that asks for one.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        timeout_s: float = 30.0,
        connections: int = 8,
        ca: str | PathLike[str] | None = None,
        certificate: tuple[str | PathLike[str], str | PathLike[str] | None] | None = None,
        budget: RetryBudget | None = None,
        rng: Random | None = None,
        clock: Clock | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._connections = Connections(url, keep=connections, tls=_trust(ca, certificate))
        self._headers = {"authorization": f"Bearer {_usable(key)}"} if key else {}
        self._timeout_s = timeout_s
        self._budget = budget or RetryBudget()
        self._rng = rng or random.Random()  # noqa: S311  (jitter, not a secret)
        self._clock = clock or SystemClock()
        self._sleep = sleep
        self.features = Features(self._ask, self._lines, _decoded)
        """Rows of relations."""

    # --- what it can ask -------------------------------------------------------------------------------

    def predict(
        self,
        model: str | int,
        *,
        features: Mapping[str, object] | None = None,
        instances: Sequence[object] | None = None,
        entity: Mapping[str, object] | None = None,
        entities: Sequence[Mapping[str, object]] | None = None,
        version: str | int | None = None,
        deadline_ms: float | None = None,
    ) -> Prediction:
        """Ask `model` (name or number), or one `version` of it, about one row (`features`) or several (`instances`).

        A model with a view is asked by `entity` or `entities`; what is given with them stands in the place of what the
        view would read.
        """
        body = body_of(features=features, instances=instances, entity=entity, entities=entities)
        path = f"/api/v1/models/{_part(model)}" + ("" if version is None else f"/versions/{_part(version)}")
        reply = self._ask("POST", f"{path}/predict", msgspec.json.encode(body), deadline_ms)
        return _decoded(reply, Prediction)

    def stream(
        self,
        model: str | int,
        rows: Iterable[object],
        *,
        version: str | int | None = None,
        deadline_ms: float | None = None,
    ) -> Iterator[Prediction | KanameError]:
        """Ask about row after row over one request; yields for each, in order, the prediction or what is wrong with it.

        `rows` is read by a thread, about as far ahead as the server lets it: it may be endless, and larger than
        memory. `deadline_ms` is that of each row. No silence may last longer than the client's `timeout_s`. Closing
        the iterator closes the connection. Raises the KanameError that refused the whole stream, Unavailable when the
        connection fails, and what `rows` raises.
        """
        path = f"/api/v1/models/{_part(model)}" + ("" if version is None else f"/versions/{_part(version)}")
        headers = dict(self._headers)
        if deadline_ms is not None:
            headers["x-request-timeout-ms"] = str(max(1, int(deadline_ms)))
        encode = msgspec.json.Encoder().encode
        lines = (encode({"features": row}) for row in rows)
        with closing(self._streamed(f"{path}/predict/stream", lines, headers)) as answers:
            yield from map(_answered, answers)

    def models(self) -> list[Model]:
        """All models, ordered by name."""
        found: list[Model] = []
        after: str | None = ""
        while after is not None:
            query = urlencode({"after": after}) if after else ""
            page = _decoded(self._ask("GET", "/api/v1/models" + (f"?{query}" if query else "")), _Models)
            found += page.items
            after = page.next
        return found

    def get(self, path: str) -> bytes:
        """What the server shows at `path`, as `/metrics` or another resource of its API."""
        return self._ask("GET", path).body

    def ready(self) -> bool:
        """Whether the server is there and ready to answer; never raises for one that is not."""
        try:
            reply = self._send("GET", "/health/ready", b"", self._clock.monotonic_ns() + int(self._timeout_s * 1e9))
        except (Broken, DeadlineExceeded):
            return False
        return reply.status == 200

    def close(self) -> None:
        """Close the connections that are kept."""
        self._connections.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    # --- lines, and one request with its retries -------------------------------------------------------------------

    def _streamed(
        self, path: str, lines: Iterable[bytes], headers: Mapping[str, str]
    ) -> Generator[bytes | Reply, None, None]:
        stream = self._connections.stream(path, headers, self._timeout_s)
        with closing(stream.answers(lines)) as answers:
            try:
                yield from answers
            except Broken as broken:
                raise Unavailable(f"the connection failed: {broken}", where=self._connections.url) from broken
            except TimeoutError:
                raise DeadlineExceeded("no answer came in time", where=self._connections.url) from None

    def _lines(self, path: str, body: bytes) -> Iterator[bytes]:
        """The lines that answer a body. Raises the error that refused it."""
        with closing(self._streamed(path, [body], self._headers)) as answers:
            for line in answers:
                if isinstance(line, Reply):
                    raise _error(line)
                yield line

    def _ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        deadline_ms: float | None = None,
        *,
        media: str = "application/json",
    ) -> Reply:
        total_s = self._timeout_s if deadline_ms is None else deadline_ms / 1000
        until_ns = self._clock.monotonic_ns() + int(total_s * 1e9)
        self._budget.earn()
        tries = 0
        while True:
            error: KanameError
            pause_s: float | None = None
            try:
                reply = self._send(method, path, body, until_ns, media)
            except Broken as broken:
                error = Unavailable(f"the connection failed: {broken}", where=self._connections.url)
                if broken.before_answer:
                    pause_s = self._rng.random() * min(MAX_PAUSE_S, FIRST_PAUSE_S * 2**tries)
            else:
                if reply.status < 400:
                    return reply
                error = _error(reply)
                if reply.status in RETRIED and error.retry_after_s is not None:
                    pause_s = error.retry_after_s * (1 + 0.1 * self._rng.random())
            left_s = (until_ns - self._clock.monotonic_ns()) / 1e9
            if pause_s is None or pause_s >= left_s or not self._budget.spend():
                raise error
            tries += 1
            self._sleep(pause_s)

    def _send(self, method: str, path: str, body: bytes, until_ns: int, media: str = "application/json") -> Reply:
        left_ns = until_ns - self._clock.monotonic_ns()
        if left_ns <= 0:
            raise DeadlineExceeded("the deadline passed before the request was sent")
        headers = self._headers | {"x-request-timeout-ms": str(max(1, left_ns // 1_000_000))}
        if body:
            headers["content-type"] = media
        try:
            return self._connections.request(method, path, body, headers, left_ns / 1e9)
        except TimeoutError:
            raise DeadlineExceeded("no answer came before the deadline", where=self._connections.url) from None


def body_of(**said: object) -> dict[str, object]:
    """The body of a prediction: what is not None. Raises InvalidInput for both one row and several, or for nothing."""
    body = {name: value for name, value in said.items() if value is not None}
    if not body or {"features", "instances"} <= body.keys():
        raise errors.InvalidInput("nothing to predict, or too much", where="predict", expected="features or instances")
    return body


def _trust(
    ca: str | PathLike[str] | None, certificate: tuple[str | PathLike[str], str | PathLike[str] | None] | None
) -> ssl.SSLContext | None:
    """Whom to believe, and what to show. Raises InvalidInput for files that cannot be used."""
    if ca is None and certificate is None:
        return None
    try:
        context = ssl.create_default_context(cafile=ca)
        if certificate is not None:
            context.load_cert_chain(*certificate)
    except OSError as error:  # ssl.SSLError is one
        raise errors.InvalidInput("unusable certificate", where="ca or certificate", found=str(error)) from error
    return context


def _usable(key: str) -> str:
    """`key` without the line end that it has when it was read from a file; never shown in an error."""
    found = key.strip()
    if not found.isascii() or not found.isprintable() or " " in found:
        raise errors.InvalidInput("not an API key", where="key", expected="one word of ASCII characters")
    return found


def _part(name: str | int) -> str:
    return quote(str(name), safe="")


def _decoded(reply: Reply, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(reply.body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise KanameError(f"the server's answer is not what this client knows: {error}") from error


def _answered(line: bytes | Reply) -> Prediction | KanameError:
    """One answer of a stream. Raises the error that refused all of it."""
    if isinstance(line, Reply):
        raise _error(line)
    try:
        return msgspec.json.decode(line, type=Prediction)
    except msgspec.ValidationError:
        return _error(Reply(status=500, body=line))
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise KanameError(f"the server's answer is not what this client knows: {error}") from error


def _kinds(base: type[KanameError]) -> dict[str, type[KanameError]]:
    found = {base.code: base}
    for kind in base.__subclasses__():
        found |= _kinds(kind)
    return found


_BY_STATUS: dict[int, type[KanameError]] = {429: RateLimited, 502: Unavailable, 503: Overloaded, 504: DeadlineExceeded}


def _error(reply: Reply) -> KanameError:
    """The error that the server raised, built again from its problem document."""
    try:
        problem = msgspec.json.decode(reply.body, type=_Problem)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        problem = _Problem()
    default = _BY_STATUS.get(reply.status, KanameError)
    return _kinds(KanameError).get(problem.code if problem.detail else "", default)(
        problem.detail or problem.title or f"the server answered with status {reply.status}",
        where=problem.where,
        found=problem.found,
        expected=problem.expected,
        retry_after_s=problem.retry_after_s if problem.retry_after_s is not None else reply.retry_after_s,
    )
