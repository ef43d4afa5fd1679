"""A gRPC server that speaks the Open Inference Protocol and TensorFlow Serving's services, as a test wants it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np

from kaname.protobuf import tensors
from kaname.protobuf.messages import kind

LOADING, AVAILABLE = 20, 30


class Service(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpcio has no types
    """Both protocols: doubles `x` and echoes `t`; `step` may do something else with an inference."""

    def __init__(self) -> None:
        self.ready = True
        self.typed = False
        self.lost_bytes = 0
        self.step: Callable[[grpc.ServicerContext], None] = lambda _: None
        self.calls: list[grpc.ServicerContext] = []
        self.left_s: list[float] = []
        self.metadata: list[dict[str, str]] = []
        self.asked: list[Any] = []
        self.definitions: Any = kind("tensorflow.serving.SignatureDefMap")()
        self._methods = {
            "/inference.GRPCInferenceService/ModelInfer": self._method("inference.ModelInferRequest", self.infer),
            "/inference.GRPCInferenceService/ModelReady": self._method("inference.ModelReadyRequest", self.is_ready),
            "/tensorflow.serving.PredictionService/Predict": self._method(
                "tensorflow.serving.PredictRequest", self.predict
            ),
            "/tensorflow.serving.PredictionService/GetModelMetadata": self._method(
                "tensorflow.serving.GetModelMetadataRequest", self.describe
            ),
            "/tensorflow.serving.ModelService/GetModelStatus": self._method(
                "tensorflow.serving.GetModelStatusRequest", self.status
            ),
        }

    def _method(self, request: str, behavior: Callable[[Any, grpc.ServicerContext], Any]) -> grpc.RpcMethodHandler:
        return grpc.unary_unary_rpc_method_handler(
            behavior,
            request_deserializer=kind(request).FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        """The method that is called."""
        return self._methods.get(details.method)

    def is_ready(self, _: Any, __: grpc.ServicerContext) -> Any:
        """`ModelReady`."""
        return kind("inference.ModelReadyResponse")(ready=self.ready)

    def infer(self, request: Any, context: grpc.ServicerContext) -> Any:
        """`ModelInfer`."""
        self._seen(request, context)
        x = np.frombuffer(request.raw_input_contents[0], np.float32) * np.float32(2)
        answer = kind("inference.ModelInferResponse")(model_name="m")
        output = answer.outputs.add(name="y", datatype="FP32", shape=request.inputs[0].shape)
        if self.typed:
            output.contents.fp32_contents.extend(x.tolist())
        else:
            answer.raw_output_contents.append(x.tobytes())
        return answer

    def predict(self, request: Any, context: grpc.ServicerContext) -> Any:
        """`Predict`."""
        self._seen(request, context)
        answer = kind("tensorflow.serving.PredictResponse")()
        for name, proto in request.inputs.items():
            if name == "t":
                answer.outputs["t"].CopyFrom(proto)
                continue
            twice = np.frombuffer(proto.tensor_content, np.float32) * np.float32(2)
            output = answer.outputs["y"]
            output.CopyFrom(tensors.TENSOR(dtype=proto.dtype, tensor_shape=proto.tensor_shape))
            if self.typed:
                output.float_val.extend(twice.tolist())
            else:
                output.tensor_content = twice.tobytes()[: twice.nbytes - self.lost_bytes]
        return answer

    def describe(self, request: Any, _: grpc.ServicerContext) -> Any:
        """`GetModelMetadata`."""
        self.asked.append(request)
        answer = kind("tensorflow.serving.GetModelMetadataResponse")()
        answer.metadata["signature_def"].Pack(self.definitions)
        return answer

    def status(self, request: Any, _: grpc.ServicerContext) -> Any:
        """`GetModelStatus`."""
        state = AVAILABLE if self.ready else LOADING
        return kind("tensorflow.serving.GetModelStatusResponse")(model_version_status=[{"version": 1, "state": state}])

    def _seen(self, request: Any, context: grpc.ServicerContext) -> None:
        self.asked.append(request)
        self.calls.append(context)
        self.left_s.append(context.time_remaining())
        self.metadata.append(dict(context.invocation_metadata()))
        self.step(context)


class GrpcPeer:
    """A server with that service."""

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
