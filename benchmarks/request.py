"""The one request that a contestant gets again and again, and the forms in which the models' rows are sent."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Request:
    path: str
    body: bytes
    headers: tuple[tuple[str, str], ...]
    method: str = "POST"

    def with_headers(self, *more: tuple[str, str]) -> Request:
        return Request(self.path, self.body, (*self.headers, *more), self.method)


JSON = ("Content-Type", "application/json")
BYTES = ("Content-Type", "application/octet-stream")


def json_request(path: str, document: object) -> Request:
    """`document` as JSON."""
    return Request(path, json.dumps(document, separators=(",", ":")).encode(), (JSON,))


def bytes_request(path: str, rows: NDArray[np.float32]) -> Request:
    """The rows as they lie in memory."""
    return Request(path, rows.tobytes(), (BYTES,))


def infer_json(path: str, name: str, rows: NDArray[np.float32]) -> Request:
    """An Open Inference Protocol request with its tensor as JSON."""
    tensor = {"name": name, "shape": list(rows.shape), "datatype": "FP32", "data": rows.ravel().tolist()}
    return json_request(path, {"inputs": [tensor]})


def infer_binary(path: str, name: str, rows: NDArray[np.float32], *, binary_answer: bool) -> Request:
    """The same with the binary tensor data extension: a JSON header, then the bytes of the tensor."""
    data = rows.tobytes()
    tensor = {
        "name": name, "shape": list(rows.shape), "datatype": "FP32", "parameters": {"binary_data_size": len(data)},
    }  # fmt: skip
    document: dict[str, object] = {"inputs": [tensor]}
    if binary_answer:
        document["parameters"] = {"binary_data_output": True}
    head = json.dumps(document, separators=(",", ":")).encode()
    return Request(path, head + data, (BYTES, ("Inference-Header-Content-Length", str(len(head)))))
