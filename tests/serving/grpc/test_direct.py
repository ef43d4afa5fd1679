"""Calls that predict without a thread each: what they answer, who leaves, and grpcio's own way beside it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from kaname.protobuf.messages import kind
from kaname.serving.grpc import direct
from kaname.serving.grpc.inference import INFER
from tests.processes import until
from tests.serving.grpc.conftest import hold_port
from tests.serving.oip.conftest import Served, iris_model

ROWS = np.array([[5.1, 3.5, 1.4, 0.2], [6.3, 3.3, 6.0, 2.5]], np.float32)


def request(model: str = "iris") -> bytes:
    """Two flowers."""
    asked = kind("inference.ModelInferRequest")(model_name=model)
    asked.inputs.add(name="x", datatype="FP32", shape=[2, 4])
    asked.raw_input_contents.append(ROWS.tobytes())
    found: bytes = asked.SerializeToString()
    return found


@pytest.fixture(scope="module", params=[True, False], ids=["direct", "threads"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of its own, with calls on either way."""
    folder: Path = tmp_path_factory.mktemp("direct")
    with pytest.MonkeyPatch.context() as patch, hold_port() as held:
        if not request.param:
            patch.setattr(direct, "supported", lambda: False)
        server = Served(folder, held.getsockname()[1], "server: {grpc_calls: 2, grpc_streams: 2}\n")
        iris_model(folder / "iris.onnx")
        server.stores.models.add("iris", folder / "iris.onnx", who="test")
        server.start()
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture
def infer(server: Served) -> Iterator[grpc.UnaryUnaryMultiCallable]:
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        yield channel.unary_unary(INFER)


@pytest.fixture(scope="module")
def key(server: Served) -> tuple[tuple[str, str], ...]:
    return (("authorization", server.key("all", "admin")["Authorization"]),)


def test_this_release_of_grpcio_has_what_is_used() -> None:
    """One that lacks it still serves, at twice the cost: this test says so first."""
    assert [name for name in direct.RELIES_ON if not hasattr(grpc._server, name)] == []
    assert direct.supported()


def test_an_answer_has_its_metadata(infer: grpc.UnaryUnaryMultiCallable, key: tuple[tuple[str, str], ...]) -> None:
    """The id of the request comes with the answer, one that was sent comes back."""
    answer, call = infer.with_call(request(), metadata=(*key, ("x-request-id", "mine")))
    assert kind("inference.ModelInferResponse").FromString(answer).model_name == "iris"
    assert dict(call.trailing_metadata())["x-request-id"] == "mine"


def test_a_refusal_has_its_status(infer: grpc.UnaryUnaryMultiCallable, key: tuple[tuple[str, str], ...]) -> None:
    """Unknown model, no key, no message of the protocol."""
    for body, metadata, code in (
        (request("rose"), key, grpc.StatusCode.NOT_FOUND),
        (request(), (), grpc.StatusCode.UNAUTHENTICATED),
        (b"\xff\xff", key, grpc.StatusCode.INVALID_ARGUMENT),
    ):
        with pytest.raises(grpc.RpcError) as refused:
            infer(body, metadata=metadata, timeout=10)
        assert refused.value.code() is code
        assert refused.value.details()


def test_many_more_calls_than_threads(infer: grpc.UnaryUnaryMultiCallable, key: tuple[tuple[str, str], ...]) -> None:
    """All are answered, each with the same."""
    answers = [infer.future(request(), metadata=key, timeout=30) for _ in range(24)]
    assert len({one.result()[:20] for one in answers}) == 1


def test_a_call_that_ends_without_a_message_is_refused(
    server: Served, infer: grpc.UnaryUnaryMultiCallable, key: tuple[tuple[str, str], ...]
) -> None:
    """A client that streams nothing hears that one message is wanted."""
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        call = channel.stream_unary(INFER)
        with pytest.raises(grpc.RpcError) as refused:
            call(iter(()), metadata=key, timeout=10)
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert infer(request(), metadata=key, timeout=10)


def test_callers_who_leave_are_not_counted_for_ever(
    server: Served, infer: grpc.UnaryUnaryMultiCallable, key: tuple[tuple[str, str], ...]
) -> None:
    """More calls than may be in progress are opened and left, before and behind their message; others are answered."""
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        ends = threading.Event()

        def nothing() -> Iterator[bytes]:
            ends.wait(10)
            yield from ()

        for _ in range(3):
            silent = [channel.stream_unary(INFER).future(nothing(), metadata=key) for _ in range(12)]
            asked = [infer.future(request(), metadata=key) for _ in range(12)]
            for call in (*silent, *asked):
                call.cancel()
        ends.set()

    def answered() -> bool:
        return bool(infer(request(), metadata=key, timeout=10))

    until(answered, "a call is answered")
    results = [infer.future(request(), metadata=key, timeout=30) for _ in range(30)]
    assert all(one.result() for one in results)
