"""What each worker holds in memory, version by version, and the sum over workers, as facts."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from kaname.clock import Clock
from kaname.inference.ledger import Memory
from kaname.inference.residency import Residency
from kaname.inference.resident import Resident

State = Literal["in memory", "loading", "failed", "absent"]


class VersionAccount(msgspec.Struct, frozen=True, kw_only=True):
    """One version in one worker, or summed over workers. Absent ones took `bytes` when they were last loaded."""

    model: str
    version: str
    state: State
    bytes: int
    device_bytes: Annotated[int, Meta(description="The same of a device's memory.")] = 0
    pinned: bool
    loads: int
    load_ms: Annotated[float, Meta(description="How long the last load took.")]
    last_used_us: Annotated[int | None, Meta(description="Microseconds since the Unix epoch; null: never asked.")]
    evictions: int
    why: Annotated[str, Meta(description="Of the last eviction, or of a failed load.")]
    workers: Annotated[int, Meta(description="Workers that have it in memory.")]

    @property
    def name(self) -> str:
        return f"{self.model}/{self.version}"

    @property
    def resident_bytes(self) -> int:
        """What it takes now."""
        return self.bytes if self.state == "in memory" else 0

    @property
    def on_device_bytes(self) -> int:
        """What it takes of a device now."""
        return self.device_bytes if self.state == "in memory" else 0


class WorkerAccount(msgspec.Struct, frozen=True, kw_only=True):
    """One worker at one moment, or all of them summed. `memory` are bytes by whose they are."""

    slot: int
    pid: int
    budget: Annotated[int, Meta(description="Bytes that its sessions may take together.")]
    memory: Memory
    device_budget: Annotated[
        int, Meta(description="Bytes of the device that its sessions may take; 0: it uses none.")
    ] = 0
    device_bytes: Annotated[int, Meta(description="Bytes of the device that its sessions take.")] = 0
    resident: Annotated[int, Meta(description="Versions in memory.")]
    loads: int
    evictions: int
    versions: tuple[VersionAccount, ...] = ()
    at_us: Annotated[int, Meta(description="When this was so: microseconds since the Unix epoch.")] = 0
    cpu_s: Annotated[float, Meta(description="Processor time that it has used, in seconds.")] = 0.0


def account(residency: Residency, clock: Clock, slot: int, pid: int) -> WorkerAccount:
    """The account of this process. Takes milliseconds: on a thread."""
    ahead_ns = clock.time_ns() - clock.monotonic_ns()
    versions = tuple(_version(resident, residency, ahead_ns) for resident in residency.known())
    inside = [version for version in versions if version.state == "in memory"]
    return WorkerAccount(
        slot=slot,
        pid=pid,
        budget=residency.room.budget,
        memory=residency.ledger.memory(sum(version.bytes for version in inside)),
        device_budget=residency.room.device.budget or 0,
        device_bytes=sum(version.device_bytes for version in inside),
        resident=len(inside),
        loads=residency.loads,
        evictions=residency.room.evictions,
        versions=versions,
        at_us=clock.time_ns() // 1000,
        cpu_s=time.process_time(),
    )


def _version(resident: Resident, residency: Residency, ahead_ns: int) -> VersionAccount:
    state = _state(resident)
    used = resident.used_ns
    return VersionAccount(
        model=resident.info.model,
        version=resident.info.version,
        state=state,
        bytes=resident.bytes,
        device_bytes=resident.device_bytes,
        pinned=resident.info.id in residency.room.pinned,
        loads=resident.loads,
        load_ms=resident.load_ns / 1e6,
        last_used_us=(used + ahead_ns) // 1000 if used else None,
        evictions=resident.evictions,
        why=resident.why if resident.error is None else str(resident.error),
        workers=int(state == "in memory"),
    )


def _state(resident: Resident) -> State:
    if resident.lane is not None:
        return "in memory"
    if resident.loading is not None:
        return "loading"
    return "absent" if resident.error is None else "failed"


ORDER: tuple[State, ...] = ("in memory", "loading", "failed", "absent")
"""Of several workers' states, the first one of these is the node's."""


def summed(workers: Iterable[WorkerAccount]) -> list[VersionAccount]:
    """Every version over all workers: bytes in memory, loads and evictions summed, else what is newest."""
    found: dict[str, list[VersionAccount]] = {}
    for worker in workers:
        for version in worker.versions:
            found.setdefault(version.name, []).append(version)
    return [_one(same) for same in found.values()]


def _one(same: Sequence[VersionAccount]) -> VersionAccount:
    newest = max(same, key=lambda version: version.last_used_us or 0)
    inside = sum(version.resident_bytes for version in same)
    on_device = sum(version.on_device_bytes for version in same)
    return msgspec.structs.replace(
        newest,
        state=min((version.state for version in same), key=ORDER.index),
        bytes=inside or max(version.bytes for version in same),
        device_bytes=on_device or max(version.device_bytes for version in same),
        loads=sum(version.loads for version in same),
        evictions=sum(version.evictions for version in same),
        why=next((version.why for version in (newest, *same) if version.why), ""),
        workers=sum(version.workers for version in same),
    )


def total(workers: Sequence[WorkerAccount]) -> WorkerAccount:
    """All workers as one, without versions; its slot is -1 and its pid 0."""
    memories = [worker.memory for worker in workers]
    return WorkerAccount(
        slot=-1,
        pid=0,
        budget=sum(worker.budget for worker in workers),
        memory=Memory(
            resident=sum(m.resident for m in memories),
            interpreter=sum(m.interpreter for m in memories),
            sessions=sum(m.sessions for m in memories),
            slack=sum(m.slack for m in memories),
        ),
        device_budget=sum(worker.device_budget for worker in workers),
        device_bytes=sum(worker.device_bytes for worker in workers),
        resident=sum(worker.resident for worker in workers),
        loads=sum(worker.loads for worker in workers),
        evictions=sum(worker.evictions for worker in workers),
        at_us=max((worker.at_us for worker in workers), default=0),
        cpu_s=sum(worker.cpu_s for worker in workers),
    )
