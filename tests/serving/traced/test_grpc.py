"""Spans of gRPC calls, by the conventions for RPC."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest

from kaname.protobuf.messages import kind
from kaname.telemetry.tracecontext import parent_of
from tests.serving.traced.conftest import SPAN, Traced

REQUEST = kind("inference.ModelInferRequest")
INFER = "inference.GRPCInferenceService/ModelInfer"
STREAM = "inference.GRPCInferenceService/ModelStreamInfer"


@pytest.fixture(scope="module")
def channel(traced: Traced) -> Iterator[Any]:
    with grpc.insecure_channel(f"127.0.0.1:{traced.served.grpc_port}") as found:
        yield found


def message(model: str = "iris", rows: int = 2) -> bytes:
    """A request for rows of four numbers."""
    request = REQUEST(model_name=model)
    request.inputs.add(name="x", datatype="FP32", shape=[rows, 4])
    request.raw_input_contents.append(np.ones((rows, 4), np.float32).tobytes())
    body: bytes = request.SerializeToString()
    return body


def metadata(traced: Traced, **more: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", traced.key["Authorization"]), *more.items())


def test_the_tree_of_a_call(traced: Traced, channel: Any) -> None:
    """The method, the status by name, and the same pieces as over HTTP; the answer's metadata name the trace."""
    ask = channel.unary_unary(f"/{INFER}")
    _, call = ask.with_call(message(), metadata=metadata(traced), timeout=30)
    trailing = dict(call.trailing_metadata())
    parent = parent_of(trailing["traceparent"].encode())
    assert parent is not None
    spans = traced.collector.trace(parent.trace_id)
    root = spans[INFER]
    assert root.span_id == parent.span_id
    assert root.attributes == {
        "rpc.system.name": "grpc",
        "rpc.method": INFER,
        "rpc.response.status_code": "OK",
        "server.address": "127.0.0.1",
        "server.port": traced.served.grpc_port,
        "kaname.model": "iris",
        "kaname.version": "1",
        "kaname.rows": 2,
        "kaname.request_id": trailing["x-request-id"],
    }
    assert set(spans) == {INFER, "decode", "queue", "run", "encode"}
    assert {one.parent_id for one in spans.values()} == {"", root.span_id}
    assert spans["run"].attributes["kaname.batch.rows"] == 2


def test_metadata_carry_the_callers_trace(traced: Traced, channel: Any) -> None:
    """`traceparent` and `tracestate`; a caller that is not traced is not traced here either."""
    ask = channel.unary_unary(f"/{INFER}")
    parent = f"00-{'d' * 32}-{SPAN}-01"
    ask(message(), metadata=metadata(traced, traceparent=parent, tracestate="congo=t61"), timeout=30)
    root = traced.collector.trace("d" * 32)[INFER]
    assert (root.parent_id, root.state) == (SPAN, "congo=t61")
    _, call = ask.with_call(message(), metadata=metadata(traced, traceparent=f"00-{'e' * 32}-{SPAN}-00"), timeout=30)
    assert "traceparent" not in dict(call.trailing_metadata())
    _, call = ask.with_call(message(), metadata=metadata(traced, traceparent="nonsense"), timeout=30)
    assert parent_of(dict(call.trailing_metadata())["traceparent"].encode()) is not None
    assert not any(one.trace_id == "e" * 32 for one in traced.collector.spans)


@pytest.mark.parametrize(
    ("body", "code", "error", "fault"),
    [
        (message("nobody"), "NOT_FOUND", "NOT_FOUND", False),
        (message(rows=3)[:-16], "INVALID_ARGUMENT", "", False),
        (REQUEST(model_name="iris").SerializeToString(), "INVALID_ARGUMENT", "invalid_input", False),
    ],
)
def test_refusals(traced: Traced, channel: Any, body: bytes, code: str, error: str, fault: bool) -> None:
    """The status by name; what the caller did wrong leaves the span's own status unset."""
    ask = channel.unary_unary(f"/{INFER}")
    trace_id = f"{hash((code, error)) & (2**64 - 1) | 1:032x}"
    with pytest.raises(grpc.RpcError) as caught:
        ask(body, metadata=metadata(traced, traceparent=f"00-{trace_id}-{SPAN}-01"), timeout=30)
    assert caught.value.code().name == code
    if not error:
        return  # not a message: refused before there is anybody to ask
    root = traced.collector.trace(trace_id)[INFER]
    assert root.attributes["rpc.response.status_code"] == code
    assert root.attributes["error.type"] == error
    assert root.status == (2 if fault else 0)


def test_a_deadline_is_a_fault(traced: Traced, channel: Any) -> None:
    """DEADLINE_EXCEEDED by the metadata of the request."""
    request = REQUEST(model_name="moody")
    request.inputs.add(name="x", datatype="FP64", shape=[1, 1])
    request.raw_input_contents.append(np.full((1, 1), 200.0).tobytes())
    ask = channel.unary_unary(f"/{INFER}")
    more = {"traceparent": f"00-{'f' * 32}-{SPAN}-01", "x-request-timeout-ms": "40"}
    with pytest.raises(grpc.RpcError) as caught:
        ask(request.SerializeToString(), metadata=metadata(traced, **more), timeout=30)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED, caught.value.details()
    root = traced.collector.trace("f" * 32)[INFER]
    assert root.attributes["rpc.response.status_code"] == "DEADLINE_EXCEEDED"
    assert root.status == 2


def test_each_message_of_a_stream_is_a_request(traced: Traced, channel: Any) -> None:
    """All of them below the caller's span."""
    ask = channel.stream_stream(f"/{STREAM}")
    parent = f"00-{'9' * 32}-{SPAN}-01"
    answers = list(ask(iter([message()] * 3), metadata=metadata(traced, traceparent=parent), timeout=30))
    assert len(answers) == 3
    traced.collector.trace("9" * 32)
    roots = [one for one in traced.collector.spans if one.trace_id == "9" * 32 and one.name == STREAM]
    assert {one.parent_id for one in roots} == {SPAN}
