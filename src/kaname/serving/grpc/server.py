"""The gRPC server of a worker: a port that all workers share, threads that wait, the services behind it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import grpc

from kaname.access.certificates import ClientCertificates
from kaname.errors import InvalidInput
from kaname.ids import IdSource
from kaname.serving.endpoint import PrincipalOf
from kaname.serving.gate import Gate
from kaname.serving.grpc import health, inference, prediction, reflection, statuses
from kaname.serving.grpc.callers import Callers
from kaname.serving.grpc.door import Door, Routing
from kaname.serving.grpc.rpc import Access, Methods, Rpcs
from kaname.serving.oip.types import Catalog
from kaname.settings import ServerSettings

WAITING_PER_THREAD = 16
"""Calls that may wait for each thread before more are refused."""
LEAST_PING_MS = 5_000


class GrpcServer:
    """Made and drained on the event loop that answers; its threads begin with `start`."""

    def __init__(
        self,
        *,
        node: Routing,
        gate: Gate,
        catalog: Catalog,
        principal_of: PrincipalOf,
        ids: IdSource,
        is_ready: Callable[[], bool],
        max_rows: int,
        certificates: ClientCertificates | None = None,
    ) -> None:
        """`certificates`: the clients that need no key."""
        settings = gate.settings
        self._closing = threading.Event()
        self._threads = ThreadPoolExecutor(settings.grpc_calls, "kaname-grpc")
        self._rpcs = Rpcs(ids, settings.grpc_streams)
        callers = Callers(certificates)
        door = Door(node, gate, ids, asyncio.get_running_loop(), callers)
        access = Access(principal_of, gate.may_enter, callers)
        tensorflow = (prediction.SERVICE, statuses.SERVICE)
        services = (health.SERVICE, inference.SERVICE, *tensorflow, reflection.SERVICE, reflection.BEFORE)
        methods = {
            **inference.methods(
                self._rpcs, door, catalog, access, is_ready=is_ready, max_rows=max_rows, closing=self._closing
            ),
            **prediction.methods(self._rpcs, door, catalog, access),
            **statuses.methods(self._rpcs, catalog, access),
            **health.methods(self._rpcs, access, services, is_ready, self._closing),
            **reflection.methods(self._rpcs, access, services),
        }
        self._server = grpc.server(
            self._threads,
            handlers=[Methods(methods)],
            options=_options(settings),
            maximum_concurrent_rpcs=settings.grpc_calls * WAITING_PER_THREAD + settings.grpc_streams,
        )

    def start(self, host: str, port: int, credentials: grpc.ServerCredentials | None = None) -> None:
        """Accept connections, encrypted with `credentials`. Raises InvalidInput where the address cannot be bound."""
        name = f"[{host}]" if ":" in host and not host.startswith("[") else host
        address = f"{name}:{port}"
        try:
            if credentials is None:
                self._server.add_insecure_port(address)
            else:
                self._server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise InvalidInput(
                "the server cannot listen there", where="server.grpc_port", found=f"{host}:{port}: {error}"
            ) from error
        self._server.start()

    async def drain(self, timeout_s: float) -> None:
        """Accept no more calls; return when those in progress are answered, or cancel them when time is over."""
        self._closing.set()
        ended = self._server.stop(timeout_s)
        await asyncio.to_thread(ended.wait, timeout_s + 1)

    def stop(self) -> None:
        """Cancel what is left and let go of the threads."""
        self._closing.set()
        self._server.stop(0)
        self._rpcs.close()
        self._threads.shutdown(wait=False)


def _options(settings: ServerSettings) -> list[tuple[str, int]]:
    return [
        ("grpc.so_reuseport", 1),
        ("grpc.max_receive_message_length", settings.max_body_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_metadata_size", settings.max_header_bytes),
        ("grpc.absolute_max_metadata_size", settings.max_header_bytes),
        ("grpc.server_handshake_timeout_ms", int(settings.header_timeout_ms)),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", LEAST_PING_MS),
    ]
