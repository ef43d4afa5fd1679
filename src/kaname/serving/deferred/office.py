"""All desks of a worker: it takes requests in, answers them when there is room, and takes over what others left."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec
import structlog

from kaname.call import PRIORITIES, Call, Principal
from kaname.clock import Clock
from kaname.errors import Conflict, KanameError, NotFound, Overloaded
from kaname.serving.asgi import AsgiReply
from kaname.serving.deferred.desk import Desk
from kaname.serving.deferred.types import ANSWERED, ASKED, KEPT_FIELDS, SHARD, Answered, Asked, Place, asked_of
from kaname.serving.deferred.webhooks import Targets, Webhooks
from kaname.serving.endpoint import Deferral
from kaname.serving.exchange import Body, Endpoint, Head, Reply
from kaname.serving.json_codec import refusal
from kaname.settings import DeferredSettings
from kaname.storage.events.lmdb.reader import LmdbReader
from kaname.storage.events.types import Position, partition_name, split_partition
from kaname.storage.sealing.keys import Keyring
from kaname.storage.sealing.segments import BlockOpener, BlockSealer

WINDOW = 16
"""Requests that are answered at once; their answers are kept together."""
LOOK_S = 1.0
SLOTS = 1024
PATIENCE_US = 60_000_000
"""How long an answer of 503 is not taken for the last word: the model is being loaded, perhaps."""
AGAIN = 0
"""Not a status: overload."""
_log = structlog.get_logger("kaname.deferred")
_encode = msgspec.json.Encoder().encode


class Router(Protocol):
    """What answers, as of one snapshot."""

    def replay(self, target: bytes, principal: Principal, again: Deferral) -> Endpoint | None:
        """The endpoint of a URL for a request that was accepted before from `principal`."""


class Kept:
    """The reply of a request that may have to wait on the disk: remembers what it asked."""

    __slots__ = ("body", "head", "reply")

    def __init__(self, head: Head, body: Body, reply: Reply) -> None:
        self.head = head
        self.body = body
        self.reply = reply

    @property
    def call(self) -> Call | None:
        """For the door that made the reply."""
        return self.reply.call

    @call.setter
    def call(self, call: Call | None) -> None:
        self.reply.call = call

    def send(self, status: int, head: bytes, body: bytes) -> None:
        """Answer now."""
        self.reply.send(status, head, body)


class Again:
    """What becomes of a request that is put aside already and cannot be answered now: it is tried again."""

    def keep(self, head: Head, body: Body, reply: Reply) -> Reply:
        """It is kept already."""
        return reply

    def check(self, callback: bytes) -> None:
        """It was checked when it was taken."""

    def take(self, reply: Reply, call: Call, refuse: Callable[[KanameError], None]) -> None:
        """Say that it is to be asked again."""
        reply.send(AGAIN, b"", b"")


class Office:
    """Belongs to the event loop. Opens nothing before the first request is deferred, unless one was before."""

    def __init__(
        self,
        folder: Path,
        clock: Clock,
        settings: DeferredSettings,
        router: Callable[[], Router],
        secret: Path,
        keyring: Keyring,
    ) -> None:
        """`secret`: the file of the key that signs webhooks; `keyring` encrypts what lies on the disk."""
        self._folder = folder
        self._keyring = keyring
        self._clock = clock
        self._settings = settings
        self._router = router
        self._targets = Targets(settings)
        self._webhooks = Webhooks(self._targets, settings, clock, secret)
        self._again = Again()
        self._loop = asyncio.get_running_loop()
        self._reader = LmdbReader(folder, BlockOpener(folder, keyring))
        self._desks: dict[int, Desk] = {}
        self._own: Desk | None = None
        self._news: dict[int, asyncio.Event] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._known: tuple[object, dict[tuple[bytes, str], Endpoint | None]] = (None, {})

    # --- taking in --------------------------------------------------------------------------------------

    def keep(self, head: Head, body: Body, reply: Reply) -> Reply:
        """A reply that can be deferred."""
        return Kept(head, body, reply)

    def check(self, callback: bytes) -> None:
        """Raises InvalidInput for a URL that answers may not be sent to."""
        self._targets.check(callback.decode("latin-1"))

    def take(self, reply: Reply, call: Call, refuse: Callable[[KanameError], None]) -> None:
        """Put the request on the disk and answer 202 when it is there; refuse it where that cannot be."""
        assert isinstance(reply, Kept)
        who, fields = call.principal, reply.head.fields
        callback = fields.get(b"x-callback-url")
        asked = Asked(
            token=secrets.token_hex(8),
            target=reply.head.target,
            fields={name: fields[name] for name in KEPT_FIELDS if name in fields},
            body=bytes(reply.body),
            key_id=who.key_id,
            name=who.name,
            asked_us=self._clock.time_ns() // 1000,
            callback=None if callback is None else callback.decode("latin-1"),
        )

        def taken(place: Place | None) -> None:
            if place is None:
                refuse(Overloaded("no more requests can wait", where="deferred.max_bytes", retry_after_s=10.0))
            else:
                reply.send(202, *_accepted(place))
                self._news[place.slot].set()

        try:
            desk = self._own or self._open_own()
        except (KanameError, OSError) as error:
            _log.error("requests cannot be deferred", error=str(error))
            refuse(Overloaded("no request can be put aside now", retry_after_s=10.0))
            return
        desk.take(asked, taken)

    def _open_own(self) -> Desk:
        self._folder.mkdir(parents=True, exist_ok=True)
        for slot in range(SLOTS):
            if slot in self._desks:
                continue
            try:
                self._own = self._open(slot)
            except Conflict:
                continue
            self.start()
            return self._own
        raise Conflict("all slots of deferred requests are taken", where=str(self._folder), found=str(SLOTS))

    def _open(self, slot: int) -> Desk:
        desk = Desk(
            self._folder,
            slot,
            self._reader,
            self._clock,
            self._loop,
            max_bytes=self._settings.max_bytes,
            keep_us=int(self._settings.keep_hours * 3_600e6),
            sealer=BlockSealer(self._folder / str(slot), self._keyring, self._clock),
        )
        self._desks[slot] = desk
        self._news[slot] = asyncio.Event()
        self._spawn(self._work_off(desk))
        self._spawn(self._webhooks.resume(desk, self._reader))
        return desk

    # --- working off ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to look for what other processes left; nothing to do where nothing was ever deferred."""
        if self._folder.exists() and not any(task.get_name() == "adopt" for task in self._tasks):
            self._spawn(self._adopt(), "adopt")

    def _spawn(self, work: object, name: str | None = None) -> None:
        task: asyncio.Task[None] = self._loop.create_task(work, name=name)  # type: ignore[arg-type]  # a coroutine
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _adopt(self) -> None:
        """Open the desks of dead processes: first all of them, which may have webhooks to deliver, then those on which
        something waits."""
        look = self._free
        while True:
            slots = await asyncio.to_thread(look)
            look = self._left_behind
            for slot in slots:
                try:
                    self._own = self._own or self._open(slot)
                    if slot not in self._desks:
                        self._open(slot)
                except (Conflict, OSError):
                    continue  # its process lives
            await asyncio.sleep(LOOK_S)

    def _free(self) -> list[int]:
        slots = (split_partition(one)[1] for one in self._reader.partitions(ASKED))
        return [slot for slot in slots if slot not in self._desks]

    def _left_behind(self) -> list[int]:
        return [slot for slot in self._free() if self._backlog(slot)]

    def _backlog(self, slot: int) -> int:
        partition = partition_name(SHARD, slot)
        return self._reader.end(ASKED, partition) - self._reader.end(ANSWERED, partition)

    async def _work_off(self, desk: Desk) -> None:
        """Answer what waits on a desk, in order, as long as the worker lives."""
        news = self._news[desk.slot]
        while True:
            news.clear()
            try:
                if not await self._some(desk):
                    await news.wait()
            except Exception:  # noqa: BLE001  (the queue must go on)
                _log.exception("deferred requests could not be answered; trying again", slot=desk.slot)
                await asyncio.sleep(LOOK_S)

    async def _some(self, desk: Desk) -> bool:
        """Answer the next requests of a desk; False when nothing waits."""
        position = Position(desk.partition, desk.position)
        events = await asyncio.to_thread(self._reader.read, ASKED, position, WINDOW)
        if not events:
            return False
        answers = await asyncio.gather(*(self._answer(asked_of(event.value)) for event in events))
        await desk.answered(answers)
        for event, answer in zip(events, answers, strict=True):
            if answer.callback is not None:
                self._spawn(self._webhooks.deliver(desk, event.offset, answer))
        return True

    async def _answer(self, asked: Asked) -> Answered:
        """The answer as it would have been sent; overload is waited out."""
        pause_s = 0.01
        while True:
            status, head, body = await self._ask(asked)
            waited_us = self._clock.time_ns() // 1000 - asked.asked_us
            if waited_us > self._longest_us(status):
                break
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, 1.0)
        return Answered(
            token=asked.token,
            key_id=asked.key_id,
            status=status or 503,
            content_type=_content_type(head),
            body=body,
            answered_us=self._clock.time_ns() // 1000,
            callback=asked.callback,
        )

    def _longest_us(self, status: int) -> float:
        """How long an answer of this status is not taken for the last word."""
        if status in (AGAIN, 429):
            return self._settings.keep_hours * 3_600e6
        return PATIENCE_US if status == 503 else -1

    async def _ask(self, asked: Asked) -> tuple[int, bytes, bytes]:
        endpoint = self._endpoint(asked)
        reply = AsgiReply()
        if endpoint is None:  # of a release that knew more URLs than this one
            return refusal(NotFound("no such resource"), asked.target.decode("latin-1"), "")
        endpoint.enter(Head(asked.target, asked.fields), asked.body, reply)
        return await reply.answered

    def _endpoint(self, asked: Asked) -> Endpoint | None:
        router = self._router()
        if self._known[0] is not router or len(self._known[1]) > SLOTS:
            self._known = router, {}
        key = asked.target, asked.key_id
        known = self._known[1].get(key)
        if known is None:
            who = Principal(
                asked.key_id, asked.name, may_predict=None, scopes=frozenset(), priority=PRIORITIES.index("low")
            )
            known = self._known[1][key] = router.replay(asked.target, who, self._again)
        return known

    async def stop(self) -> None:
        """Leave what waits on the disk, and let go of the slots."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for desk in self._desks.values():
            await asyncio.to_thread(desk.close)
        self._reader.close()


def _accepted(place: Place) -> tuple[bytes, bytes]:
    where = f"/api/v1/answers/{place.id}"
    head = f"content-type: application/json\r\nlocation: {where}\r\nretry-after: 1\r\n".encode()
    return head, _encode({"id": place.id, "status": "waiting", "answer_at": where})


def _content_type(head: bytes) -> str:
    lines = (line.partition(": ") for line in head.decode("latin-1").split("\r\n"))
    return next((value for name, _, value in lines if name.lower() == "content-type"), "application/octet-stream")
