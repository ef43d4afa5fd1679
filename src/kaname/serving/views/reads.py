"""`POST /api/v1/views/{view}/read`: the columns of a view for entities, through the same door as predictions.

    {"entity": {"user_id": "u1"}}                          {"view": "buyer", "features": {"age": 40, …}}
    {"entities": [{"user_id": "u1"}, …]}                   {"view": "buyer", "instances": [{"age": 40, …}, …]}

The answer has the form in which a model without a view takes its features. A key may read a view if it may read every
relation of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from kaname.call import Principal, as_error
from kaname.clock import Clock
from kaname.errors import Forbidden, InvalidInput, KanameError, NotFound, TooLarge
from kaname.features.views.plan import Found, Plan
from kaname.features.views.reading import StoredView, ask, find
from kaname.features.views.types import View
from kaname.ids import IdSource
from kaname.serving.endpoint import PrincipalOf, inflate, request_id
from kaname.serving.exchange import Body, Endpoint, Head, Reply
from kaname.serving.json_codec import refusal
from kaname.serving.json_input import explain
from kaname.serving.views.entities import ENTITIES, ENTITY, Entities, keys_of
from kaname.serving.views.opened import Views, unreadable
from kaname.settings import Settings
from kaname.telemetry.metrics import Counter, Metrics

HEAD = b"content-type: application/json\r\n"


class ReadBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whose features are wanted: one entity, or several."""

    entity: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    entities: list[dict[str, Any]] | msgspec.UnsetType = msgspec.UNSET


_decode = msgspec.json.Decoder(ReadBody).decode
_encode = msgspec.json.Encoder(decimal_format="number").encode


class Reads:
    """The endpoints of all views of a worker."""

    def __init__(
        self,
        views: Views,
        ids: IdSource,
        clock: Clock,
        metrics: Metrics,
        *,
        max_rows: int,
        max_body_bytes: int,
        lookup_ms: float,
    ) -> None:
        """`lookup_ms`: longest wait for stores that are not at hand."""
        self.views = views
        self.ids = ids
        self.clock = clock
        self.lookup_s = lookup_ms / 1000
        self.max_rows = max_rows
        self.max_body_bytes = max_body_bytes
        self._metrics = metrics

    def endpoint(self, name: str, principal_of: PrincipalOf, *, explained: bool) -> Endpoint:
        """The endpoint of the view called so; `explained`: it lists what was used. Opened by the first request."""
        found = self.views.opened(name)
        if isinstance(found, StoredView):
            return ReadEndpoint(self, found, principal_of, Meter(self._metrics, name), explained=explained)
        return OpeningEndpoint(self, name, principal_of, explained=explained)


def reads_of(views: Views | None, ids: IdSource, clock: Clock, metrics: Metrics, settings: Settings) -> Reads | None:
    """The endpoints of views; None where there are no features."""
    if views is None:
        return None
    most, most_bytes = settings.inference.max_rows, settings.server.max_body_bytes
    wait_ms = settings.features.lookup_ms
    return Reads(views, ids, clock, metrics, max_rows=most, max_body_bytes=most_bytes, lookup_ms=wait_ms)


class Meter:
    """Counts the reads of one view, by outcome, and how long they took."""

    def __init__(self, metrics: Metrics, view: str) -> None:
        self._metrics = metrics
        self._view = view
        self.seconds = metrics.histogram("kaname_view_seconds", "From the whole request to its answer.", view=view)
        self.ok = self._counter("ok").cell

    def failed(self, code: str) -> None:
        """One more read that failed with error `code`."""
        self._counter(code).add()

    def _counter(self, code: str) -> Counter:
        return self._metrics.counter(
            "kaname_view_reads_total", "Reads of a view, by outcome.", view=self._view, code=code
        )


class ReadEndpoint:
    """Reads one view."""

    lasting = True

    def __init__(
        self, reads: Reads, stored: StoredView, principal_of: PrincipalOf, meter: Meter, *, explained: bool
    ) -> None:
        self._reads = reads
        self._stored = stored
        self._principal_of = principal_of
        self._meter = meter
        self._explains = explained
        self._follow(stored.view)

    def _follow(self, view: View) -> None:
        self._view = view
        self._entity = Entities(view).read
        self._relations = {f"read:{read.relation}" for read in view.reads}
        self._begin = b'{"view":%b,' % _encode(view.name)

    def enter(self, head: Head, body: Body, reply: Reply) -> None:
        """Answer through `reply`."""
        began_ns = self._reads.clock.monotonic_ns()

        def answer(make: Callable[[], bytes | None]) -> None:
            """What `make` returns, unless that is None: it comes later."""
            try:
                body = make()
            except Exception as error:  # noqa: BLE001  (the guard: this request only)
                failed = as_error(error)
                self._meter.failed(failed.code)
                reply.send(*refusal(failed, head.path, request_id(head.fields, self._reads.ids)))
                return
            if body is not None:
                self._meter.ok[0] += 1
                self._meter.seconds.observe((self._reads.clock.monotonic_ns() - began_ns) / 1e9)
                reply.send(200, HEAD, body)

        answer(lambda: self._begun(head, body, answer))

    def _begun(self, head: Head, body: Body, answer: Callable[[Callable[[], bytes]], None]) -> bytes | None:
        """The body of the answer; None: `answer` is called when stores have answered."""
        if self._stored.view is not self._view:
            self._follow(self._stored.view)
        if head.terms is not self._view:
            self._check(head)
        if b"content-encoding" in head.fields:
            body = inflate(body, head.fields[b"content-encoding"], self._reads.max_body_bytes)
        asked, plan = self._asked(body), self._stored.plan()
        if asked.entity is not msgspec.UNSET:
            said, entities = ENTITY, [self._entity(asked.entity, ENTITY)]
            if plan.direct and not self._explains:  # a short way for the usual request
                return self._begin + b'"features":%b}' % _encode(self._stored.read(entities[0]))
        else:
            said, many = ENTITIES, asked.entities or ()
            entities = [self._entity(each, f"{ENTITIES}[{i}]") for i, each in enumerate(many)]
        now_us = self._reads.clock.time_ns() // 1000
        keys = keys_of(plan, entities, said)

        def made(found: list[Found]) -> bytes:
            rows: list[Any] = _rows(plan, entities, found, now_us, said)
            if self._explains:
                rows = [plan.explain(row, each, now_us) for row, each in zip(rows, found, strict=True)]
            one = said is ENTITY
            return self._begin + (b'"features":%b}' % _encode(rows[0]) if one else b'"instances":%b}' % _encode(rows))

        if plan.direct:
            return made(find(plan, keys, now_us, stamped=self._explains))
        found = ask(plan, keys, now_us, self._reads.lookup_s, lambda later: answer(lambda: made(later)))
        return None if found is None else made(found)

    def _check(self, head: Head) -> None:
        """Remember with a head that its key may read, until the next snapshot. Raises Unauthenticated, Forbidden."""
        principal = self._principal_of(head.fields.get(b"authorization"))
        held = principal.scopes
        if not ("admin" in held or "read:*" in held or self._relations <= held):
            missing = min(self._relations - held)
            raise Forbidden("this key may not read every relation of the view", where=self._view.name, expected=missing)
        if type(principal) is Principal:
            head.terms = self._view

    def _asked(self, body: Body) -> ReadBody:
        try:
            said = _decode(body)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise explain(error) from None
        if (said.entity is msgspec.UNSET) is (said.entities is msgspec.UNSET):
            found = "neither" if said.entity is msgspec.UNSET else "both"
            raise InvalidInput("whose features?", where="body", found=found, expected="entity or entities")
        if said.entities is not msgspec.UNSET and not 0 < len(said.entities) <= self._reads.max_rows:
            kind = TooLarge if said.entities else InvalidInput
            found, expected = str(len(said.entities)), f"1 to {self._reads.max_rows}"
            raise kind("number of entities", where="entities", found=found, expected=expected)
        return said

    def refuse(self, status: int, error: KanameError, head: Head, reply: Reply) -> None:
        """Answer a request that was not read to its end."""
        self._meter.failed(error.code)
        reply.send(*refusal(error, head.path, request_id(head.fields, self._reads.ids), status))


def _rows(
    plan: Plan, entities: list[dict[str, Any]], found: list[Found], now_us: int, said: str
) -> list[dict[str, Any]]:
    """The finished rows. Raises what `Plan.settle` and `Plan.compute` raise, with the place of the entity."""
    rows = []
    for i, each in enumerate(found):
        try:
            rows.append(plan.settle(each.rows, now_us))
        except KanameError as error:
            if said is not ENTITY and str(error.where).startswith("features."):  # others belong to a store
                error.where = f"{said}[{i}].{error.where}"
            raise
    plan.compute(entities, rows, now_us)
    return rows


class OpeningEndpoint:
    """Opens a view, and then lets its endpoint answer."""

    lasting = False

    def __init__(self, reads: Reads, name: str, principal_of: PrincipalOf, *, explained: bool) -> None:
        self._reads = reads
        self._name = name
        self._principal_of = principal_of
        self._explained = explained

    def enter(self, head: Head, body: Body, reply: Reply) -> None:
        """Answer through `reply` when the stores are open; strangers open nothing."""
        try:
            self._principal_of(head.fields.get(b"authorization"))
        except KanameError as error:
            self.refuse(0, error, head, reply)
            return
        kept = bytes(body)
        opening = asyncio.get_running_loop().run_in_executor(None, self._reads.views.open, [self._name])
        opening.add_done_callback(lambda _: self._opened(head, kept, reply))

    def _opened(self, head: Head, body: Body, reply: Reply) -> None:
        found = self._reads.views.opened(self._name)
        if isinstance(found, StoredView):
            self._reads.endpoint(self._name, self._principal_of, explained=self._explained).enter(head, body, reply)
        elif isinstance(found, NotFound):
            self.refuse(0, found, head, reply)
        else:
            self.refuse(0, unreadable("the view", self._name, found), head, reply)

    def refuse(self, status: int, error: KanameError, head: Head, reply: Reply) -> None:
        """Answer a request that was not read to its end."""
        reply.send(*refusal(error, head.path, request_id(head.fields, self._reads.ids), status or None))
