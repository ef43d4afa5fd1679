"""The protocols of remote models other than the Open Inference Protocol over HTTP, against real sockets."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import msgspec
import numpy as np
import pytest

from kaname.errors import DeadlineExceeded, InvalidInput, KanameError, Overloaded, RemoteFailed, Unavailable
from kaname.protobuf.messages import kind
from kaname.runtimes.remote.description import Remote, Rows
from kaname.runtimes.remote.session import RemoteSession
from kaname.runtimes.types import SessionOptions
from kaname.signature import Feature, OutputSpec, Signature
from kaname.telemetry.tracecontext import OUTGOING
from kaname.tensors import Tensor, TensorSpec
from tests.processes import until

from .peer import SIGNATURE, Handler, Peer, says

ROWS: Tensor = np.random.default_rng(5).normal(size=(50, 2)).astype(np.float32)
TWICE: Tensor = ROWS * np.float32(2)
TEXTS = Signature(
    task="other",
    inputs=(TensorSpec(name="t", datatype="BYTES", shape=(-1,)),),
    outputs=(OutputSpec(name="t", datatype="BYTES", shape=(-1,)),),
)
BYTES: Tensor = np.array([b"plain", b"\x00\xff"], dtype=object)


@pytest.fixture
def peer() -> Iterator[Peer]:
    """A server that answers."""
    with Peer() as one:
        yield one


Connect = Callable[..., RemoteSession]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Opens sessions; all are closed at the end."""
    opened: list[RemoteSession] = []

    def open_(protocol: str, url: str, signature: Signature = SIGNATURE, **fields: Any) -> RemoteSession:
        remote = Remote(**{"protocol": protocol, "urls": (url,), "model": "m", "probe_ms": 50, **fields})
        opened.append(RemoteSession(remote, signature, SessionOptions()))
        return opened[-1]

    yield open_
    for session in opened:
        session.close()


def answered(handler: Handler, make: Callable[[Any], object]) -> None:
    """What `make` makes of the request."""
    handler.say(200, json.dumps(make(json.loads(handler.body))).encode())


def failure(session: RemoteSession, inputs: Tensor = ROWS) -> KanameError:
    """The error that a request ends in."""
    with pytest.raises(KanameError) as raised:
        session.run((inputs,))
    return raised.value


# --- TensorFlow Serving ---------------------------------------------------------------------------------


def twice(body: Any) -> list[Any]:
    """As TensorFlow Serving does: float32 in the shortest form that is it."""
    found = np.array(body["inputs"]["x"], np.float32) * np.float32(2)
    return [[float(np.format_float_positional(value)) for value in row] for row in found]


@pytest.mark.parametrize("named", [True, False], ids=["by name", "an only output"])
def test_tensors_travel_by_name_with_all_their_bits(peer: Peer, connect: Connect, named: bool) -> None:
    """Float32 survives the way there and back; a server leaves out the name of an only output."""
    peer.step = lambda handler: answered(
        handler, lambda body: {"outputs": {"y": twice(body)} if named else twice(body)}
    )
    (found,) = connect("tfs", peer.url, signature_name="double").run((ROWS,))
    assert found.tobytes() == TWICE.tobytes()


def test_bytes_travel_in_base64(peer: Peer, connect: Connect) -> None:
    """Any sequence of bytes, which text in JSON could not hold."""
    peer.step = lambda handler: answered(handler, lambda body: {"outputs": body["inputs"]["t"]})
    (found,) = connect("tfs", peer.url, TEXTS).run((BYTES,))
    assert json.loads(peer.bodies[0])["inputs"]["t"][1] == {"b64": base64.b64encode(b"\x00\xff").decode()}
    assert found.tolist() == BYTES.tolist()


def test_numbers_that_json_has_not_travel_as_the_protocol_writes_them(peer: Peer, connect: Connect) -> None:
    """NaN and Infinity, both ways."""
    odd: Tensor = np.array([[math.nan, math.inf], [-math.inf, 1]], np.float32)
    peer.step = lambda handler: answered(handler, lambda body: {"outputs": {"y": body["inputs"]["x"]}})
    (found,) = connect("tfs", peer.url).run((odd,))
    np.testing.assert_array_equal(found, odd)


@pytest.mark.parametrize(
    ("status", "ready"),
    [
        ({"model_version_status": [{"state": "AVAILABLE"}]}, True),
        ({"name": "m", "ready": True}, True),
        ({"model_version_status": [{"state": "LOADING"}]}, False),
        ({"model_version_status": []}, False),
        (b"<html>", False),
        ([1], False),
    ],
)
def test_a_model_is_ready_when_the_server_says_so(peer: Peer, connect: Connect, status: object, ready: bool) -> None:
    """In the words of TensorFlow Serving, or of KServe."""
    peer.metadata = {"ready": not ready}
    session = connect("tfs", peer.url)
    until(lambda: (session.trouble is None) is not ready, "the server says the opposite")
    peer.metadata = status
    until(lambda: (session.trouble is None) is ready, "the server says so")


@pytest.mark.parametrize(
    "answer", [b"<html>", {"predictions": []}, {"outputs": {"z": [1]}}, {"outputs": "text"}, {"outputs": [[1, 2], [3]]}]
)
def test_other_answers_are_the_remotes_failure(peer: Peer, connect: Connect, answer: object) -> None:
    """With the address that gave them."""
    peer.step = says(200, answer)
    error = failure(connect("tfs", peer.url))
    assert type(error) is RemoteFailed
    assert error.where == peer.url


# --- rows over HTTP -------------------------------------------------------------------------------------


def test_rows_have_the_names_that_the_description_gives(peer: Peer, connect: Connect) -> None:
    """Lists in, lists out, under names of one's own; the path and the rest of the body are the endpoint's."""
    seen: list[tuple[str, Any]] = []

    def step(handler: Handler) -> None:
        body = json.loads(handler.body)
        seen.append((handler.path, body))
        answered(handler, lambda body: {"result": [[2 * x for x in row] for row in body["data"]]})

    peer.step = step
    form = Rows(rows="data", answers="result", more={"mode": "fast"})
    (found,) = connect("http", f"{peer.url}/score/now", model="", http=form).run((ROWS,))
    assert found.tobytes() == TWICE.tobytes()
    assert seen[0][0] == "/score/now"
    assert seen[0][1]["mode"] == "fast"


TABLE = Signature(
    task="other",
    inputs=(TensorSpec(name="x", datatype="FP32", shape=(-1, 2)),),
    outputs=(
        OutputSpec(name="label", datatype="BYTES", shape=(-1,)),
        OutputSpec(name="score", datatype="FP64", shape=(-1,)),
    ),
    features=(
        Feature(name="size", datatype="FP32", nullable=True),
        Feature(name="colour", datatype="FP32", categories=("red", "blue"), nullable=True),
    ),
)


def test_features_travel_by_name(peer: Peer, connect: Connect) -> None:
    """Categories are the words that people use and missing values are null; several outputs are read by name."""
    rows = [{"label": "a", "score": 0.25}, {"score": 1, "label": "b", "more": 1}]
    peer.step = lambda handler: answered(handler, lambda _: rows)
    given: Tensor = np.array([[1.5, 1], [math.nan, math.nan]], np.float32)
    session = connect("http", f"{peer.url}/rows", TABLE, model="", http=Rows(answers=""))
    label, score = session.run((given,))
    asked = json.loads(peer.bodies[0])
    assert asked == {"instances": [{"size": 1.5, "colour": "blue"}, {"size": None, "colour": None}]}
    assert (label.tolist(), score.tolist()) == ([b"a", b"b"], [0.25, 1.0])


@pytest.mark.parametrize(
    "answer", [b"", {"rows": []}, {"predictions": 1}, {"predictions": [1]}, {"predictions": [{"label": "a"}] * 2}]
)
def test_rows_that_do_not_fit_are_the_remotes_failure(peer: Peer, connect: Connect, answer: object) -> None:
    """No list, no name, no value."""
    peer.step = says(200, answer)
    error = failure(connect("http", peer.url, TABLE, model=""), np.zeros((2, 2), np.float32))
    assert type(error) is RemoteFailed


def test_an_endpoint_without_a_probe_is_ready_when_somebody_listens(connect: Connect) -> None:
    """And one with a path when that answers well."""
    with Peer() as peer:
        listening = connect("http", f"{peer.url}/x", model="")
        asked = connect("http", f"{peer.url}/x", model="", http=Rows(ready="/up/ready"))
        peer.ready = False
        until(lambda: asked.trouble is not None, "the path says that it is not ready")
        assert listening.trouble is None
    until(lambda: listening.trouble is not None, "nobody listens")


# --- gRPC -----------------------------------------------------------------------------------------------


class Service(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpcio has no types
    """The protocol's service: doubles `x`; `step` may do something else with an inference."""

    def __init__(self) -> None:
        self.ready = True
        self.typed = False
        self.step: Callable[[grpc.ServicerContext], None] = lambda _: None
        self.calls: list[grpc.ServicerContext] = []
        self.left_s: list[float] = []
        self.metadata: list[dict[str, str]] = []

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        """The method that is called."""
        name = details.method.rsplit("/", 1)[1]
        method = {"ModelInfer": self.infer, "ModelReady": self.is_ready}.get(name)
        if method is None:
            return None
        return grpc.unary_unary_rpc_method_handler(
            method,
            request_deserializer=kind(f"inference.{name}Request").FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )

    def is_ready(self, _: Any, __: grpc.ServicerContext) -> Any:
        """`ModelReady`."""
        return kind("inference.ModelReadyResponse")(ready=self.ready)

    def infer(self, request: Any, context: grpc.ServicerContext) -> Any:
        """`ModelInfer`."""
        self.calls.append(context)
        self.left_s.append(context.time_remaining())
        self.metadata.append(dict(context.invocation_metadata()))
        self.step(context)
        x = np.frombuffer(request.raw_input_contents[0], np.float32) * np.float32(2)
        answer = kind("inference.ModelInferResponse")(model_name="m")
        output = answer.outputs.add(name="y", datatype="FP32", shape=request.inputs[0].shape)
        if self.typed:
            output.contents.fp32_contents.extend(x.tolist())
        else:
            answer.raw_output_contents.append(x.tobytes())
        return answer


class Doubler:
    """A gRPC server with that service."""

    def __init__(self) -> None:
        self.service = Service()
        self._server = grpc.server(ThreadPoolExecutor(4))
        self._server.add_generic_rpc_handlers((self.service,))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()
        self.url = f"grpc://127.0.0.1:{self.port}"

    def close(self) -> None:
        """End it at once."""
        self._server.stop(0).wait()


@pytest.fixture
def doubler() -> Iterator[Doubler]:
    """A gRPC server."""
    one = Doubler()
    yield one
    one.close()


@pytest.mark.parametrize("typed", [False, True], ids=["raw", "typed"])
def test_tensors_travel_raw_over_grpc(doubler: Doubler, connect: Connect, typed: bool) -> None:
    """The answer may be raw or typed; the bits are the remote's."""
    doubler.service.typed = typed
    (found,) = connect("oip-grpc", doubler.url).run((ROWS,))
    assert found.tobytes() == TWICE.tobytes()


def test_the_deadline_is_that_of_the_call(doubler: Doubler, connect: Connect) -> None:
    """The server sees what is left."""
    connect("oip-grpc", doubler.url, timeout_ms=3_000).run((ROWS,))
    assert 1 < doubler.service.left_s[0] < 3.5


def test_headers_and_trace_are_the_calls_metadata(doubler: Doubler, connect: Connect) -> None:
    """What the description has, and the trace of the run."""
    session = connect("oip-grpc", doubler.url, headers={"X-Team": "fraud"})
    token = OUTGOING.set({"traceparent": "00-1-2-01"})
    session.run((ROWS,))
    OUTGOING.reset(token)
    assert doubler.service.metadata[0]["x-team"] == "fraud"
    assert doubler.service.metadata[0]["traceparent"] == "00-1-2-01"


@pytest.mark.parametrize(
    ("code", "error", "attempts"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, InvalidInput, 1),
        (grpc.StatusCode.NOT_FOUND, RemoteFailed, 1),
        (grpc.StatusCode.UNAUTHENTICATED, RemoteFailed, 1),
        (grpc.StatusCode.INTERNAL, RemoteFailed, 1),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, Overloaded, 1),
        (grpc.StatusCode.DEADLINE_EXCEEDED, DeadlineExceeded, 1),
        (grpc.StatusCode.UNAVAILABLE, Unavailable, 4),
    ],
)
def test_statuses_are_errors_that_name_the_remote_over_grpc(
    doubler: Doubler, connect: Connect, code: grpc.StatusCode, error: type[KanameError], attempts: int
) -> None:
    """As over HTTP; only what the remote says it cannot answer now is asked again."""
    doubler.service.step = lambda context: context.abort(code, "the very words")
    found = failure(connect("oip-grpc", doubler.url))
    assert type(found) is error
    assert found.where == doubler.url
    assert "the very words" in str(found.found)
    assert len(doubler.service.calls) == attempts


def test_readiness_over_grpc(doubler: Doubler, connect: Connect) -> None:
    """The model's own, and that of the connection."""
    session = connect("oip-grpc", doubler.url)
    doubler.service.ready = False
    until(lambda: session.trouble is not None, "the model is not ready")
    doubler.service.ready = True
    until(lambda: session.trouble is None, "the model is ready")
    doubler.close()
    until(lambda: session.trouble is not None, "the server is gone")
    assert isinstance(failure(session), Unavailable)


def test_a_nonsensical_answer_over_grpc(doubler: Doubler, connect: Connect) -> None:
    """An output that is not the signature's is the remote's failure."""
    session = connect("oip-grpc", doubler.url, msgspec.structs.replace(SIGNATURE, outputs=TEXTS.outputs))
    assert type(failure(session)) is RemoteFailed
