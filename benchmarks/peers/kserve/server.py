"""The KServe SDK's model server with a model on ONNX Runtime."""

import os

import numpy as np
import onnxruntime
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer
from kserve.utils.utils import generate_uuid


class OnnxModel(Model):
    def __init__(self) -> None:
        super().__init__("bench")
        self.load()

    def load(self) -> bool:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            os.environ["BENCH_MODEL"], options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name
        self._outputs = self._session.get_outputs()
        self.ready = True
        return True

    async def predict(self, payload, headers=None, response_headers=None):
        assert isinstance(payload, InferRequest)
        rows = payload.inputs[0].as_numpy().astype(np.float32, copy=False)
        values = self._session.run(None, {self._input: rows})
        outputs = []
        for spec, value in zip(self._outputs, values, strict=True):
            datatype = "INT64" if value.dtype == np.int64 else "FP32"
            output = InferOutput(name=spec.name, shape=list(value.shape), datatype=datatype)
            output.set_data_from_numpy(value, binary_data=False)
            outputs.append(output)
        return InferResponse(response_id=payload.id or generate_uuid(), model_name=self.name, infer_outputs=outputs)


if __name__ == "__main__":
    port = int(os.environ["BENCH_PORT"])
    grpc = bool(os.environ.get("BENCH_GRPC"))
    ModelServer(http_port=port, grpc_port=port + 1, workers=1, enable_grpc=grpc, access_log_format=None).start(
        [OnnxModel()]
    )
