"""MLServer with a custom runtime on ONNX Runtime; `BENCH_WORKERS` is its `parallel_workers`, empty for its default."""

import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

HERE = Path(__file__).resolve().parent


class OnnxModel(MLModel):
    async def load(self) -> bool:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            os.environ["BENCH_MODEL"], options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name
        self._outputs = [output.name for output in self._session.get_outputs()]
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        rows = NumpyCodec.decode_input(payload.inputs[0]).astype(np.float32, copy=False)
        values = self._session.run(None, {self._input: rows})
        outputs = [NumpyCodec.encode_output(name, value) for name, value in zip(self._outputs, values, strict=True)]
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=outputs)


def main() -> None:
    port = int(os.environ["BENCH_PORT"])
    settings = {"host": "127.0.0.1", "http_port": port, "grpc_port": port + 1, "metrics_port": port + 2, "debug": False}
    if os.environ.get("BENCH_WORKERS"):
        settings["parallel_workers"] = int(os.environ["BENCH_WORKERS"])
    folder = Path(tempfile.mkdtemp(dir=os.environ["BENCH_SCRATCH"]))
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps({"name": "bench", "implementation": "server.OnnxModel"}))
    os.environ["PYTHONPATH"] = str(HERE)
    command = str(Path(sys.executable).parent / "mlserver")
    os.execv(command, [command, "start", str(folder)])


if __name__ == "__main__":
    main()
