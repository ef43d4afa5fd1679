"""The service `grpc.health.v1.Health`: of the server (the empty name) and of each service. Open to anybody."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator

import grpc

from kaname.errors import NotFound
from kaname.protobuf.messages import Message, kind
from kaname.serving.grpc.rpc import Access, Method, Rpcs

SERVICE = "grpc.health.v1.Health"
REQUEST = kind("grpc.health.v1.HealthCheckRequest")
RESPONSE = kind("grpc.health.v1.HealthCheckResponse")
SERVING, NOT_SERVING, SERVICE_UNKNOWN = 1, 2, 3
LOOK_S = 0.5


def methods(
    rpcs: Rpcs, access: Access, services: Collection[str], is_ready: Callable[[], bool], closing: threading.Event
) -> dict[str, Method]:
    """The methods by path; watchers are let go when `closing` is set."""

    def status(service: str) -> int:
        if service and service not in services:
            return SERVICE_UNKNOWN
        return SERVING if is_ready() and not closing.is_set() else NOT_SERVING

    def check(request: Message, context: grpc.ServicerContext) -> Message:
        access.open(context)
        found = status(request.service)
        if found == SERVICE_UNKNOWN:
            raise NotFound("no such service", where="service", found=request.service, expected=", ".join(services))
        return RESPONSE(status=found)

    def watch(request: Message, context: grpc.ServicerContext) -> Iterator[Message]:
        access.open(context)
        left = threading.Event()
        if not context.add_callback(left.set):
            return
        said = None
        while not left.is_set():
            found = status(request.service)
            if found != said:
                said = found
                yield RESPONSE(status=found)
            if closing.is_set():
                return
            left.wait(LOOK_S)

    return {f"/{SERVICE}/Check": rpcs.unary(REQUEST, check), f"/{SERVICE}/Watch": rpcs.watch(REQUEST, watch)}
