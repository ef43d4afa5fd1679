"""The data plane of one process, composed: the node, its stores, its recorder, its application."""

from __future__ import annotations

import asyncio
import contextlib
import os
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from starlette.routing import BaseRoute

from kaname import ids as id_sources
from kaname.access import api as keys_api
from kaname.access import tenant_api as tenants_api
from kaname.access import token_endpoint
from kaname.access.buckets import node_buckets
from kaname.access.certificates import ClientCertificates
from kaname.access.levels import NodeLevels
from kaname.access.started import started_tokens
from kaname.batch import api as batch_api
from kaname.batch.runner import Runner as BatchRunner
from kaname.call import Principal
from kaname.errors import KanameError, MissingDependency
from kaname.features import api as features_api
from kaname.features import streams as feature_streams
from kaname.features import views_api
from kaname.following import Following
from kaname.models import api as models_api
from kaname.predictions import api as predictions_api
from kaname.predictions.erasure import OrderedErasures
from kaname.predictions.measured import measured_recorder
from kaname.predictions.recorder import Recorder
from kaname.predictions.shards import api as sql_log_api
from kaname.predictions.shards.runner import SinkRunner
from kaname.repositories import api as repositories_api
from kaname.repositories.watch import Watcher as RepositoryWatcher
from kaname.serving.app import application
from kaname.serving.certificates import Certificates
from kaname.serving.certified import certified_class
from kaname.serving.deferred import api as deferred_api
from kaname.serving.deferred.answers import Answers
from kaname.serving.deferred.office import Office
from kaname.serving.exchange import Fields
from kaname.serving.gate import Gate
from kaname.serving.http import connection_class
from kaname.serving.json_codec import ProblemEndpoint
from kaname.serving.loading import ArtefactLoader
from kaname.serving.models_api import model_resources
from kaname.serving.node import SWITCH_S, Node
from kaname.serving.nodes import api as nodes_api
from kaname.serving.oip import api as oip_api
from kaname.serving.oip import documented as oip_documented
from kaname.serving.oip.catalog import NodeCatalog
from kaname.serving.predict_api import predict_resources
from kaname.serving.residency import api as residency_api
from kaname.serving.residency.account import WorkerAccount, account
from kaname.serving.residency.published import Publisher, accounts_folder
from kaname.serving.residency.published import ask as ask_accounts
from kaname.serving.snapshot import ModelEntry
from kaname.serving.streams import api as streams_api
from kaname.serving.streams.beginning import StreamGuard
from kaname.serving.streams.events import EventStreams
from kaname.serving.streams.ndjson import LineStreams
from kaname.serving.tfs import api as tfs_api
from kaname.serving.tfs import documented as tfs_documented
from kaname.serving.traced import tracing_of
from kaname.serving.views.opened import Views
from kaname.serving.workers.board import Board
from kaname.serving.workers.first_loads import FirstLoads, first_loads_path
from kaname.serving.workers.types import App, data_folder
from kaname.serving.workers.watcher import JournalWatcher
from kaname.storage.shared.opened import open_exchange
from kaname.storage.sole import Sole
from kaname.stores import Stores, folder_at
from kaname.telemetry.metrics import Metrics
from kaname.telemetry.otlp.opened import open_exports
from kaname.telemetry.otlp.types import Origin
from kaname.web.endpoints import Site
from kaname.web.hosts import HostGuard
from kaname.web.problems import status_of

if TYPE_CHECKING:
    from kaname.access.bearer import Tokens
    from kaname.serving.grpc.server import GrpcServer

DRAIN_LOOK_S = 0.01


class DataPlane:
    """Everything that answers requests in one process; the `Worker` of a worker process.

    Construct it anywhere; `start` and what follows belong to one event loop. Without a `board` it is alone.
    """

    def __init__(self, stores: Stores, slot: int = 0, board: Board | None = None, grpc_port: int = 0) -> None:
        """`grpc_port`: where to answer gRPC as well; 0: nowhere."""
        settings = stores.project.settings
        self._stores = stores
        self._slot = slot
        self._grpc_port = grpc_port
        self._grpc: GrpcServer | None = None
        self._board = board
        root = stores.project.root
        self._first_loads = None if board is None else FirstLoads(first_loads_path(root), board, slot)
        self._clock = stores.clock
        self._ids = id_sources.request_ids(self._clock)
        self._metrics_folder = folder_at(stores.project.data / "metrics")
        self._accounts = accounts_folder(data_folder(root))
        self._guard = HostGuard(settings.server.host, settings.server.allowed_hosts, settings.server.allowed_origins)
        self.gate = Gate(settings.server, self._clock, self._may_enter, ProblemEndpoint(self._ids), self._guard.sharing)
        tls = settings.server.tls
        self.tls = None if tls.certificate is None else Certificates(tls, root)
        self.headers = [("strict-transport-security", f"max-age={tls.hsts_max_age_s}")] if tls.hsts_max_age_s else []
        shown = settings.access.certificates if tls.client_ca is not None else ()
        self._certificates = ClientCertificates(shown) if shown else None
        known = self._certificates
        self.http_protocol = connection_class(self.gate) if known is None else certified_class(self.gate, known)
        self.app: App = _not_started
        self._watching: asyncio.Task[None] | None = None
        self._publishing: asyncio.Task[None] | None = None
        self._batches: BatchRunner | None = None
        self._tokens: Tokens | None = None
        self._sink = None
        if stores.sql_log is not None:
            command = ("-C", str(root), "predictions", "sink", "--with-parent")
            self._sink = SinkRunner(command, stores.project.data / "sink-runner.lock")
        self._following = Following(stores, slot, board)
        self._repository: RepositoryWatcher | None = None

    async def start(self) -> None:
        """Bring the newest snapshot into force: what must answer is loaded and warm when this returns."""
        settings = self._stores.project.settings
        self._loop = asyncio.get_running_loop()
        self._metrics = Metrics(self._metrics_folder, self._slot)
        self._levels = NodeLevels(self._stores.project.data)
        self._shared = open_exchange(settings.shared, self._clock, self._loop, self._metrics)
        self._recorder = self._open_recorder()
        project = self._stores.project
        self._tokens = await started_tokens(settings.access, project.root, project.data, self._clock)
        claim = Sole(self._metrics_folder / "otlp.lock")
        origin = Origin(self._stores.node, self._metrics, self._live_slots, claim, self._clock)
        self._exports = open_exports(settings, self._stores.project.root, origin)
        self.node = Node(
            settings=settings,
            clock=self._clock,
            ids=self._ids,
            gate=self.gate,
            metrics=self._metrics,
            record=self._recorder,
            loader=ArtefactLoader(
                self._stores.artefacts.hold,
                self._guarded,
                self._quarantined,
                self._stores.session_options,
            ),
            buckets=node_buckets(self._clock, self._levels, self._slot, settings, self._shared),
            progress=self._following.progress(),
            check=self._tokens,
            remote=self._shared,
            certificates=self._certificates,
            tracing=tracing_of(self._exports, self._clock, self.gate, self._grpc_port),
            views=Views(self._stores.features.view, self._clock),
        )
        self._stores.readers.serve(self._loop, self._metrics)
        deferred, keyring = self._stores.deferred, self._stores.keyring
        self._answers_later = Answers(deferred, keyring)
        secret = self._stores.project.data / "webhook.key"
        self._office = Office(deferred, self._clock, settings.deferred, self.node.router, secret, keyring)
        self.node.deferral = self._office
        self.app = self._application()
        snapshot = await asyncio.to_thread(self._following.snapshot)
        self._following.start()
        await self.node.apply(snapshot)
        await self.node.settle()
        news = self._following
        self._watcher = JournalWatcher(
            news.number, self._catch_up, applied=snapshot.number, inline=news.is_quick, clock=self._clock
        )
        self._watching = self._loop.create_task(self._watcher.run())
        publisher = Publisher(self._accounts, self._slot, self._account)
        self._publishing = self._loop.create_task(publisher.run())
        await self._join()
        self.gate.start()
        self._office.start()
        if self._board is not None:
            of, remotes = self._stores, self._stores.session_options.remotes
            self._batches = BatchRunner(of.jobs, of.models, of.artefacts.hold, self._clock, of.spending, remotes)
            self._batches.start()
            if self._sink is not None:
                self._sink.start()
            self._repository = self._stores.watcher(self._poke)
            if self._repository is not None:
                self._repository.start()
        self._exports.start()
        if self._grpc_port:
            self._grpc = self._start_grpc()

    def _start_grpc(self) -> GrpcServer:
        try:
            from kaname.serving.grpc.secured import credentials
            from kaname.serving.grpc.server import GrpcServer
        except ModuleNotFoundError as error:
            raise MissingDependency.of(error.name or "grpcio", "grpc", "server.grpc_port") from error
        settings = self._stores.project.settings
        server = GrpcServer(
            node=self.node,
            gate=self.gate,
            catalog=self._catalog,
            principal_of=lambda header: self.node.principals.of(header),
            ids=self._ids,
            is_ready=self._is_ready,
            max_rows=settings.inference.max_rows,
            certificates=self._certificates,
        )
        server.start(settings.server.host, self._grpc_port, None if self.tls is None else credentials(self.tls))
        return server

    async def _join(self) -> None:
        """Catch up with what the other workers answer from already."""
        if self._board is None:
            return
        activated = self._board.join(self._slot)
        until = self._loop.time() + SWITCH_S
        while self.node.snapshot.number < activated and self._loop.time() < until:
            self._watcher.poke()
            await asyncio.sleep(DRAIN_LOOK_S)

    async def drain(self, timeout_s: float) -> None:
        """Answers say `connection: close` from now on; returns when no request is in progress."""
        self.gate.closing = True
        leaving = None if self._grpc is None else self._loop.create_task(self._grpc.drain(timeout_s))
        until = self._loop.time() + timeout_s
        while any(connection.busy for connection in self.gate.connections) and self._loop.time() < until:
            await asyncio.sleep(DRAIN_LOOK_S)
        if leaving is not None:
            await leaving

    async def stop(self) -> None:
        """Write out the record, release sessions and files."""
        if self._watching is not None:
            self._watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watching
        if self._publishing is not None:
            self._publishing.cancel()
        self.gate.stop()
        if self._batches is not None:
            await asyncio.to_thread(self._batches.stop)
        await asyncio.to_thread(self._following.stop)
        if self._sink is not None and self._board is not None:
            await asyncio.to_thread(self._sink.stop)
        if self._repository is not None:
            await asyncio.to_thread(self._repository.stop)
        if self._grpc is not None:
            self._grpc.stop()
        if self._tokens is not None:
            await self._tokens.stop()
        await self._office.stop()
        await asyncio.to_thread(self._answers_later.close)
        await self.node.close()
        if self._shared is not None:
            await asyncio.to_thread(self._shared.close)
        await asyncio.to_thread(self._recorder.stop)
        await asyncio.to_thread(self._exports.stop)
        self._writer.close()
        self._stores.artefacts.close()
        self._metrics.close()

    def ask(self, ref: str, version: str | None, body: bytes, principal: Principal) -> tuple[int, bytes]:
        """Send a JSON body down the request path from another thread than the loop's, and wait."""
        return asyncio.run_coroutine_threadsafe(self.node.ask(ref, version, body, principal), self._loop).result()

    def _poke(self) -> None:
        """Have the journal looked at now; from any thread."""
        self._loop.call_soon_threadsafe(self._watcher.poke)

    def settled(self, number: int, timeout_s: float) -> list[str]:
        """Wait until every worker answers as of change `number`; returns a line per laggard. On a thread."""
        self._poke()
        if self._board is not None:
            return self._board.wait_applied(number, timeout_s) + self._following.late(number, timeout_s)
        until = self._clock.monotonic_ns() + int(timeout_s * 1e9)
        while self.node.snapshot.number < number and self._clock.monotonic_ns() < until:
            asyncio.run_coroutine_threadsafe(asyncio.sleep(DRAIN_LOOK_S), self._loop).result()
        return [] if self.node.snapshot.number >= number else [f"change {number} is still being loaded"]

    async def _catch_up(self, _: int) -> None:
        await self.node.apply(await asyncio.to_thread(self._following.snapshot))

    def _guarded(self, version_id: int) -> AbstractContextManager[None]:
        return nullcontext() if self._first_loads is None else self._first_loads.loading(version_id)

    def _quarantined(self) -> frozenset[int]:
        return frozenset() if self._board is None else self._board.quarantined()

    def _account(self) -> WorkerAccount:
        return account(self.node.residency, self._clock, self._slot, os.getpid())

    def _live_slots(self) -> set[int]:
        return {self._slot} if self._board is None else self._board.live_slots()

    def _open_recorder(self) -> Recorder:
        stores = self._stores
        self._writer = stores.writer(self._slot)
        erasures = OrderedErasures(stores.events, self._slot, stores.log, self._clock)
        recorder = measured_recorder(self._writer, self._clock, stores.project.settings.record, self._metrics, erasures)
        recorder.start(self._loop)
        return recorder

    def _application(self) -> App:
        settings, stores = self._stores.project.settings, self._stores
        site = Site(
            authenticate=lambda header: self.node.principals.of(header),
            ids=self._ids,
            answers=stores.answers,
            spool=folder_at(stores.project.data / "work"),
        )
        resources = [
            *predict_resources(self.ask, lambda ref, version: self.node.version(ref, version)),
            *streams_api.resources(),
            *deferred_api.resources(self._answers_later),
            *model_resources(lambda: self.node.snapshot.models, self._answers),
            *tfs_documented.resources(),
            *oip_documented.resources(),
            *models_api.resources(stores.models, self.settled),
            *keys_api.resources(stores.keys),
            *tenants_api.resources(stores.tenants, stores.usage()),
            *predictions_api.resources(stores.predictions),
            *batch_api.resources(stores.jobs, stores.models),
            *features_api.resources(stores.features),
            *feature_streams.resources(),
            *views_api.resources(stores.features),
            *nodes_api.resources(stores.nodes),
            *([] if stores.sql_log is None else sql_log_api.resources(stores.sql_log)),
            *residency_api.resources(lambda: ask_accounts(self._accounts, self._live_slots())),
            *repositories_api.resources(stores.repositories),
            *token_endpoint.resources(settings.access),
        ]
        catalog = self._catalog = NodeCatalog(self.node, stores.models, self.settled, self._metrics_folder)
        authorize = oip_api.authorizer(site.authenticate)
        return application(
            gate=self.gate,
            site=site,
            guard=self._guard,
            resources=resources,
            extra=[
                *oip_api.routes(
                    catalog, authorize, ids=self._ids, is_ready=self._is_ready, max_rows=settings.inference.max_rows
                ),
                *tfs_api.routes(catalog, authorize, site.authenticate, ids=self._ids),
                *self._streams(site),
                *feature_streams.RowStreams(stores.features, site).routes(),
                *token_endpoint.routes(settings.access, stores.project.data, site.authenticate, self._clock),
            ],
            metrics_folder=self._metrics_folder,
            live_slots=self._live_slots,
            is_ready=self._is_ready,
            title=settings.name,
            tracing=self.node.tracing,
        )

    def _is_ready(self) -> bool:
        return self.node.ready and not self.gate.closing

    def _streams(self, site: Site) -> list[BaseRoute]:
        guard = StreamGuard(self.gate, site.authenticate, self.node.version)
        events = EventStreams(
            guard,
            self.node.events,
            self.node.version,
            ids=self._ids,
            clock=self._clock,
            max_body_bytes=self._stores.project.settings.server.max_body_bytes,
        )
        return streams_api.routes(LineStreams(self.gate, guard, self._ids), events)

    def _answers(self, entry: ModelEntry) -> bool:
        """Whether a model answers without loading first."""
        promoted = entry.promoted
        return entry.info.loaded and promoted is not None and self.node.is_ready(promoted)

    def _may_enter(self, fields: Fields) -> tuple[int, KanameError] | None:
        error = self._guard.refusal(fields.get(b"host"), fields.get(b"origin"))
        return None if error is None else (status_of(error), error)


async def _not_started(*_: object) -> None:
    raise RuntimeError("the data plane has not been started")
