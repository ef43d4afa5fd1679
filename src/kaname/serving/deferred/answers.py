"""Answers to deferred requests, as they are looked up and shown."""

from __future__ import annotations

import base64
import threading
import time
from pathlib import Path
from typing import Literal

import msgspec

from kaname.call import Principal
from kaname.errors import NotFound
from kaname.serving.deferred.types import ANSWERED, ASKED, SHARD, Answered, Place, answered_of, asked_of
from kaname.storage.events.lmdb.reader import LmdbReader
from kaname.storage.events.types import Event, Position, partition_name
from kaname.storage.sealing.keys import Keyring
from kaname.storage.sealing.segments import BlockOpener

LOOK_S = 0.025
WAITERS = 16
"""Callers who wait at once; others are told that the answer is not there yet."""


class AnswerView(msgspec.Struct, frozen=True, kw_only=True):
    """A deferred request. `answer` is what would have been sent: JSON, or its bytes in base64 where it is not."""

    id: str
    status: Literal["waiting", "done"]
    http_status: int | None = None
    content_type: str | None = None
    answered_us: int | None = None
    answer: object = None


def view(place: Place, answer: Answered) -> AnswerView:
    """An answer as callers see it."""
    shown: object = base64.b64encode(answer.body).decode()
    if answer.content_type.partition(";")[0].endswith("json"):
        shown = msgspec.Raw(answer.body)
    return AnswerView(
        id=place.id,
        status="done",
        http_status=answer.status,
        content_type=answer.content_type,
        answered_us=answer.answered_us,
        answer=shown,
    )


class Answers:
    """Reads the log of deferred requests, whichever process writes it. Safe to use from several threads."""

    def __init__(self, folder: Path, keyring: Keyring) -> None:
        """`keyring` opens what was encrypted."""
        self._reader = LmdbReader(folder, BlockOpener(folder, keyring))
        self._room = threading.BoundedSemaphore(WAITERS)

    def get(self, text: str, who: Principal, wait_s: float) -> AnswerView:
        """The answer, waited for `wait_s` at most; or that it is not there yet.

        Raises NotFound for what never was, is kept no longer, or is somebody else's.
        """
        place = Place.of(text)
        found = self._look(place, who)
        until = time.monotonic() + wait_s
        if found.status == "done" or not wait_s or not self._room.acquire(blocking=False):
            return found
        try:
            while time.monotonic() < until and found.http_status is None:
                time.sleep(LOOK_S)
                found = self._look(place, who)
        finally:
            self._room.release()
        return found

    def _look(self, place: Place, who: Principal) -> AnswerView:
        event = self._event(
            ASKED, place
        )  # first: between the two looks it may be answered, and is then no longer asked
        answered = self._event(ANSWERED, place)
        if answered is not None:
            answer = answered_of(answered.value)
            if answer.token == place.token and _may_read(who, answer.key_id):
                return view(place, answer)
        elif event is not None:
            asked = asked_of(event.value)
            if asked.token == place.token and _may_read(who, asked.key_id):
                return AnswerView(id=place.id, status="waiting")
        raise NotFound("no such answer", where="id", found=place.id, expected="an id of a 202, not too old")

    def _event(self, topic: str, place: Place) -> Event | None:
        position = Position(partition_name(SHARD, place.slot), place.offset)
        events = self._reader.read(topic, position, 1)
        return events[0] if events and events[0].offset == place.offset else None

    def close(self) -> None:
        """Give the files back."""
        self._reader.close()


def _may_read(who: Principal, key_id: str) -> bool:
    return who.key_id == key_id or "read" in who.scopes
