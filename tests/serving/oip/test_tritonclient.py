"""The unmodified reference client of the protocol against a real server."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from kaname import __version__

from .conftest import Served

pytestmark = pytest.mark.slow
ROW = np.array([[5.1, 3.5, 1.4, 0.2]], dtype=np.float32)


@pytest.fixture(scope="module")
def admin(served: Served) -> dict[str, str]:
    return served.key("admin", "admin")


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[Any]:
    found = triton.InferenceServerClient(served.address)
    yield found
    found.close()


def given(name: str, datatype: str, values: np.ndarray, *, binary: bool = True) -> Any:
    tensor = triton.InferInput(name, list(values.shape), datatype)
    tensor.set_data_from_numpy(values, binary_data=binary)
    return tensor


def refused(call: Any, *arguments: Any, **named: Any) -> tuple[str, str]:
    """Status and message of the exception that the client raises."""
    with pytest.raises(InferenceServerException) as caught:
        call(*arguments, **named)
    return str(caught.value.status()), str(caught.value.message())


def test_health_needs_no_key(client: Any) -> None:
    """Live and ready are for probes."""
    assert client.is_server_live()
    assert client.is_server_ready()


def test_server_metadata(client: Any) -> None:
    """The server names the extensions that it has."""
    found = client.get_server_metadata()
    assert (found["name"], found["version"]) == ("kaname", __version__)
    assert {"binary_tensor_data", "classification", "model_repository", "statistics"} <= set(found["extensions"])


def test_model_metadata_and_ready(client: Any, admin: dict[str, str]) -> None:
    """With and without a version, and not for strangers."""
    for version in ("", "1"):
        assert client.is_model_ready("iris", version, headers=admin)
        found = client.get_model_metadata("iris", version, headers=admin)
        assert (found["name"], found["versions"], found["platform"]) == ("iris", ["1"], "onnxruntime_onnx")
        assert found["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]
        assert [output["name"] for output in found["outputs"]] == ["label", "probabilities"]
    assert not client.is_model_ready("iris", "9", headers=admin)
    assert not client.is_model_ready("iris")
    assert refused(client.get_model_metadata, "iris")[0] == "401"
    status, message = refused(client.get_model_metadata, "irsi", headers=admin)
    assert status == "404"
    assert "iris" in message


def test_a_key_that_may_predict_may_read_about_its_model(client: Any, served: Served) -> None:
    """Clients ask for metadata before they infer; about other models they learn nothing."""
    key = served.key("caller", "predict:words")
    assert client.get_model_metadata("words", headers=key)["name"] == "words"
    assert refused(client.get_model_metadata, "iris", headers=key)[0] == "403"
    assert refused(client.unload_model, "words", headers=key)[0] == "403"


def test_configuration(client: Any, admin: dict[str, str]) -> None:
    """Dimensions are without the batch, as the extension has them."""
    found = client.get_model_config("words", headers=admin)
    assert found["max_batch_size"] == 2000
    assert found["input"] == [{"name": "words", "data_type": "TYPE_STRING", "dims": [2]}]
    assert found["dynamic_batching"]["max_queue_delay_microseconds"] == 0


@pytest.mark.parametrize("binary_in", [False, True])
@pytest.mark.parametrize("binary_out", [False, True])
def test_infer_json_and_binary(client: Any, admin: dict[str, str], binary_in: bool, binary_out: bool) -> None:
    """Both forms in both directions give the same numbers; the id comes back."""
    outputs = [triton.InferRequestedOutput(name, binary_data=binary_out) for name in ("probabilities", "label")]
    result = client.infer(
        "iris",
        [given("x", "FP32", np.tile(ROW, (3, 1)), binary=binary_in)],
        outputs=outputs,
        request_id="r-42",
        headers=dict(admin),
    )
    response = result.get_response()
    assert (response["id"], response["model_name"], response["model_version"]) == ("r-42", "iris", "1")
    assert [output["name"] for output in response["outputs"]] == ["probabilities", "label"]
    assert result.as_numpy("label").tolist() == [0, 0, 0]
    assert result.as_numpy("probabilities").shape == (3, 3)
    assert np.allclose(result.as_numpy("probabilities").sum(axis=1), 1, atol=1e-6)


def test_infer_with_the_clients_own_defaults(client: Any, admin: dict[str, str]) -> None:
    """Without outputs the client asks for all in binary form; without an id none is made up."""
    result = client.infer("iris", [given("x", "FP32", ROW)], model_version="1", headers=dict(admin))
    assert "id" not in result.get_response()
    assert result.as_numpy("label").dtype == np.int64
    assert result.as_numpy("nothing") is None


def test_two_inputs_in_any_order_and_half_precision(client: Any, admin: dict[str, str]) -> None:
    """Inputs are known by name; FP16 outputs come as JSON and as binary."""
    a = np.arange(32, dtype=np.int32).reshape(2, 16)
    inputs = [given("b", "INT32", a * 2), given("a", "INT32", a, binary=False)]
    for binary in (False, True):
        outputs = [triton.InferRequestedOutput("half", binary_data=binary), triton.InferRequestedOutput("sum")]
        result = client.infer("sums", inputs, outputs=outputs, headers=dict(admin))
        assert result.as_numpy("sum").tolist() == (a * 3).tolist()
        assert result.as_numpy("half").dtype == np.float16
        assert result.as_numpy("half").tolist() == (-a).tolist()


@pytest.mark.parametrize("binary", [False, True])
def test_texts(client: Any, admin: dict[str, str], binary: bool) -> None:
    """BYTES tensors, empty and not ASCII."""
    words = np.array([["a", "grün"], ["", "要"]], dtype=object)
    outputs = [triton.InferRequestedOutput("echo", binary_data=binary)]
    result = client.infer(
        "words", [given("words", "BYTES", words, binary=binary)], outputs=outputs, headers=dict(admin)
    )
    found = [[v.decode() if isinstance(v, bytes) else v for v in row] for row in result.as_numpy("echo").tolist()]
    assert found == words.tolist()


@pytest.mark.parametrize("response", [None, "gzip", "deflate"])
@pytest.mark.parametrize("request_", [None, "gzip", "deflate"])
def test_compression(client: Any, admin: dict[str, str], request_: str | None, response: str | None) -> None:
    """Bodies may be compressed in both directions."""
    rows = np.random.default_rng(1).normal(size=(500, 4)).astype(np.float32)
    plain = client.infer("iris", [given("x", "FP32", rows)], headers=dict(admin)).as_numpy("probabilities")
    result = client.infer(
        "iris",
        [given("x", "FP32", rows)],
        headers=dict(admin),
        request_compression_algorithm=request_,
        response_compression_algorithm=response,
    )
    assert np.array_equal(result.as_numpy("probabilities"), plain)


def test_classification(client: Any, admin: dict[str, str]) -> None:
    """The two best classes of each row, as `value:index`."""
    outputs = [triton.InferRequestedOutput("probabilities", class_count=2)]
    result = client.infer("iris", [given("x", "FP32", ROW)], outputs=outputs, headers=dict(admin))
    ((first, second),) = result.as_numpy("probabilities").tolist()
    assert first.split(b":")[1] == b"0"
    assert float(first.split(b":")[0]) > float(second.split(b":")[0])


def test_parameters(client: Any, admin: dict[str, str]) -> None:
    """Custom parameters are accepted; sequences and shared memory are refused, as there is no such thing here."""
    good = client.infer("iris", [given("x", "FP32", ROW)], headers=dict(admin), parameters={"mine": "x"}, priority=2)
    assert good.as_numpy("label").tolist() == [0]
    status, message = refused(client.infer, "iris", [given("x", "FP32", ROW)], headers=dict(admin), sequence_id=7)
    assert (status, "parameters.sequence_id" in message) == ("400", True)
    shared = triton.InferInput("x", [1, 4], "FP32")
    shared.set_shared_memory("region", 16)
    status, message = refused(client.infer, "iris", [shared], headers=dict(admin))
    assert (status, "shared memory" in message) == ("400", True)
    status, message = refused(client.get_system_shared_memory_status, headers=admin)
    assert (status, "extension" in message) == ("404", True)


def test_errors_name_the_place(client: Any, admin: dict[str, str]) -> None:
    """What the client shows its user says what to change."""
    infer = client.infer
    wrong = refused(infer, "iris", [given("x", "FP64", ROW.astype(np.float64))], headers=dict(admin))
    assert wrong == ("400", "inputs[0].datatype: wrong datatype; found FP64; expected FP32")
    assert refused(infer, "iris", [given("x", "FP32", ROW[:, :3])], headers=dict(admin))[0] == "400"
    assert refused(infer, "none", [given("x", "FP32", ROW)], headers=dict(admin))[0] == "404"
    assert refused(infer, "iris", [given("x", "FP32", ROW)], model_version="9", headers=dict(admin))[0] == "404"
    assert refused(infer, "iris", [given("x", "FP32", ROW)])[0] == "401"
    many = np.zeros((2001, 4), dtype=np.float32)
    assert refused(infer, "iris", [given("x", "FP32", many)], headers=dict(admin))[0] == "413"


def test_asynchronous_requests_get_their_own_answers(client: Any, served: Served, admin: dict[str, str]) -> None:
    """Many at once on several connections: each answer belongs to its request."""
    pool = triton.InferenceServerClient(served.address, concurrency=4)
    rows = [np.full((1, 16), i, dtype=np.int32) for i in range(40)]
    waiting = [
        pool.async_infer("sums", [given("a", "INT32", row), given("b", "INT32", row)], headers=dict(admin))
        for row in rows
    ]
    for row, answer in zip(rows, waiting, strict=True):
        assert answer.get_result(timeout=30).as_numpy("sum").tolist() == (row * 2).tolist()
    pool.close()


def test_repository(client: Any, admin: dict[str, str]) -> None:
    """Index, unload, load: an unloaded model is listed, not ready, and answers 503 until it is loaded again."""

    def states() -> dict[str, str]:
        return {entry["name"]: entry["state"] for entry in client.get_model_repository_index(headers=admin)}

    assert states() == {"iris": "READY", "words": "READY", "sums": "READY"}
    client.unload_model("words", headers=admin, unload_dependents=True)
    assert states()["words"] == "UNAVAILABLE"
    assert not client.is_model_ready("words", headers=admin)
    words = given("words", "BYTES", np.array([["a", "b"]], dtype=object))
    status, message = refused(client.infer, "words", [words], headers=dict(admin))
    assert (status, "unloaded" in message) == ("503", True)
    client.load_model("words", headers=admin)
    assert states()["words"] == "READY"
    assert client.infer("words", [words], headers=dict(admin)).as_numpy("echo").tolist() == [[b"a", b"b"]]
    status, message = refused(client.load_model, "words", headers=admin, config="{}")
    assert (status, "immutable" in message) == ("400", True)
    assert refused(client.load_model, "none", headers=admin)[0] == "404"


def test_statistics(client: Any, admin: dict[str, str]) -> None:
    """Rows, requests and runs are counted per version; a refused request counts as failed."""

    def of_iris() -> dict[str, Any]:
        (found,) = client.get_inference_statistics("iris", "1", headers=admin)["model_stats"]
        assert isinstance(found, dict)
        return found

    before = of_iris()
    client.infer("iris", [given("x", "FP32", np.tile(ROW, (5, 1)))], headers=dict(admin))
    refused(client.infer, "iris", [given("x", "FP32", ROW[:, :3])], headers=dict(admin))
    after = of_iris()
    assert (after["name"], after["version"]) == ("iris", "1")
    assert after["inference_count"] - before["inference_count"] == 5
    assert after["execution_count"] - before["execution_count"] == 1
    for outcome in ("success", "fail"):
        then, now = before["inference_stats"][outcome], after["inference_stats"][outcome]
        assert now["count"] - then["count"] == 1
        assert now["ns"] > then["ns"]
    for part in ("queue", "compute_input", "compute_infer"):
        then, now = before["inference_stats"][part], after["inference_stats"][part]
        assert now["count"] - then["count"] == 1
        assert now["ns"] > then["ns"]
    assert after["last_inference"] >= before["last_inference"]
    assert abs(after["last_inference"] / 1000 - time.time()) < 60
    everything = client.get_inference_statistics(headers=admin)["model_stats"]
    assert {entry["name"] for entry in everything} == {"iris", "words", "sums"}
