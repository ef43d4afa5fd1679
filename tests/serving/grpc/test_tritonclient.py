"""The unmodified reference client of the protocol against a real server, over gRPC."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from kaname import __version__
from tests.serving.oip.conftest import Served

pytestmark = pytest.mark.slow
ROW = np.array([[5.1, 3.5, 1.4, 0.2]], dtype=np.float32)


@pytest.fixture(scope="module")
def client(target: str, served: Served) -> Iterator[Any]:
    found = triton.InferenceServerClient(target)
    yield found
    found.close()


def given(name: str, datatype: str, values: np.ndarray) -> Any:
    tensor = triton.InferInput(name, list(values.shape), datatype)
    tensor.set_data_from_numpy(values)
    return tensor


def refused(call: Any, *arguments: Any, **named: Any) -> tuple[str, str]:
    """Status and message of the exception that the client raises."""
    with pytest.raises(InferenceServerException) as caught:
        call(*arguments, **named)
    return str(caught.value.status()).removeprefix("StatusCode."), str(caught.value.message())


def test_health_and_server_metadata_need_no_key(client: Any) -> None:
    """As over HTTP."""
    assert client.is_server_live()
    assert client.is_server_ready()
    found = client.get_server_metadata()
    assert (found.name, found.version) == ("kaname", __version__)
    assert {"classification", "model_repository", "statistics"} <= set(found.extensions)


def test_model_metadata_and_ready(client: Any, admin: dict[str, str]) -> None:
    """With and without a version, and not for strangers."""
    for version in ("", "1"):
        assert client.is_model_ready("iris", version, headers=admin)
        found = client.get_model_metadata("iris", version, headers=admin, as_json=True)
        assert (found["name"], found["versions"], found["platform"]) == ("iris", ["1"], "onnxruntime_onnx")
        assert found["inputs"] == [{"name": "x", "datatype": "FP32", "shape": ["-1", "4"]}]
        assert [output["name"] for output in found["outputs"]] == ["label", "probabilities"]
    assert refused(client.is_model_ready, "iris", "9", headers=admin)[0] == "NOT_FOUND"
    assert refused(client.get_model_metadata, "iris")[0] == "UNAUTHENTICATED"
    status, message = refused(client.get_model_metadata, "irsi", headers=admin)
    assert status == "NOT_FOUND"
    assert "iris" in message


def test_keys_hold_as_over_http(client: Any, served: Served) -> None:
    """A key that may predict with one model reads about that one and asks no other."""
    key = {"authorization": served.key("words only", "predict:words")["Authorization"]}
    assert client.get_model_metadata("words", headers=key).name == "words"
    assert refused(client.get_model_metadata, "iris", headers=key)[0] == "PERMISSION_DENIED"
    assert refused(client.infer, "iris", [given("x", "FP32", ROW)], headers=key)[0] == "PERMISSION_DENIED"
    assert refused(client.infer, "iris", [given("x", "FP32", ROW)])[0] == "UNAUTHENTICATED"
    assert refused(client.load_model, "words", headers=key)[0] == "PERMISSION_DENIED"


def test_configuration(client: Any, admin: dict[str, str]) -> None:
    """The generated configuration."""
    found = client.get_model_config("iris", headers=admin).config
    assert (found.name, found.platform, found.max_batch_size) == ("iris", "onnxruntime_onnx", 2000)
    assert (found.input[0].name, found.input[0].data_type, list(found.input[0].dims)) == ("x", 11, [4])
    assert found.dynamic_batching.preferred_batch_size


def test_infer_one_row(client: Any, admin: dict[str, str]) -> None:
    """Values, names, version and the caller's id; the answer has the id of the recorded request."""
    found = client.infer("iris", [given("x", "FP32", ROW)], request_id="mine", headers=admin)
    assert found.as_numpy("label").tolist() == [0]
    assert found.as_numpy("probabilities").shape == (1, 3)
    assert found.as_numpy("probabilities").sum() == pytest.approx(1.0)
    said = found.get_response()
    assert (said.model_name, said.model_version, said.id) == ("iris", "1", "mine")


def test_infer_many_rows_and_chosen_outputs(client: Any, admin: dict[str, str]) -> None:
    """Outputs in the order asked for; several rows in one request; another dtype than FP32."""
    rows = np.repeat(ROW, 300, axis=0)
    wanted = [triton.InferRequestedOutput("probabilities"), triton.InferRequestedOutput("label")]
    found = client.infer("iris", [given("x", "FP32", rows)], outputs=wanted, headers=admin)
    assert [output.name for output in found.get_response().outputs] == ["probabilities", "label"]
    assert found.as_numpy("probabilities").shape == (300, 3)
    a, b = np.arange(32, dtype=np.int32).reshape(2, 16), np.ones((2, 16), dtype=np.int32)
    found = client.infer("sums", [given("b", "INT32", b), given("a", "INT32", a)], headers=admin)
    assert found.as_numpy("sum").tolist() == (a + b).tolist()
    assert found.as_numpy("half").dtype == np.float16
    assert found.as_numpy("half").tolist() == (a - b).tolist()


def test_texts(client: Any, admin: dict[str, str]) -> None:
    """BYTES in and out."""
    words = np.array([[b"", "日本".encode()], [b"a\nb", b"x" * 1000]], dtype=object)
    found = client.infer("words", [given("words", "BYTES", words)], headers=admin)
    assert found.as_numpy("echo").tolist() == words.tolist()


def test_classification(client: Any, admin: dict[str, str]) -> None:
    """The classification extension ranks the classes of an output."""
    wanted = [triton.InferRequestedOutput("probabilities", class_count=2)]
    found = client.infer("iris", [given("x", "FP32", ROW)], outputs=wanted, headers=admin)
    first, second = found.as_numpy("probabilities")[0]
    assert first.endswith(b":0")
    assert second.endswith(b":1")


def test_asynchronous_and_many_at_once(client: Any, admin: dict[str, str]) -> None:
    """Requests in flight together are each answered with their own values."""
    answers: queue.Queue[tuple[int, Any, Any]] = queue.Queue()
    rows = np.random.default_rng(1).normal(size=(200, 1, 4)).astype(np.float32)
    for i, row in enumerate(rows):
        client.async_infer(
            "iris",
            [given("x", "FP32", row)],
            lambda result, error, i=i: answers.put((i, result, error)),
            headers=admin,
        )
    together = client.infer("iris", [given("x", "FP32", rows.reshape(200, 4))], headers=admin)
    for _ in rows:
        i, result, error = answers.get(timeout=30)
        assert error is None
        assert result.as_numpy("probabilities") == pytest.approx(together.as_numpy("probabilities")[i : i + 1])


def test_compressed_messages(client: Any, admin: dict[str, str]) -> None:
    """gRPC's own compression is understood."""
    rows = np.repeat(ROW, 500, axis=0)
    for algorithm in ("gzip", "deflate"):
        found = client.infer("iris", [given("x", "FP32", rows)], headers=admin, compression_algorithm=algorithm)
        assert found.as_numpy("label").tolist() == [0] * 500


def test_stream(client: Any, admin: dict[str, str]) -> None:
    """Answers come in order; one bad request is answered with its error and the stream goes on."""
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)), headers=admin)
    for i in range(100):
        version = "9" if i == 50 else ""
        client.async_stream_infer("iris", [given("x", "FP32", ROW)], request_id=str(i), model_version=version)
    found = [answers.get(timeout=30) for _ in range(100)]
    client.stop_stream()
    for i, (result, error) in enumerate(found):
        if i == 50:
            assert "no such version" in str(error)
        else:
            assert error is None
            assert result.get_response().id == str(i)
            assert result.as_numpy("label").tolist() == [0]


def test_a_stream_without_a_key_ends(client: Any) -> None:
    """What comes after would be refused as well."""
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    client.async_stream_infer("iris", [given("x", "FP32", ROW)])
    _, error = answers.get(timeout=30)
    assert "no API key" in str(error)
    client.stop_stream()


def test_statistics(client: Any, admin: dict[str, str]) -> None:
    """Requests over gRPC are counted with the others."""
    before = client.get_inference_statistics("sums", headers=admin).model_stats[0]
    values = np.zeros((3, 16), dtype=np.int32)
    client.infer("sums", [given("a", "INT32", values), given("b", "INT32", values)], headers=admin)
    after = client.get_inference_statistics("sums", headers=admin).model_stats[0]
    assert after.inference_count == before.inference_count + 3
    assert after.inference_stats.success.count == before.inference_stats.success.count + 1
    everything = client.get_inference_statistics(headers=admin).model_stats
    assert {one.name for one in everything} == {"iris", "sums", "words"}


def test_repository(client: Any, admin: dict[str, str]) -> None:
    """Index, unload, load: an unloaded model is refused, a loaded one answers again."""

    def state() -> dict[str, str]:
        listed = client.get_model_repository_index(headers=admin)
        return {one.name: one.state for one in listed.models}

    assert state() == {"iris": "READY", "words": "READY", "sums": "READY"}
    words = given("words", "BYTES", np.array([[b"a", b"b"]], dtype=object))
    client.unload_model("words", headers=admin)
    try:
        assert state()["words"] == "UNAVAILABLE"
        assert refused(client.infer, "words", [words], headers=admin)[0] == "UNAVAILABLE"
        assert not client.is_model_ready("words", headers=admin)
    finally:
        client.load_model("words", headers=admin)
    assert client.infer("words", [words], headers=admin).as_numpy("echo").shape == (1, 2)
    status, message = refused(client.load_model, "words", config="{}", headers=admin)
    assert status == "INVALID_ARGUMENT"
    assert "immutable" in message


def test_shared_memory_is_refused_clearly(client: Any, admin: dict[str, str]) -> None:
    """The extensions that this server does not have."""
    status, message = refused(client.get_system_shared_memory_status, headers=admin)
    assert status == "UNIMPLEMENTED"
    assert "SystemSharedMemoryStatus" in message
    tensor = triton.InferInput("x", [1, 4], "FP32")
    tensor.set_shared_memory("region", 16)
    status, message = refused(client.infer, "iris", [tensor], headers=admin)
    assert status == "INVALID_ARGUMENT"
    assert "shared memory" in message


def test_the_timeout_parameter(client: Any, admin: dict[str, str]) -> None:
    """The protocol's own deadline, in microseconds."""
    status, _ = refused(client.infer, "iris", [given("x", "FP32", ROW)], timeout=1, headers=admin)
    assert status == "DEADLINE_EXCEEDED"
    assert client.infer("iris", [given("x", "FP32", ROW)], timeout=10_000_000, headers=admin) is not None
