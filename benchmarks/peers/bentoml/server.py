"""A BentoML service with one worker on ONNX Runtime."""

import os
import sys
from pathlib import Path

import bentoml
import numpy as np
import onnxruntime

HERE = Path(__file__).resolve().parent


@bentoml.service(workers=1, metrics={"enabled": False}, logging={"access": {"enabled": False}})
class Bench:
    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            os.environ["BENCH_MODEL"], options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name
        self._outputs = [output.name for output in self._session.get_outputs()]

    @bentoml.api
    def predict(self, features: list[float]) -> dict:
        values = self._session.run(None, {self._input: np.array([features], dtype=np.float32)})
        return {name: value.tolist() for name, value in zip(self._outputs, values, strict=True)}


if __name__ == "__main__":
    command = str(Path(sys.executable).parent / "bentoml")
    where = ["--host", "127.0.0.1", "--port", os.environ["BENCH_PORT"]]
    os.chdir(HERE)
    os.execv(command, [command, "serve", "server:Bench", *where])
