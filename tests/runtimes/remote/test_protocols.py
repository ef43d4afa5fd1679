"""The protocols of remote models over HTTP other than the Open Inference Protocol, against real sockets."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from kaname.errors import RemoteFailed
from kaname.runtimes.remote.description import Rows
from kaname.signature import Feature, OutputSpec, Signature
from kaname.tensors import Tensor, TensorSpec
from tests.processes import until

from .conftest import BYTES, ROWS, TEXTS, TWICE, Connect, failure
from .peer import Handler, Peer, says


@pytest.fixture
def peer() -> Iterator[Peer]:
    """A server that answers."""
    with Peer() as one:
        yield one


def answered(handler: Handler, make: Callable[[Any], object]) -> None:
    """What `make` makes of the request."""
    handler.say(200, json.dumps(make(json.loads(handler.body))).encode())


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
