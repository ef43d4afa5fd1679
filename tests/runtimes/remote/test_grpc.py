"""The protocols of remote models over gRPC, against real servers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import msgspec
import pytest

from kaname.errors import DeadlineExceeded, InvalidInput, KanameError, Overloaded, RemoteFailed, Unavailable
from kaname.protobuf.messages import kind
from kaname.runtimes.remote.description import Remote
from kaname.runtimes.remote.links import open_links
from kaname.runtimes.remote.types import Described, Trouble
from kaname.signature import Signature
from kaname.telemetry.tracecontext import OUTGOING
from kaname.tensors import TensorSpec
from tests.processes import until

from .conftest import BYTES, ROWS, TEXTS, TWICE, Connect, failure
from .grpc_peer import GrpcPeer
from .peer import SIGNATURE

both = pytest.mark.parametrize("protocol", ["oip-grpc", "tfs-grpc"])


@pytest.fixture
def peer() -> Iterator[GrpcPeer]:
    """A server that answers."""
    one = GrpcPeer()
    yield one
    one.close()


@both
@pytest.mark.parametrize("typed", [False, True], ids=["raw", "typed"])
def test_tensors_travel_raw(peer: GrpcPeer, connect: Connect, protocol: str, typed: bool) -> None:
    """The answer may be raw or typed; the bits are the remote's."""
    peer.service.typed = typed
    (found,) = connect(protocol, peer.url).run((ROWS,))
    assert found.tobytes() == TWICE.tobytes()


@both
def test_the_deadline_is_that_of_the_call(peer: GrpcPeer, connect: Connect, protocol: str) -> None:
    """The server sees what is left."""
    connect(protocol, peer.url, timeout_ms=3_000).run((ROWS,))
    assert 1 < peer.service.left_s[0] < 3.5


@both
def test_headers_and_trace_are_the_calls_metadata(peer: GrpcPeer, connect: Connect, protocol: str) -> None:
    """What the description has, and the trace of the run."""
    session = connect(protocol, peer.url, headers={"X-Team": "fraud"})
    token = OUTGOING.set({"traceparent": "00-1-2-01"})
    session.run((ROWS,))
    OUTGOING.reset(token)
    assert peer.service.metadata[0]["x-team"] == "fraud"
    assert peer.service.metadata[0]["traceparent"] == "00-1-2-01"


@both
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
def test_statuses_are_errors_that_name_the_remote(
    peer: GrpcPeer, connect: Connect, protocol: str, code: grpc.StatusCode, error: type[KanameError], attempts: int
) -> None:
    """As over HTTP; only what the remote says it cannot answer now is asked again."""
    peer.service.step = lambda context: context.abort(code, "the very words")
    found = failure(connect(protocol, peer.url))
    assert type(found) is error
    assert found.where == peer.url
    assert "the very words" in str(found.found)
    assert len(peer.service.calls) == attempts


@both
def test_readiness(peer: GrpcPeer, connect: Connect, protocol: str) -> None:
    """The model's own, and that of the connection."""
    session = connect(protocol, peer.url)
    peer.service.ready = False
    until(lambda: session.trouble is not None, "the model is not ready")
    peer.service.ready = True
    until(lambda: session.trouble is None, "the model is ready")
    peer.close()
    until(lambda: session.trouble is not None, "the server is gone")
    assert isinstance(failure(session), Unavailable)


@both
def test_a_nonsensical_answer(peer: GrpcPeer, connect: Connect, protocol: str) -> None:
    """An output that is not the signature's is the remote's failure."""
    session = connect(protocol, peer.url, msgspec.structs.replace(SIGNATURE, outputs=TEXTS.outputs))
    assert type(failure(session)) is RemoteFailed


# --- TensorFlow Serving ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "number", "label"), [(None, 0, ""), ("3", 3, ""), ("stable", 0, "stable"), ("9" * 20, 0, "9" * 20)]
)
def test_a_version_is_a_number_or_a_label(
    peer: GrpcPeer, connect: Connect, version: str | None, number: int, label: str
) -> None:
    """The description's version, with the signature's name and the outputs that are wanted."""
    connect("tfs-grpc", peer.url, version=version, signature_name="double").run((ROWS,))
    asked = peer.service.asked[-1]
    assert asked.model_spec.version.value == number
    assert asked.model_spec.version_label == label
    assert (asked.model_spec.name, asked.model_spec.signature_name) == ("m", "double")
    assert list(asked.output_filter) == ["y"]


def test_any_bytes_travel_as_strings(peer: GrpcPeer, connect: Connect) -> None:
    """Also those that are no text."""
    (found,) = connect("tfs-grpc", peer.url, TEXTS).run((BYTES,))
    assert found.tolist() == BYTES.tolist()


def describe(peer: GrpcPeer) -> Described | None:
    """What is understood of the description."""
    remote = Remote(protocol="tfs-grpc", urls=(peer.url,), model="m")
    (link,) = open_links(remote, Signature(task="other", inputs=(), outputs=()), ())
    try:
        return link.described(5)
    finally:
        link.close()


def tensor_info(datatype: int, *shape: int) -> dict[str, Any]:
    """A TensorInfo's fields."""
    return {"name": "t:0", "dtype": datatype, "tensor_shape": {"dim": [{"size": size} for size in shape]}}


def test_the_signature_is_the_one_that_is_asked_for(peer: GrpcPeer) -> None:
    """Its tensors by name; a map has no order, so that is theirs."""
    peer.service.definitions = kind("tensorflow.serving.SignatureDefMap")(
        signature_def={
            "serving_default": {
                "inputs": {"b": tensor_info(7, -1), "a": tensor_info(1, -1, 4)},
                "outputs": {"y": tensor_info(9, -1)},
            }
        }
    )
    found = describe(peer)
    assert found is not None
    assert found.inputs == (
        TensorSpec(name="a", datatype="FP32", shape=(-1, 4)),
        TensorSpec(name="b", datatype="BYTES", shape=(-1,)),
    )
    assert found.outputs == (TensorSpec(name="y", datatype="INT64", shape=(-1,)),)


@pytest.mark.parametrize(
    ("definitions", "said"),
    [
        ({"other": {}}, "no such signature"),
        ({"serving_default": {"inputs": {"a": tensor_info(8, -1)}}}, "no such datatype"),
        (
            {"serving_default": {"inputs": {"a": {"dtype": 1, "tensor_shape": {"unknown_rank": True}}}}},
            "without a shape",
        ),
    ],
)
def test_a_description_that_cannot_be_used(peer: GrpcPeer, definitions: dict[str, Any], said: str) -> None:
    """It is the remote's failure, with the address."""
    peer.service.definitions = kind("tensorflow.serving.SignatureDefMap")(signature_def=definitions)
    with pytest.raises(Trouble) as raised:
        describe(peer)
    assert said in str(raised.value.error)
    assert raised.value.error.where == peer.url


def test_an_answer_that_is_no_tensor(peer: GrpcPeer, connect: Connect) -> None:
    """Bytes that do not fill the shape are the remote's failure."""
    peer.service.lost_bytes = 4
    error = failure(connect("tfs-grpc", peer.url))
    assert type(error) is RemoteFailed
    assert (error.where, "396 bytes" in str(error.found)) == (peer.url, True)
