"""LitServe with one API worker and one inference worker on ONNX Runtime."""

import os

import litserve
import numpy as np
import onnxruntime


class OnnxApi(litserve.LitAPI):
    def setup(self, device: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            os.environ["BENCH_MODEL"], options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name
        self._outputs = [output.name for output in self._session.get_outputs()]

    def decode_request(self, request):
        return np.array([request["features"]], dtype=np.float32)

    def predict(self, rows):
        return self._session.run(None, {self._input: rows})

    def encode_response(self, values):
        return {name: value.tolist() for name, value in zip(self._outputs, values, strict=True)}


if __name__ == "__main__":
    server = litserve.LitServer(OnnxApi(), accelerator="cpu", workers_per_device=1)
    port = int(os.environ["BENCH_PORT"])
    server.run(host="127.0.0.1", port=port, num_api_servers=1, log_level="error", generate_client_file=False)
