"""LightGBM by its C library alone: one row through its single-row fast path, batches through the matrix call.

The Python package is never imported: a worker would carry pandas and scikit-learn for it.
Source of the calls: LightGBM's C API, https://lightgbm.readthedocs.io/en/stable/C-API.html
"""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np

from kaname.errors import CorruptData
from kaname.runtimes.native import check, open_library
from kaname.runtimes.scores import Scores
from kaname.runtimes.types import SessionOptions
from kaname.signature import Signature
from kaname.tensors import Tensor

_FLOAT64 = 1
_NORMAL = 0
_ROW_MAJOR = 1
_SILENT = ctypes.CFUNCTYPE(None, ctypes.c_char_p)(lambda _: None)
"""LightGBM prints to stdout unless someone listens."""


class LightGBMSession:
    """One loaded text model; the single input is an FP64 matrix [-1, features], NaN is missing."""

    __slots__ = (
        "_buffer",
        "_classes",
        "_data",
        "_fast",
        "_handle",
        "_length",
        "_lib",
        "_result",
        "_scores",
        "_threads",
    )

    def __init__(self, path: Path, signature: Signature, options: SessionOptions) -> None:
        self._lib = _library()
        self._threads = f"num_threads={options.threads} verbosity=-1".encode()
        self._handle = ctypes.c_void_p()
        self._call(
            "BoosterCreateFromModelfile", str(path).encode(), ctypes.byref(ctypes.c_int()), ctypes.byref(self._handle)
        )
        self._classes = self._count("BoosterGetNumClasses")
        columns = self._count("BoosterGetNumFeature")
        if signature.inputs[0].shape[1:] != (columns,):
            raise CorruptData(
                "the model and its signature differ in the number of features",
                where=str(path),
                found=str(columns),
                expected=str(signature.inputs[0].shape[1:]),
            )
        self._scores = Scores(signature)
        self._prepare_single_row(columns)

    def _prepare_single_row(self, columns: int) -> None:
        self._buffer = np.zeros((1, columns))
        self._result = np.zeros(self._classes)
        self._length = ctypes.c_int64()
        self._fast = ctypes.c_void_p()
        self._call(
            "BoosterPredictForMatSingleRowFastInit",
            self._handle, _NORMAL, 0, -1, _FLOAT64, columns, self._threads, ctypes.byref(self._fast),
        )  # fmt: skip
        self._data = (
            self._fast,
            ctypes.c_void_p(self._buffer.ctypes.data),
            ctypes.byref(self._length),
            ctypes.c_void_p(self._result.ctypes.data),
        )

    def run(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """See `Session.run`; raises RuntimeError with LightGBM's message."""
        (matrix,) = inputs
        if len(matrix) == 1:
            self._buffer[:] = matrix
            if self._lib.LGBM_BoosterPredictForMatSingleRowFast(*self._data) != 0:
                check(-1, self._last_error(), "LightGBM prediction")
            return self._scores.outputs(self._result if self._classes == 1 else self._result.reshape(1, -1))
        matrix = np.ascontiguousarray(matrix, dtype=np.float64)
        scores = np.empty(len(matrix) * self._classes)
        self._call(
            "BoosterPredictForMat",
            self._handle, ctypes.c_void_p(matrix.ctypes.data), _FLOAT64, *matrix.shape, _ROW_MAJOR,
            _NORMAL, 0, -1, self._threads, ctypes.byref(self._length), ctypes.c_void_p(scores.ctypes.data),
        )  # fmt: skip
        return self._scores.outputs(scores if self._classes == 1 else scores.reshape(-1, self._classes))

    def close(self) -> None:
        """Free the model."""
        if self._handle.value:
            self._lib.LGBM_FastConfigFree(self._fast)
            self._lib.LGBM_BoosterFree(self._handle)
            self._handle = ctypes.c_void_p()

    def _count(self, call: str) -> int:
        found = ctypes.c_int()
        self._call(call, self._handle, ctypes.byref(found))
        return found.value

    def _call(self, name: str, *arguments: object) -> None:
        check(getattr(self._lib, f"LGBM_{name}")(*arguments), self._last_error(), f"LightGBM {name}")

    def _last_error(self) -> str:
        found: bytes = self._lib.LGBM_GetLastError()
        return found.decode(errors="replace")


class LightGBMRuntime:
    """Opens LightGBM text models."""

    name = "lightgbm"

    def open(self, path: Path, signature: Signature, options: SessionOptions) -> LightGBMSession:
        """See `Runtime.open`."""
        try:
            return LightGBMSession(path, signature, options)
        except RuntimeError as error:
            raise CorruptData(f"{path.name} cannot be loaded: {error}", where=str(path)) from error


def _library() -> ctypes.CDLL:
    library = open_library("lightgbm", "lib_lightgbm.so", "lightgbm", "running a LightGBM model natively")
    library.LGBM_GetLastError.restype = ctypes.c_char_p
    library.LGBM_RegisterLogCallback(_SILENT)
    return library
