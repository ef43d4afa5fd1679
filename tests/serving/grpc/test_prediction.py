"""TensorFlow Serving's prediction service, with messages as its own clients write them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest

from kaname.errors import InvalidInput, TooLarge
from kaname.protobuf import tensors
from kaname.protobuf.messages import kind
from kaname.serving.grpc import prediction
from tests.serving.oip.conftest import Served

PACKAGE = "tensorflow.serving"
ROWS = np.array([[5.1, 3.5, 1.4, 0.2], [6.3, 3.3, 6.0, 2.5]], dtype=np.float32)


class Client:
    """The four methods, asked with a key."""

    def __init__(self, channel: Any, metadata: dict[str, str]) -> None:
        self._channel = channel
        self._metadata = tuple(metadata.items())

    def __call__(self, method: str, message: str, *, service: str = "PredictionService", **fields: Any) -> Any:
        ask = self._channel.unary_unary(f"/{PACKAGE}.{service}/{method}")
        body = kind(f"{PACKAGE}.{message}Request")(**fields).SerializeToString()
        return kind(f"{PACKAGE}.{message}Response").FromString(ask(body, metadata=self._metadata, timeout=30))

    def predict(self, model: str = "iris", *, version: Any = None, **inputs: Any) -> Any:
        spec = {"name": model} if version is None else {"name": model, "version": {"value": version}}
        return self("Predict", "Predict", model_spec=spec, inputs=inputs)


@pytest.fixture(scope="module")
def client(target: str, served: Served, admin: dict[str, str]) -> Iterator[Client]:
    with grpc.insecure_channel(target) as channel:
        yield Client(channel, admin)


def proto(values: np.ndarray) -> Any:
    found = tensors.TENSOR()
    tensors.write(found, values)
    return found


def read(message: Any) -> np.ndarray:
    shape = tuple(tensors.shape(message, ""))
    return tensors.tensor(message, tensors.datatype(message, ""), shape, "")


def refused(call: Any, *arguments: Any, **named: Any) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call(*arguments, **named)
    return caught.value.code().name, caught.value.details()


def test_predict(client: Client) -> None:
    """All outputs by name, and which version answered."""
    found = client.predict(x=proto(ROWS))
    assert read(found.outputs["label"]).tolist() == [0, 2]
    assert read(found.outputs["probabilities"]).sum(axis=1) == pytest.approx(1.0)
    assert (found.model_spec.name, found.model_spec.version.value) == ("iris", 1)
    assert client.predict(x=proto(ROWS), version=1) == found


def test_values_instead_of_content(client: Client) -> None:
    """The other form of a TensorProto, of which the last value is repeated."""
    listed = tensors.TENSOR(dtype=1, tensor_shape={"dim": [{"size": 2}, {"size": 4}]}, float_val=[1.0, 2.0])
    whole = np.array([[1, 2, 2, 2], [2, 2, 2, 2]], dtype=np.float32)
    assert client.predict(x=listed) == client.predict(x=proto(whole))


def test_chosen_outputs_and_texts(client: Client) -> None:
    """`output_filter`, and DT_STRING both ways."""
    found = client(
        "Predict", "Predict", model_spec={"name": "iris"}, inputs={"x": proto(ROWS)}, output_filter=["label"]
    )
    assert list(found.outputs) == ["label"]
    words = np.array([[b"a", "ü".encode()]], dtype=object)
    assert read(client.predict("words", words=proto(words)).outputs["echo"]).tolist() == words.tolist()


def test_metadata(client: Client) -> None:
    """The signature as a SignatureDef."""
    found = client(
        "GetModelMetadata", "GetModelMetadata", model_spec={"name": "iris"}, metadata_field=["signature_def"]
    )
    definitions = kind(f"{PACKAGE}.SignatureDefMap")()
    assert found.metadata["signature_def"].Unpack(definitions)
    signature = definitions.signature_def["serving_default"]
    assert [dim.size for dim in signature.inputs["x"].tensor_shape.dim] == [-1, 4]
    assert signature.outputs["probabilities"].dtype == 1


def test_metadata_by_label(client: Client) -> None:
    """A label stands for a version; an unknown one is refused."""
    method, named = "GetModelMetadata", ["signature_def"]
    spec = {"name": "iris", "version_label": "promoted"}
    found = client(method, method, model_spec=spec, metadata_field=named)
    assert found.model_spec.version.value == 1
    spec = {"name": "iris", "version_label": "nobody"}
    status, said = refused(client, method, method, model_spec=spec, metadata_field=named)
    assert (status, "no such label" in said) == ("NOT_FOUND", True)


@pytest.mark.parametrize("spec", [{}, {"version": {"value": 1}}, {"version_label": "promoted"}])
def test_status(client: Client, spec: dict[str, Any]) -> None:
    """Which versions are available; with a version or a label, of that one."""
    client.predict(x=proto(ROWS))
    found = client("GetModelStatus", "GetModelStatus", service="ModelService", model_spec={"name": "iris", **spec})
    (one,) = found.model_version_status
    assert (one.version, one.state, one.status.error_code) == (1, 30, 0)


def test_status_of_what_is_not_there(client: Client) -> None:
    """A model and a version that nobody knows."""
    for spec in ({"name": "nobody"}, {"name": "iris", "version": {"value": 9}}):
        status, _ = refused(client, "GetModelStatus", "GetModelStatus", service="ModelService", model_spec=spec)
        assert status == "NOT_FOUND"


@pytest.mark.parametrize(
    ("inputs", "status", "said"),
    [
        ({}, "INVALID_ARGUMENT", "'x' is missing"),
        ({"y": proto(ROWS)}, "INVALID_ARGUMENT", "no such input"),
        ({"x": proto(ROWS.astype(np.float64))}, "INVALID_ARGUMENT", "inputs['x'].datatype: wrong datatype"),
        ({"x": proto(ROWS[:, :3])}, "INVALID_ARGUMENT", "inputs['x'].shape: wrong shape"),
        ({"x": tensors.TENSOR(dtype=1, tensor_shape={"unknown_rank": True})}, "INVALID_ARGUMENT", "without a shape"),
        ({"x": tensors.TENSOR(dtype=8)}, "INVALID_ARGUMENT", "inputs['x'].dtype: no such datatype"),
        (
            {"x": tensors.TENSOR(dtype=1, tensor_shape={"dim": [{"size": 1}, {"size": 4}]}, tensor_content=b"12345")},
            "INVALID_ARGUMENT",
            "found 5 bytes; expected 16 bytes",
        ),
        (
            {"x": tensors.TENSOR(dtype=1, tensor_shape={"dim": [{"size": 1}, {"size": 4}]}, float_val=[1.0] * 5)},
            "INVALID_ARGUMENT",
            "found 5 elements; expected 4",
        ),
        (
            {"x": tensors.TENSOR(dtype=1, tensor_shape={"dim": [{"size": 10**9}, {"size": 4}]}, float_val=[1.0])},
            "INVALID_ARGUMENT",
            "inputs['x'].shape[0]: number of rows",
        ),
    ],
)
def test_bad_tensors(client: Client, inputs: Any, status: str, said: str) -> None:
    """Each fault names the input; the next request is answered."""
    found, details = refused(client.predict, **inputs)
    assert (found, said in details) == (status, True), details
    assert client.predict(x=proto(ROWS)).outputs


def test_bad_names(client: Client) -> None:
    """Of models, versions, labels, signatures, outputs and metadata."""
    assert refused(client.predict, "irsi", x=proto(ROWS))[0] == "NOT_FOUND"
    assert refused(client.predict, version=9, x=proto(ROWS))[0] == "NOT_FOUND"
    given = {"inputs": {"x": proto(ROWS)}}
    label = {"name": "iris", "version_label": "none such"}
    assert refused(client, "Predict", "Predict", model_spec=label, **given)[0] == "NOT_FOUND"
    signature = {"name": "iris", "signature_name": "other"}
    assert "signature_name" in refused(client, "Predict", "Predict", model_spec=signature, **given)[1]
    wanted = {"model_spec": {"name": "iris"}, "output_filter": ["other"]}
    assert "output_filter[0]" in refused(client, "Predict", "Predict", **wanted, **given)[1]
    fields = {"model_spec": {"name": "iris"}, "metadata_field": ["other"]}
    assert "metadata_field[0]" in refused(client, "GetModelMetadata", "GetModelMetadata", **fields)[1]


def test_examples_of_a_model_without_labels(client: Client) -> None:
    """A model that is no classifier of named classes says so."""
    example = {"features": {"feature": {"x": {"float_list": {"value": [5.1, 3.5, 1.4, 0.2]}}}}}
    given = {"model_spec": {"name": "sums"}, "input": {"example_list": {"examples": [example]}}}
    assert "cannot classify" in refused(client, "Classify", "Classification", **given)[1]
    assert "cannot regress" in refused(client, "Regress", "Regression", **given)[1]


def test_a_few_bytes_do_not_ask_for_all_memory() -> None:
    """One value may stand for many elements, but not for more than a request may hold."""
    dims = [{"size": 10**10}]
    one = tensors.TENSOR(dtype=1, tensor_shape={"dim": dims}, float_val=[1.0])
    with pytest.raises(InvalidInput, match="too little stands for too much"):
        tensors.tensor(one, "FP32", (10**10,), "inputs['x']")
    with pytest.raises(TooLarge, match="too many rows"):
        prediction.columns({"age": one}, 1000)
    with pytest.raises(InvalidInput, match="a size is negative"):
        tensors.tensor(one, "FP32", (-1, -3), "inputs['x']")
    few = tensors.tensor(one, "FP32", (3,), "inputs['x']")
    assert few.tolist() == [1.0, 1.0, 1.0]
