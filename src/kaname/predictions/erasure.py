"""Deletion of a subject's events: blocks are rewritten without them, by the owner of the slot.

Only a slot's owner writes to it. Whoever wants a deletion takes the slot when nobody owns it; otherwise it
leaves an order in the slot's folder, which the owner's writer thread carries out between commits, a little at
a time, and answers beside it. An order survives its requester and the owner: it is carried out at the latest
when the slot has an owner again.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import structlog

from kaname.clock import Clock
from kaname.errors import Conflict, CorruptData, KanameError, Unavailable
from kaname.predictions.decoding import without
from kaname.predictions.types import TOPIC, Subject
from kaname.storage.events.types import Block, EventReader, EventWriter, Position, split_partition

AT_ONCE_NS = 5_000_000
"""Longest time that an owner spends on orders between two commits."""
POLL_S = 0.02
FORGET_S = 86_400.0
"""Answers that nobody fetched are removed after a day."""


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an order; after a `failure` some of the subject's events may still be there."""

    deleted: int
    failure: str | None = None


_log = structlog.get_logger("kaname.predictions")


def erase(reader: EventReader, writer: EventWriter, slot: int, subject: Subject) -> Iterator[int]:
    """Delete the subject's committed events in a slot that `writer` owns; yields after each block how many went."""
    belongs = subject.test()
    needles = [request_id.encode() for request_id in subject.request_ids]
    for partition in reader.partitions(TOPIC):
        shard, owner = split_partition(partition)
        if owner != slot:
            continue
        end = reader.end(TOPIC, partition)
        position = Position(partition, 0)
        while position.offset < end and (blocks := reader.blocks(TOPIC, position, 1)):
            block = blocks[0]
            yield _erase_block(writer, shard, block, belongs, needles)
            position = Position(partition, block.offset + block.count)


def _erase_block(
    writer: EventWriter, shard: str, block: Block, belongs: Callable[..., bool], needles: list[bytes]
) -> int:
    if needles and not any(needle in block.value for needle in needles):
        return 0
    value, gone = without(block, belongs)
    if gone:
        writer.rewrite(TOPIC, shard, block.offset, value)
    return gone


class OrderedErasures:
    """Carries out the orders left for one slot; the recorder calls it in the writer thread."""

    def __init__(self, folder: Path, slot: int, reader: EventReader, clock: Clock) -> None:
        self._orders = _orders(folder, slot)
        self._slot = slot
        self._reader = reader
        self._clock = clock
        self._order: Path | None = None
        self._work: Iterator[int] = iter(())
        self._gone = 0

    def __call__(self, writer: EventWriter) -> bool:
        """Work for a few milliseconds; True when there is more to do. Raises OSError when the disk refuses."""
        if self._order is None and not self._begin(writer):
            return False
        until = self._clock.monotonic_ns() + AT_ONCE_NS
        try:
            for gone in self._work:
                self._gone += gone
                if self._clock.monotonic_ns() >= until:
                    return True
        except OSError:
            self._order = None  # from the start next time
            raise
        except KanameError as error:
            _log.error("an order to delete predictions failed", error=str(error))
            self._finish(str(error))
        else:
            self._finish()
        return True

    def _begin(self, writer: EventWriter) -> bool:
        waiting = sorted(self._orders.glob("*.json")) if self._orders.is_dir() else []
        for order in waiting:
            try:
                subject = msgspec.json.decode(order.read_bytes(), type=Subject)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                _log.error("an order to delete predictions cannot be read", order=str(order), error=str(error))
                order.rename(order.with_suffix(".bad"))
                continue
            self._order, self._gone = order, 0
            self._work = erase(self._reader, writer, self._slot, subject)
            return True
        return False

    def _finish(self, failure: str | None = None) -> None:
        order, self._order = self._order, None
        if order is not None:
            _write(order.with_suffix(".done"), msgspec.json.encode(Done(deleted=self._gone, failure=failure)))
            order.unlink(missing_ok=True)


def erase_everywhere(
    subject: Subject,
    folder: Path,
    reader: EventReader,
    open_writer: Callable[[int], EventWriter],
    *,
    timeout_s: float = 30.0,
) -> int:
    """Delete the subject's events in all slots under `folder`; returns their number.

    `open_writer(slot)` takes a slot and raises Conflict when a live process owns it; its owner gets an order then.
    Raises Unavailable when an owner has not carried its order out after `timeout_s`; the order stands. Raises
    CorruptData when a part of the record cannot be read: what it holds of the subject is still there.
    """
    ordered: list[Path] = []
    gone = 0
    for slot in sorted({split_partition(partition)[1] for partition in reader.partitions(TOPIC)}):
        try:
            writer = open_writer(slot)
        except Conflict:
            ordered.append(_order(folder, slot, subject))
            continue
        try:
            gone += sum(erase(reader, writer, slot, subject))
        finally:
            writer.close()
    return gone + _answers(ordered, timeout_s)


def _orders(folder: Path, slot: int) -> Path:
    return folder / str(slot) / "erase"


def _order(folder: Path, slot: int, subject: Subject) -> Path:
    orders = _orders(folder, slot)
    orders.mkdir(exist_ok=True)
    for answer in orders.glob("*.done"):
        if answer.stat().st_mtime < time.time() - FORGET_S:
            answer.unlink(missing_ok=True)
    order = orders / f"{secrets.token_hex(8)}.json"
    _write(order, msgspec.json.encode(subject))
    return order


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all, and on disk."""
    draft = path.with_suffix(".draft")
    with draft.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)


def _answers(orders: list[Path], timeout_s: float) -> int:
    until = time.monotonic() + timeout_s
    gone = 0
    failures: list[str] = []
    for order in orders:
        answer = order.with_suffix(".done")
        while not answer.exists():
            if time.monotonic() >= until:
                raise Unavailable(
                    "the process that writes this part of the record has not deleted the events yet; the order stands",
                    where=str(order.parent.parent),
                )
            time.sleep(POLL_S)
        done = msgspec.json.decode(answer.read_bytes(), type=Done)
        answer.unlink(missing_ok=True)
        if done.failure is not None:
            failures.append(done.failure)
        gone += done.deleted
    if failures:
        raise CorruptData(
            f"{gone} events were deleted, others could not be read: {'; '.join(failures)}",
            where=str(orders[0].parents[2]),
        )
    return gone
