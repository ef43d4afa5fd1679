"""FastAPI and ONNX Runtime by hand: what a careful person writes in an afternoon, without any further feature."""

import os

import numpy as np
import onnxruntime
import uvicorn
from fastapi import FastAPI, Request
from pydantic import BaseModel

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(os.environ["BENCH_MODEL"], options, providers=["CPUExecutionProvider"])
given = session.get_inputs()[0]
names = [output.name for output in session.get_outputs()]
app = FastAPI()


class Row(BaseModel):
    features: list[float]


@app.post("/predict")
async def predict(row: Row) -> dict[str, list]:
    outputs = session.run(None, {given.name: np.array([row.features], dtype=np.float32)})
    return {name: value.tolist() for name, value in zip(names, outputs, strict=True)}


@app.post("/predict/binary")
async def predict_binary(request: Request) -> dict[str, list]:
    shape = [-1, *given.shape[1:]]
    rows = np.frombuffer(await request.body(), dtype=np.float32).reshape(shape)
    outputs = session.run(None, {given.name: rows})
    return {name: value.tolist() for name, value in zip(names, outputs, strict=True)}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["BENCH_PORT"]), log_level="error", access_log=False)
