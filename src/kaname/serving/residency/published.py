"""How workers tell their accounts: one asks by touching a file, and every worker then writes its own.

So an account costs nothing while nobody looks, and is as of the moment at which somebody did.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from kaname.serving.residency.account import WorkerAccount

LOG = logging.getLogger("kaname.residency")
LOOK_S = 0.25
PATIENCE_S = 3.0
"""Longest wait for a worker's account; then the answer is without it."""
_decode = msgspec.msgpack.Decoder(WorkerAccount).decode
_encode = msgspec.msgpack.Encoder().encode


def accounts_folder(run: Path) -> Path:
    """Where the accounts are, in the folder that the processes of one run share."""
    return run / "residency"


class Publisher:
    """Writes the account that `make` gives, on a thread, whenever somebody has asked."""

    def __init__(self, folder: Path, slot: int, make: Callable[[], WorkerAccount]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._asked = folder / "asked"
        self._path = _path(folder, slot)
        self._make = make

    async def run(self) -> None:
        """Look until cancelled."""
        seen = _time_of(self._asked)
        while True:
            await asyncio.sleep(LOOK_S)
            asked = _time_of(self._asked)
            if asked != seen:
                seen = asked
                await asyncio.to_thread(self._write)

    def _write(self) -> None:
        fresh = self._path.with_suffix(".new")
        try:
            fresh.write_bytes(_encode(self._make()))
            fresh.replace(self._path)
        except OSError as error:
            LOG.error("the account of memory cannot be written: %s", error)


def ask(
    folder: Path, slots: Iterable[int], *, patience_s: float = PATIENCE_S, sleep: Callable[[float], None] = time.sleep
) -> list[WorkerAccount]:
    """The accounts of the workers in `slots`, as of now; without those that do not answer in time. Blocks."""
    folder.mkdir(parents=True, exist_ok=True)
    asked = folder / "asked"
    asked.touch()
    since = asked.stat().st_mtime_ns
    waiting, found = set(slots), []
    until = time.monotonic() + patience_s
    while waiting and time.monotonic() < until:
        for slot in sorted(waiting):
            if _time_of(_path(folder, slot)) >= since:
                found.append(_decode(_path(folder, slot).read_bytes()))
                waiting.discard(slot)
        if waiting:
            sleep(LOOK_S / 10)
    return sorted(found, key=lambda worker: worker.slot)


def _path(folder: Path, slot: int) -> Path:
    return folder / f"slot-{slot:03d}"


def _time_of(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
