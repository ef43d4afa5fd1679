"""The composition root: a project folder as a worker, as a server, or as a platform inside a Python program."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, nullcontext
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
import structlog
import uvloop

from kaname.access.principals import everybody
from kaname.addresses import is_loopback
from kaname.client.client import body_of
from kaname.clock import SystemClock
from kaname.data_plane import DataPlane
from kaname.errors import Conflict, CorruptData, DeadlineExceeded, MissingDependency, Unavailable
from kaname.models.reconcile import Doing
from kaname.project import Project, find, load_valid
from kaname.serving.certificates import GRPC_CIPHERS, Certificates
from kaname.serving.predict_api import PredictAnswer
from kaname.serving.snapshot import Snapshot
from kaname.serving.workers.board import Board
from kaname.serving.workers.lock import ProjectLock
from kaname.serving.workers.sockets import claimed
from kaname.serving.workers.supervisor import Supervisor
from kaname.serving.workers.types import ServeOptions, Worker
from kaname.settings import Device, ServerSettings
from kaname.storage.shared.opened import open_store
from kaname.stores import Stores, snapshot_file
from kaname.telemetry import logs
from kaname.telemetry.otlp.opened import check_exports
from kaname.terminal import working
from kaname.web.problems import error_of

Features = Mapping[str, object] | Sequence[object]
LOG = logging.getLogger("kaname.platform")
START_S = 120.0
PROGRAM_SLOTS = range(100, 164)
"""Slots of the event log for programs that hold a Platform."""
IN_THE_CLEAR = (
    "requests to %s, and the keys in them, can be read on their way: set server.tls.certificate, or let nobody but a "
    "proxy that ends TLS reach the port"
)
WITHOUT_DATABASE = (
    "THE DATABASE CANNOT BE USED: predictions are answered as of change %d, kept in %s; changes of models and keys are "
    "refused. Reason: %s. %s"
)
HOW_TO_REPAIR = (
    "To repair it, stop the server, put a copy of the database in its place (without -wal and -shm files of before) "
    "and start again; to begin with an empty registry, delete it and the kept file."
)
HOW_TO_WAIT = "The server goes on by itself as soon as the database answers."


class Platform:
    """One project in this process: its stores, and the request path on a thread of its own.

        with Platform("my-project") as platform:
            answer = platform.predict("iris", {"input": [5.1, 3.5, 1.4, 0.2]})

    Thread-safe. A server on the same project runs beside it: both see the same models, keys and record.
    """

    def __init__(self, project: str | os.PathLike[str], settings: Mapping[str, object] | None = None) -> None:
        """`settings` override by dotted name: `{"record.commit_ms": 5}`. Raises KanameError for a bad project."""
        self.project = load_valid(find(Path(project)), os.environ, settings)
        self._stores = Stores(self.project)
        self.models = self._stores.models
        self.keys = self._stores.keys
        self.predictions = self._stores.predictions
        self.features = self._stores.features
        self._who = everybody()
        self._thread: threading.Thread | None = None
        self._plane: DataPlane | None = None
        self._leave: asyncio.Event | None = None
        self._started = threading.Event()
        self._failure: BaseException | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, name="kaname", daemon=True)
        self._thread.start()
        self._started.wait(START_S)
        if self._failure is not None or not self._started.is_set():
            self._stores.close()
            raise self._failure or Unavailable("the platform did not start in time", expected=f"{START_S} s")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._plane is not None
        assert self._thread is not None
        assert self._leave is not None
        self._plane.node.loop.call_soon_threadsafe(self._leave.set)
        self._thread.join()
        self._stores.close()

    def predict(
        self,
        model: str,
        features: Features | None = None,
        *,
        instances: Sequence[Features] | None = None,
        entity: Mapping[str, object] | None = None,
        entities: Sequence[Mapping[str, object]] | None = None,
        version: str | None = None,
    ) -> PredictAnswer:
        """Ask a model for one row (`features`) or several (`instances`); the same path as over HTTP, recorded too.

        A model with a view is asked by `entity` or `entities`; what is given with them stands in the place of what the
        view would read.
        A change of this program's own (`models.promote`, …) is in force when its call here begins.
        """
        plane = self._running()
        body = body_of(features=features, instances=instances, entity=entity, entities=entities)
        plane.settled(self.models.seq(), START_S)
        status, answer = plane.ask(model, version, msgspec.json.encode(body), self._who)
        if status != 200:
            raise error_of(status, answer)
        return msgspec.json.decode(answer, type=PredictAnswer)

    def apply(self) -> list[str]:
        """Make what `models/*.yaml` and `features/*.schema` declare so; returns a line per change."""
        return apply_declared(self._stores, "python")

    def _running(self) -> DataPlane:
        if self._plane is None:
            raise Unavailable("the platform has not been entered", expected="with Platform(…) as platform:")
        return self._plane

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._live())
        except BaseException as error:  # noqa: BLE001  (re-raised in the thread that entered)
            self._failure = error
            self._started.set()

    async def _live(self) -> None:
        self._leave = asyncio.Event()
        plane = DataPlane(self._stores, free_slot(self._stores))
        await plane.start()
        self._plane = plane
        self._started.set()
        await self._leave.wait()
        await plane.stop()


def free_slot(stores: Stores) -> int:
    """A writer slot that no live process has, beyond those of a server's workers."""
    for slot in PROGRAM_SLOTS:
        try:
            stores.writer(slot).close()
        except Conflict:
            continue
        return slot
    raise Conflict("too many programs use this project at once", found=f"{len(PROGRAM_SLOTS)} of them")


def build_worker(project: Path, slot: int, board: Board) -> Worker:
    """The application of one worker process."""
    loaded = load_valid(project, os.environ)
    if loaded.settings.server.tls.minimum == "1.3":
        os.environ.setdefault(*GRPC_CIPHERS)  # before grpc is imported: it looks once
    return DataPlane(Stores(loaded, patient=True), slot, board, loaded.settings.server.grpc_port)


def apply_declared(stores: Stores, who: str, doing: Doing = nullcontext) -> list[str]:
    """Make what the project's files declare so; returns a line for each step, note and difference left standing."""
    plan, notes = stores.declarations().apply(who=who, doing=doing)
    drift = [f"{drift}; it stands until the file changes" for drift in plan.drift]
    return [*map(str, plan.steps), *notes, *drift, *_apply_features(stores)]


def _apply_features(stores: Stores) -> list[str]:
    """Bring the schema files into force; where a store does not answer now each relation is as soon as it is used."""
    try:
        return stores.features.apply()
    except (Unavailable, DeadlineExceeded) as error:
        if error.where == stores.database.place:
            raise
        return [f"note: relations are compared with what is stored when they are used: {error}"]


def serve(project: Path, overrides: Mapping[str, object], first: Callable[[Stores], None] | None = None) -> int:
    """Run the server of a project until it is told to stop; returns the exit status.

    `overrides` (dotted names) reach the workers through the environment, as a person could set them. `first` is done
    with the stores before anything is served.
    """
    for name, value in overrides.items():
        os.environ["KANAME_" + name.upper().replace(".", "__")] = str(value)
    logs.configure()
    loaded = load_valid(project, os.environ)
    lock = ProjectLock(project)
    try:
        server = loaded.settings.server
        _check_grpc(server)
        _check_device(loaded.settings.inference.device)
        _check_tokens(loaded)
        open_store(loaded.settings.shared)  # raises what is wrong with its address before the workers would
        _check_tls(loaded)
        _check_exports(loaded)
        with (
            claimed(server.host, server.port, "server.port"),
            claimed(server.host, server.grpc_port, "server.grpc_port"),
        ):
            if first is not None:
                with closing(Stores(loaded)) as stores:
                    first(stores)
            _prepare(loaded)
            return _supervisor(loaded, lock).run()
    finally:
        lock.release()


def _check_device(device: Device) -> None:
    """Raise Unavailable where a device is asked for by name that is not there."""
    if device in ("cuda", "tensorrt"):
        from kaname.runtimes.onnx import check_device

        check_device(device)


def _check_grpc(server: ServerSettings) -> None:
    """Raise what would keep the workers from answering gRPC."""
    if server.grpc_port and not _installed("grpc", "google.protobuf"):
        raise MissingDependency.of("grpcio", "grpc", "server.grpc_port")


def _check_tokens(project: Project) -> None:
    """Raise what would keep the workers from checking tokens; make the first signing key where one is needed."""
    access = project.settings.access
    if access.tokens or access.oauth.enabled:
        from kaname.access.bearer import open_tokens

        open_tokens(access, project.root, project.data, SystemClock())


def _check_tls(project: Project) -> None:
    """Raise what would keep the workers from encrypting; say where requests can be read on the way."""
    server = project.settings.server
    if server.tls.certificate is not None:
        Certificates(server.tls, project.root)
    elif not is_loopback(server.host):
        LOG.warning(IN_THE_CLEAR, server.host)


def _check_exports(project: Project) -> None:
    """Raise what would keep the workers from sending traces and metrics; say where they go."""
    said = check_exports(project.settings, project.root)
    if said is not None:
        structlog.get_logger("kaname.platform").info(f"sending {said}")


def _installed(*modules: str) -> bool:
    try:
        return all(find_spec(name) for name in modules)
    except ModuleNotFoundError:  # not even the package around it
        return False


def _prepare(project: Project) -> None:
    """What a server finds done when its workers start: a key for the local admin, the declared models.

    Where the database cannot be used but a snapshot was kept, the workers go on from that; this says so. Raises
    CorruptData or Unavailable where there is none.
    """
    kept = _kept_snapshot(project)
    with closing(Stores(project, patient=kept is not None)) as stores:
        try:
            stores.keys.ensure_local_admin(project.data)
            _collect_garbage(stores)
            if project.settings.profile == "local":
                for line in apply_declared(stores, "serve", working):
                    print(line, flush=True)  # noqa: T201  (the command's output)
            stores.snapshot().save(snapshot_file(project), anew=True)
        except (CorruptData, Unavailable) as error:
            if kept is None or error.where != stores.database.place:
                raise
            advice = HOW_TO_WAIT if stores.database.is_server else HOW_TO_REPAIR
            LOG.error(WITHOUT_DATABASE, kept.number, snapshot_file(project), error, advice)


def _collect_garbage(stores: Stores) -> None:
    """Delete what belongs to no version, another time where the artefacts cannot be reached now."""
    try:
        stores.models.collect_garbage()
    except Unavailable as error:
        if error.where == stores.database.place:
            raise
        LOG.warning("artefacts that nobody needs are not deleted now: %s", error)


def _kept_snapshot(project: Project) -> Snapshot | None:
    try:
        return Snapshot.load(snapshot_file(project))
    except (OSError, CorruptData):
        return None


def _supervisor(project: Project, lock: ProjectLock) -> Supervisor:
    server = project.settings.server
    options = ServeOptions(
        project=project.root,
        host=server.host,
        port=server.port,
        scheme="http" if server.tls.certificate is None else "https",
        workers=server.workers,
        drain_s=server.drain_ms / 1000,
    )
    print(f"starting {server.workers} worker{'s' * (server.workers > 1)} …", flush=True)  # noqa: T201  (likewise)
    return Supervisor(options, lock=lock)
