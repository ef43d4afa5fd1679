"""Health and reflection, asked by gRPC's own clients; streams beyond the bound."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from kaname.settings import ServerSettings
from tests.serving.oip.conftest import Served

STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"


@pytest.fixture
def channel(target: str, served: Served) -> Iterator[Any]:
    with grpc.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)]) as found:
        yield found


def test_health(channel: Any) -> None:
    """Of the server and of each service, without a key; of others NOT_FOUND."""
    health = health_pb2_grpc.HealthStub(channel)
    for service in ("", "inference.GRPCInferenceService"):
        found = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
        assert found.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as caught:
        health.Check(health_pb2.HealthCheckRequest(service="other"), timeout=10)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    watching = health.Watch(health_pb2.HealthCheckRequest(), timeout=10)
    assert next(watching).status == health_pb2.HealthCheckResponse.SERVING
    watching.cancel()


def test_reflection(channel: Any, admin: dict[str, str]) -> None:
    """A tool that knows nothing finds services and messages; without a key it does not."""
    keyed = grpc.intercept_channel(channel, _Keyed(admin))
    database = ProtoReflectionDescriptorDatabase(keyed)
    assert "inference.GRPCInferenceService" in database.get_services()
    service = DescriptorPool(database).FindServiceByName("inference.GRPCInferenceService")
    assert "ModelInfer" in service.methods_by_name
    with pytest.raises(grpc.RpcError) as caught:
        list(ProtoReflectionDescriptorDatabase(channel).get_services())
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


class _Keyed(grpc.StreamStreamClientInterceptor):  # type: ignore[misc]  # grpc has no types
    def __init__(self, metadata: dict[str, str]) -> None:
        self._metadata = tuple(metadata.items())

    def intercept_stream_stream(self, continuation: Any, details: Any, requests: Any) -> Any:
        return continuation(details._replace(metadata=self._metadata), requests)


def test_streams_are_bounded(channel: Any, admin: dict[str, str]) -> None:
    """One more than `server.grpc_streams` is refused, and has room when another ends."""
    closing = threading.Event()

    def nothing() -> Iterator[bytes]:
        closing.wait(20)
        yield from ()

    call = channel.stream_stream(STREAM)
    metadata = tuple(admin.items())
    most = ServerSettings().grpc_streams
    opened = [call(nothing(), metadata=metadata, timeout=20) for _ in range(most + 1)]
    ended: SimpleQueue[Any] = SimpleQueue()
    for one in opened:
        one.add_done_callback(ended.put)
    ended.get(timeout=10)
    refused = [one for one in opened if one.done()]
    assert len(refused) == 1
    assert refused[0].code() is grpc.StatusCode.UNAVAILABLE
    assert "too many streams" in refused[0].details()
    closing.set()
    for one in opened:
        if one not in refused:
            assert list(one) == []
