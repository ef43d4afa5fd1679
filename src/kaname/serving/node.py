"""The data plane of one process: a snapshot in force, the versions it needs in memory, the endpoints that answer."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from itertools import islice
from typing import Protocol

from kaname.access.buckets import Buckets
from kaname.access.certificates import ClientCertificates
from kaname.access.lease import TokenCheck
from kaname.access.principals import Principals
from kaname.call import Observer, Principal, Target
from kaname.clock import Clock
from kaname.errors import KanameError
from kaname.ids import IdSource
from kaname.inference.cache.fleet import Remote
from kaname.inference.cache.step import ResultCache
from kaname.inference.crew import Crew
from kaname.inference.lane import Lane
from kaname.inference.residency import Loader, Residency
from kaname.inference.resident import Resident
from kaname.inference.streams import Streams
from kaname.inference.turnstile import Turnstile, Turnstiles
from kaname.models.types import VersionInfo
from kaname.resilience.deadlines import Deadlines
from kaname.runtimes.catalog import REMOTE
from kaname.runtimes.types import Elsewhere, Session
from kaname.serving.asgi import AsgiReply
from kaname.serving.budgets import batch_rows, device_budget, host_budget
from kaname.serving.caching import Caches
from kaname.serving.directory import Directory
from kaname.serving.endpoint import Deferral, PrincipalOf
from kaname.serving.exchange import Endpoint, Head
from kaname.serving.gate import Gate
from kaname.serving.meters import DoorMeters, Meters, ResidencyMeters, VersionMeters
from kaname.serving.predict import Admission
from kaname.serving.preload import Answers, preload
from kaname.serving.provision import provision
from kaname.serving.remotes import unready, wide_lane
from kaname.serving.routes import Router
from kaname.serving.snapshot import ModelEntry, Snapshot, without_promotions
from kaname.serving.tfs.labels import labelled
from kaname.serving.traced import Tracing
from kaname.serving.views.opened import Assemblies, Views
from kaname.settings import ModelConfig, Recording, Settings
from kaname.signature import Signature
from kaname.telemetry.metrics import Metrics

LOG = logging.getLogger("kaname.node")
SWITCH_S = 10.0
"""Longest wait for workers that have not loaded a change and load nothing; then the others switch without them."""


class Record(Protocol):
    """Makes what records one version's calls (`predictions.recorder.Recorder`)."""

    def observer(self, target: Target, signature: Signature, recording: Recording) -> Observer:
        """What sees the end of every call of the version."""


class Progress(Protocol):
    """Where this process tells the others how far it is (the board of worker processes)."""

    def activated(self) -> int:
        """The newest change that all processes which have prepared it answer from; read per request, so cheap."""

    def prepared(self, number: int) -> None:
        """Everything of change `number` is loaded and warm here."""

    def wait_turn(self, number: int, timeout_s: float) -> bool:
        """Activate `number` as soon as every worker has prepared it, or when time is over. Blocks: on a thread.

        False when another worker has prepared a newer change instead: that one is to be prepared here, too."""

    def applied(self, number: int) -> None:
        """Requests are answered as of change `number`."""


class Alone:
    """The Progress of a process that has no others beside it."""

    def __init__(self) -> None:
        self._number = 0

    def activated(self) -> int:
        return self._number

    def prepared(self, number: int) -> None:
        self._number = max(self._number, number)

    def wait_turn(self, number: int, timeout_s: float) -> bool:
        return True

    def applied(self, number: int) -> None:
        return


class Node:
    """Belongs to one event loop. `apply` puts a snapshot in force; `gate` is where requests come in."""

    def __init__(
        self,
        *,
        settings: Settings,
        clock: Clock,
        ids: IdSource,
        gate: Gate,
        metrics: Metrics,
        record: Record | None,
        loader: Loader,
        buckets: Buckets,
        progress: Progress,
        check: TokenCheck | None = None,
        remote: Remote | None = None,
        certificates: ClientCertificates | None = None,
        tracing: Tracing | None = None,
        views: Views | None = None,
    ) -> None:
        """`check` knows tokens that are as good as keys, `certificates` clients that need none, `remote` what all nodes
        keep together, `tracing` which requests are traced, `views` what models read."""
        loop = asyncio.get_running_loop()
        self.gate = gate
        self.settings = settings
        self.clock = clock
        self.ids = ids
        self.metrics = metrics
        self.door_meters = DoorMeters(metrics)
        self.deferral: Deferral | None = None
        """Where requests wait that are answered later; set before the first snapshot."""
        self.tracing = tracing
        self._record = record
        self._buckets = buckets
        self._progress = progress
        self._check = check
        self._certificates = certificates
        gate.activated = progress.activated
        self._crew = Crew(settings.inference.worker_threads, loop)
        self._deadlines = Deadlines(clock, loop)
        self._turnstiles = Turnstiles(clock, self._deadlines)
        self.loop = loop
        self._meters = Meters(metrics)
        self._configs: dict[int, ModelConfig] = {}
        self._admissions: dict[int, Admission] = {}
        self.residency = Residency(
            loader,
            self._make_lane,
            self._deadlines,
            clock,
            budget=host_budget(settings),
            device_budget=partial(device_budget, settings),
            loaded=ResidencyMeters(metrics).loaded,
        )
        self.assemblies = Assemblies(views, clock, settings.inference.max_rows, settings.features.lookup_ms)
        self._caches = Caches(metrics, self._deadlines, remote)
        self.streams = Streams(settings.inference.streams, self.residency, self._deadlines, loop)
        self.snapshot = self._newest = Snapshot(number=0, models=(), keys=())
        self._directory = Directory(self.snapshot)
        self._bringing: asyncio.Task[None] | None = None
        self._router = Router(self)
        self._asked: dict[tuple[str, str | None, int], Endpoint] = {}
        self.principals = Principals((), buckets)
        self.ready = False
        self._wanted: set[int] = set()
        self._promoted: set[int] = set()
        self._asked_now: set[int] = set()
        self._answers: Answers = {}

    # --- snapshots --------------------------------------------------------------------------------------

    async def apply(self, snapshot: Snapshot) -> None:
        """Bring a newer snapshot into force.

        What needs no loading (keys, limits, settings) holds when this returns. A change of the version that
        answers waits, in the background, until every worker has loaded it; then all switch at one instant.
        """
        await self.assemblies.open(snapshot)
        self._newest = snapshot
        for entry in snapshot.models:
            for version in entry.versions:
                self._configs[version.id] = entry.info.config
        self._switch(without_promotions(snapshot, self.snapshot))
        if self._bringing is None or self._bringing.done():
            self._bringing = asyncio.get_running_loop().create_task(self._bring())

    async def settle(self) -> None:
        """Return when the newest snapshot is wholly in force here."""
        while self._bringing is not None and not self._bringing.done():
            await asyncio.wait([self._bringing])

    async def _bring(self) -> None:
        while self.snapshot is not self._newest:
            snapshot = self._newest
            await self._load(snapshot)
            if snapshot is not self._newest:
                continue
            self.gate.prepare(snapshot.number, lambda: self._switch(self._activated(snapshot)))  # noqa: B023  (called before the next turn)
            self._progress.prepared(snapshot.number)
            if not await asyncio.to_thread(self._progress.wait_turn, snapshot.number, SWITCH_S):
                continue
            self.gate.switch()
            self.ready = True
            self._progress.applied(snapshot.number)
            self._forget_superseded(snapshot)
            used = {v.id for e in snapshot.models if e.info.loaded for v in e.versions}
            self.residency.keep(used & self._wanted)
            self._meters.keep(snapshot)

    async def _load(self, snapshot: Snapshot) -> None:
        """Bring into memory what is to be warm when the snapshot comes into force."""
        residency = self.residency
        wanted = preload(snapshot, self._answers, residency.is_ready)
        answering = {info.id for info in wanted.answers.values()}
        self._wanted |= answering
        self._promoted |= answering
        residency.pin(wanted.pinned)
        residency.forgive()
        await residency.load(wanted.first)
        fitting = filter(residency.has_room, wanted.fresh)
        for info in islice(fitting, self.settings.inference.preload):
            await residency.load([info])
        self._answers = wanted.answers

    def _forget_superseded(self, snapshot: Snapshot) -> None:
        """What answered stays in memory while a rollback may return to it, and no longer, unless requests name it."""
        stay = set()
        for entry in snapshot.models:
            stay |= {v.id for v in entry.versions if v.version in (entry.info.promoted, entry.info.previous)}
        self._wanted -= self._promoted - stay - self._asked_now
        self._promoted &= stay

    def _activated(self, snapshot: Snapshot) -> Snapshot:
        """What answers once `snapshot` is activated: its promotions, and what needs no loading as of the newest one
        (a key revoked meanwhile stays revoked)."""
        return snapshot if snapshot is self._newest else without_promotions(self._newest, snapshot)

    def _switch(self, snapshot: Snapshot) -> None:
        """Answer from `snapshot`: one request is answered by the old or the new one, never by both."""
        self.principals = Principals(
            snapshot.keys,
            self._buckets,
            default_rate_rows_per_s=self.settings.access.rate_rows_per_s,
            off=self.settings.access.authentication == "off",
            check=self._check,
            tenants=snapshot.tenants,
            certificates=self._certificates,
        )
        self.snapshot = snapshot
        self._directory = Directory(snapshot)
        self._caches.keep(snapshot)
        self._router = Router(self)
        self._asked.clear()
        self._asked_now.clear()
        self.gate.swap(self._router.find)

    def want(self, info: VersionInfo) -> Resident:
        """The resident of a version that is about to be asked."""
        self._wanted.add(info.id)
        self._asked_now.add(info.id)
        return self.residency.of(info)

    # --- callers inside the process ---------------------------------------------------------------------

    async def ask(self, ref: str, version: str | None, body: bytes, principal: Principal) -> tuple[int, bytes]:
        """Send a JSON body down the request path as `principal`; returns the HTTP status and body of the answer."""
        key = (ref, version, id(principal))
        endpoint = self._asked.get(key)
        if endpoint is None:
            endpoint = self._asked[key] = self._router.endpoint(ref, version, lambda _: principal)
            if not endpoint.lasting or len(self._asked) > 1024:
                self._asked.clear()
        reply = AsgiReply()
        endpoint.enter(Head(f"/api/v1/models/{ref}/predict".encode(), {}), body, reply)
        status, _, answer = await reply.answered
        return status, answer

    def router(self) -> Router:
        """What answers now, for doors that name models otherwise than by URL; another one after each switch."""
        self.gate.turn()
        return self._router

    # --- facts for the protocols ------------------------------------------------------------------------

    @property
    def principal_of(self) -> PrincipalOf:
        """Tells who asks, by the snapshot in force now."""
        return self.principals.of

    def entry(self, ref: str) -> ModelEntry:
        """A model by name or number. Raises NotFound, which names similar ones."""
        return self._directory.entry(ref)

    def name_of(self, ref: str) -> str:
        """The name of a model called by name or number; what it was called, where there is no such model."""
        found = self._directory.find(ref)
        return ref if found is None else found.info.name

    def version(self, ref: str, version: str | None) -> VersionInfo:
        """A version by name, or the promoted one. Raises what `Directory.version` does."""
        return self._directory.version(ref, version)

    def events(self, path: str, ref: str, version: str | None) -> Endpoint:
        """The endpoint of a model whose answers come piece by piece, under the URL `path`."""
        return self._router.events(path, ref, version)

    def labelled(self, ref: str, label: str) -> VersionInfo:
        """The version that a label stands for. Raises what `version` raises, and NotFound for an unknown label."""
        return self.version(ref, labelled(self.entry(ref), label))

    def is_ready(self, info: VersionInfo) -> bool:
        """Whether the version can answer without loading first."""
        return self.unready(info) is None

    def unready(self, info: VersionInfo) -> KanameError | None:
        """Why the version cannot answer now without loading first; None: it can."""
        return unready(self.residency.lane_of(info))

    def meters_of(self, info: VersionInfo) -> VersionMeters:
        """The numbers of a version."""
        return self._meters.of(info)

    def config_of(self, info: VersionInfo) -> ModelConfig:
        """The settings of the version's model."""
        return self._configs[info.id]

    def admission_of(self, info: VersionInfo) -> Admission:
        """The limits of the version's model; kept over snapshots unless they change, so that no change refills them."""
        limits = self.config_of(info).limits
        kept = self._admissions.get(info.model_id)
        if kept is None or kept.limits != limits:
            bucket = self._buckets.of_model(info.model_id, limits.rate_rows_per_s)
            held = provision(bucket) if self._buckets.is_shared else None
            take = None if bucket is None else bucket.take
            kept = self._admissions[info.model_id] = Admission(info.model, limits, take, held)
        return kept

    def cache_of(self, info: VersionInfo) -> ResultCache | None:
        """Where answers of the version are kept, or None."""
        return self._caches.of(info, self.config_of(info))

    def turnstile_of(self, info: VersionInfo, resident: Resident) -> Turnstile | None:
        """Where requests of the version wait; None without adaptive admission."""
        config, far = self.config_of(info), info.runtime == REMOTE
        best_rows = batch_rows(info.profile, config)
        slow = far or self._is_slow(info, best_rows)
        return self._turnstiles.of(resident, config.limits, best_rows, slow=slow, far=far)

    def recorder_of(self, info: VersionInfo) -> Observer | None:
        """What records calls of the version, or None when nothing is recorded."""
        recording = self.config_of(info).record
        if self._record is None or not recording.enabled:
            return None
        return self._record.observer(target_of(info), info.signature, recording)

    # --- lanes ------------------------------------------------------------------------------------------

    def _make_lane(self, info: VersionInfo, session: Session) -> Lane:
        config, meters = self.config_of(info), self.meters_of(info)
        meters.loads.add()
        ran = meters.ran(self.clock)
        best_rows = batch_rows(info.profile, config)
        lane: Lane
        if isinstance(session, Elsewhere):
            lane = wide_lane(self, info, session, self._deadlines, best_rows)
        else:
            lane = Lane(
                session,
                info.signature,
                best_rows=best_rows,
                loop=self.loop,
                clock=self.clock,
                deadlines=self._deadlines,
                crew=self._crew if self._is_slow(info, best_rows) else None,
                queue=config.limits.queue,
                max_delay_ms=config.max_delay_ms,
                ran=ran if self.tracing is None else self.tracing.ran(ran),
            )
        self._turnstiles.attach(info.id, lane)
        return lane

    def _is_slow(self, info: VersionInfo, best_rows: int) -> bool:
        """Whether its runs are for threads: too long for the event loop."""
        return info.profile.us_at(best_rows) > self.settings.inference.inline_us

    async def close(self) -> None:
        """Release every session. No request is in progress any more."""
        if self._bringing is not None:
            self._bringing.cancel()
            await asyncio.wait([self._bringing])
        await asyncio.to_thread(self.streams.close)
        await self.residency.close()
        self._deadlines.close()
        await asyncio.to_thread(self._crew.close)


def target_of(info: VersionInfo) -> Target:
    """The version as a call names it."""
    return Target(model=info.model, model_id=info.model_id, version=info.version, version_id=info.id)
