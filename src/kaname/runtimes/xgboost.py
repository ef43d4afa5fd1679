"""XGBoost by its C library alone, predicting in place from a dense matrix.

The Python package is never imported: a worker would carry scipy and pandas for it.
Source of the calls: XGBoost's C API, https://xgboost.readthedocs.io/en/stable/c.html
"""

from __future__ import annotations

import ctypes
import json
from math import prod
from pathlib import Path

import numpy as np

from kaname.errors import CorruptData
from kaname.runtimes.native import check, open_library
from kaname.runtimes.scores import Scores
from kaname.runtimes.types import SessionOptions
from kaname.signature import Signature
from kaname.tensors import Tensor

_CONFIG = json.dumps(
    {
        "type": 0,
        "training": False,
        "iteration_begin": 0,
        "iteration_end": 0,
        "missing": float("nan"),
        "strict_shape": False,
        "cache_id": 0,
    }
).encode()


class XGBoostSession:
    """One loaded model (`.ubj` or `.json`); the single input is an FP32 matrix [-1, features], NaN is missing."""

    __slots__ = ("_buffer", "_dims", "_handle", "_interface", "_lib", "_result", "_scores", "_shape")

    def __init__(self, path: Path, signature: Signature, options: SessionOptions) -> None:
        self._lib = _library()
        self._handle = ctypes.c_void_p()
        self._shape = ctypes.POINTER(ctypes.c_uint64)()
        self._dims = ctypes.c_uint64()
        self._result = ctypes.POINTER(ctypes.c_float)()
        self._call("Create", None, ctypes.c_uint64(0), ctypes.byref(self._handle))
        self._call("LoadModel", self._handle, str(path).encode())
        self._call("SetParam", self._handle, b"nthread", str(options.threads).encode())
        self._call("SetParam", self._handle, b"verbosity", b"0")
        self._scores = Scores(signature)
        # The address of one row's buffer never changes, nor does the text that tells XGBoost of it.
        self._buffer = np.zeros((1, *signature.inputs[0].shape[1:]), np.float32)
        self._interface = _interface(self._buffer)

    def run(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """See `Session.run`; raises RuntimeError with XGBoost's message."""
        (matrix,) = inputs
        if len(matrix) == 1:
            self._buffer[:] = matrix
            return self._scores.outputs(self._predict(self._interface))
        matrix = np.ascontiguousarray(matrix, dtype=np.float32)
        return self._scores.outputs(self._predict(_interface(matrix)))

    def _predict(self, interface: bytes) -> Tensor:
        """Scores in XGBoost's own memory, valid until the next call; `Scores` copies them."""
        self._call(
            "PredictFromDense",
            self._handle, interface, _CONFIG, None,
            ctypes.byref(self._shape), ctypes.byref(self._dims), ctypes.byref(self._result),
        )  # fmt: skip
        shape = tuple(self._shape[: self._dims.value])
        scores: Tensor = np.ctypeslib.as_array(self._result, (prod(shape),)).reshape(shape)
        return scores

    def close(self) -> None:
        """Free the model."""
        if self._handle.value:
            self._lib.XGBoosterFree(self._handle)
            self._handle = ctypes.c_void_p()

    def _call(self, name: str, *arguments: object) -> None:
        if (code := getattr(self._lib, f"XGBooster{name}")(*arguments)) != 0:
            found: bytes = self._lib.XGBGetLastError()
            check(code, found.decode(errors="replace"), f"XGBoost {name}")


class XGBoostRuntime:
    """Opens XGBoost models."""

    name = "xgboost"

    def open(self, path: Path, signature: Signature, options: SessionOptions) -> XGBoostSession:
        """See `Runtime.open`."""
        try:
            return XGBoostSession(path, signature, options)
        except RuntimeError as error:
            raise CorruptData(f"{path.name} cannot be loaded: {error}", where=str(path)) from error


def _interface(matrix: Tensor) -> bytes:
    """The array interface (version 3) of a C-contiguous FP32 matrix, as XGBoost reads it."""
    rows, columns = matrix.shape
    return (
        b'{"data": [%d, true], "shape": [%d, %d], "typestr": "<f4", "version": 3, "strides": null}'
        % (matrix.ctypes.data, rows, columns)
    )  # fmt: skip


def _library() -> ctypes.CDLL:
    library = open_library("xgboost", "libxgboost.so", "xgboost", "running an XGBoost model natively")
    library.XGBGetLastError.restype = ctypes.c_char_p
    return library
