"""A server that is built of TensorFlow Serving's stubs and TensorFlow's tensors, in an environment of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from kaname.runtimes.remote.description import Remote
from kaname.runtimes.remote.links import open_links
from kaname.signature import OutputSpec, Signature
from kaname.tensors import Tensor, TensorSpec
from tests.processes import until

from .conftest import BYTES, Connect

pytestmark = [pytest.mark.services, pytest.mark.timeout(900)]

SERVER = """
from concurrent.futures import ThreadPoolExecutor
import grpc
import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_service_pb2_grpc
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

def info(dtype, *dims):
    return meta_graph_pb2.TensorInfo(name="t:0", dtype=dtype, tensor_shape=tf.TensorShape(dims).as_proto())

class Prediction(prediction_service_pb2_grpc.PredictionServiceServicer):
    def Predict(self, request, context):
        assert request.model_spec.signature_name == "both", request.model_spec
        assert request.model_spec.version.value == 7, request.model_spec
        x = tf.make_ndarray(request.inputs["x"])
        answer = predict_pb2.PredictResponse(model_spec=request.model_spec)
        answer.outputs["y"].CopyFrom(tf.make_tensor_proto(x * 2))
        answer.outputs["echo"].CopyFrom(tf.make_tensor_proto(tf.make_ndarray(request.inputs["t"])))
        assert list(request.output_filter) == ["y", "echo"], request.output_filter
        return answer

    def GetModelMetadata(self, request, context):
        definition = meta_graph_pb2.SignatureDef(
            inputs={"x": info(types_pb2.DT_HALF, None, 2), "t": info(types_pb2.DT_STRING, None)},
            outputs={"y": info(types_pb2.DT_HALF, None, 2), "echo": info(types_pb2.DT_STRING, None)},
            method_name="tensorflow/serving/predict",
        )
        definitions = get_model_metadata_pb2.SignatureDefMap(signature_def={"both": definition})
        answer = get_model_metadata_pb2.GetModelMetadataResponse(model_spec=request.model_spec)
        answer.metadata["signature_def"].Pack(definitions)
        return answer

class Models(model_service_pb2_grpc.ModelServiceServicer):
    def GetModelStatus(self, request, context):
        kind = get_model_status_pb2.ModelVersionStatus
        one = kind(version=7, state=kind.AVAILABLE)
        return get_model_status_pb2.GetModelStatusResponse(model_version_status=[one])

server = grpc.server(ThreadPoolExecutor(4))
prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Prediction(), server)
model_service_pb2_grpc.add_ModelServiceServicer_to_server(Models(), server)
port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(port, flush=True)
input()
"""
BOTH = Signature(
    task="other",
    inputs=(
        TensorSpec(name="x", datatype="FP16", shape=(-1, 2)),
        TensorSpec(name="t", datatype="BYTES", shape=(-1,)),
    ),
    outputs=(
        OutputSpec(name="y", datatype="FP16", shape=(-1, 2)),
        OutputSpec(name="echo", datatype="BYTES", shape=(-1,)),
    ),
)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of that server."""
    folder = tmp_path_factory.mktemp("tensorflow") / "venv"
    uv, python = str(Path(sys.executable).parent / "uv"), folder / "bin" / "python"
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, str(folder)], check=True)
    for packages in (["tensorflow-cpu>=2.18"], ["--no-deps", "tensorflow-serving-api>=2.18"]):
        subprocess.run([uv, "pip", "install", "-q", "--python", str(python), *packages], check=True)
    with subprocess.Popen(
        [str(python), "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        yield f"grpc://127.0.0.1:{int(server.stdout.readline())}"
        server.kill()


def test_its_own_messages_are_understood(url: str, connect: Connect) -> None:
    """Signature, readiness and tensors of both kinds, of half precision with all their bits."""
    named = {"version": "7", "signature_name": "both"}
    (link,) = open_links(Remote(protocol="tfs-grpc", urls=(url,), model="m", **named), BOTH, ())  # type: ignore[arg-type]  # texts
    described = link.described(30)
    link.close()
    assert described is not None
    assert {*described.inputs} == {*BOTH.inputs}
    assert {(one.name, one.datatype, one.shape) for one in described.outputs} == {
        (one.name, one.datatype, one.shape) for one in BOTH.outputs
    }
    session = connect("tfs-grpc", url, BOTH, **named)
    x: Tensor = np.array([[1.5, -0.1], [65504, 1e-7]], np.float16)
    y, echo = session.run((x, BYTES))
    with np.errstate(over="ignore"):
        assert y.tobytes() == (x * np.float16(2)).tobytes()
    assert echo.tolist() == BYTES.tolist()
    until(lambda: session.trouble is None, "it is ready")
