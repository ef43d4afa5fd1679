"""Clients that bring half a world of their own, each in a virtual environment that the test makes: the KServe SDK, and
TensorFlow with the stubs of `tensorflow-serving-api`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.server import Server, new_project

from .conftest import hold_port

pytestmark = [pytest.mark.services, pytest.mark.timeout(900)]

KSERVE = """
import asyncio, json, sys
import numpy as np
from kserve import InferInput, InferRequest, InferenceGRPCClient

async def main(target, key):
    client = InferenceGRPCClient(target)
    metadata = [("authorization", f"Bearer {key}")]
    found = {"live": await client.is_server_live(headers=metadata),
             "ready": await client.is_server_ready(headers=metadata),
             "model": await client.is_model_ready("iris", headers=metadata)}
    for form in (True, False):
        rows = InferInput("input", [2, 4], "FP32")
        rows.set_data_from_numpy(np.array([[5.1, 3.5, 1.4, 0.2], [6.3, 3.3, 6.0, 2.5]], np.float32), binary_data=form)
        answer = await client.infer(InferRequest("iris", [rows], request_id="mine"), headers=metadata)
        label = next(output for output in answer.outputs if output.name == "label")
        found[f"labels {form}"] = [one if isinstance(one, str) else one.decode() for one in label.as_numpy().tolist()]
        found["id"] = answer.id
    await client.close()
    print(json.dumps(found))

asyncio.run(main(*sys.argv[1:]))
"""

TENSORFLOW = """
import json, sys
import grpc
import tensorflow as tf
from tensorflow_serving.apis import classification_pb2, get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc

target, key = sys.argv[1:]
stub = prediction_service_pb2_grpc.PredictionServiceStub(grpc.insecure_channel(target))
metadata = [("authorization", f"Bearer {key}")]
rows = [[5.1, 3.5, 1.4, 0.2], [6.3, 3.3, 6.0, 2.5]]
asked = predict_pb2.PredictRequest()
asked.model_spec.name = "iris"
found = {}
for name, proto in (("content", tf.make_tensor_proto(rows, tf.float32)),
                    ("constant", tf.make_tensor_proto(5.0, tf.float32, [2, 4]))):
    asked.inputs["input"].CopyFrom(proto)
    answer = stub.Predict(asked, 30, metadata=metadata)
    found[name] = [one.decode() for one in tf.make_ndarray(answer.outputs["label"]).tolist()]
found["shape"] = tf.make_ndarray(answer.outputs["probabilities"]).shape
found["version"] = answer.model_spec.version.value
described = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
described.model_spec.name = "iris"
definitions = get_model_metadata_pb2.SignatureDefMap()
assert stub.GetModelMetadata(described, 30, metadata=metadata).metadata["signature_def"].Unpack(definitions)
found["outputs"] = sorted(definitions.signature_def["serving_default"].outputs)
examples = classification_pb2.ClassificationRequest()
examples.model_spec.name = "iris"
for row in rows:
    example = examples.input.example_list.examples.add()
    example.features.feature["input"].float_list.value.extend(row)
classified = stub.Classify(examples, 30, metadata=metadata).result.classifications
found["classes"] = [max(one.classes, key=lambda c: c.score).label for one in classified]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Address and key of a server on a new project."""
    project = new_project(tmp_path_factory.mktemp("clients") / "project")
    with hold_port() as held, Server(project, KANAME_SERVER__GRPC_PORT=str(held.getsockname()[1])) as server:
        yield f"127.0.0.1:{held.getsockname()[1]}", server.admin


def run(folder: Path, installs: list[list[str]], script: str, asked: tuple[str, str]) -> Any:
    """What `script` prints, in an environment of its own."""
    uv, python = str(Path(sys.executable).parent / "uv"), folder / "bin" / "python"
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, str(folder)], check=True)
    for packages in installs:
        subprocess.run([uv, "pip", "install", "-q", "--python", str(python), *packages], check=True)
    done = subprocess.run([str(python), "-c", script, *asked], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_kserve(tmp_path: Path, asked: tuple[str, str]) -> None:
    """The SDK's gRPC client: health, raw and typed tensors."""
    found = run(tmp_path / "kserve", [["kserve>=0.15"]], KSERVE, asked)
    labels = ["setosa", "virginica"]
    assert found == {
        "live": True, "ready": True, "model": True, "labels True": labels, "labels False": labels, "id": "mine",
    }  # fmt: skip


def test_tensorflow(tmp_path: Path, asked: tuple[str, str]) -> None:
    """The stubs of `tensorflow-serving-api`, with tensors and examples that TensorFlow makes."""
    installs = [["tensorflow-cpu>=2.18"], ["--no-deps", "tensorflow-serving-api>=2.18"]]
    found = run(tmp_path / "tensorflow", installs, TENSORFLOW, asked)
    assert found.pop("constant") in (["virginica", "virginica"], ["versicolor", "versicolor"], ["setosa", "setosa"])
    assert found == {
        "content": ["setosa", "virginica"], "shape": [2, 3], "version": 1, "outputs": ["label", "probabilities"],
        "classes": ["setosa", "virginica"],
    }  # fmt: skip
