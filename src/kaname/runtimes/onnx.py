"""ONNX Runtime: the first choice for whatever can be expressed as an ONNX graph.

The only module that imports onnxruntime at module level; it turns the vendor's telemetry off before it does.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import msgspec
import numpy as np
import onnxruntime as ort

from kaname.errors import CorruptData, InvalidInput, Unavailable
from kaname.runtimes.devices import CPU, CUDA, device_of, full, providers
from kaname.runtimes.types import SessionOptions
from kaname.settings import Device
from kaname.signature import Signature
from kaname.tensors import NUMPY_OF, Datatype, Tensor, TensorSpec

_DATATYPES: dict[str, Datatype] = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}

Convert = Callable[[Tensor], Tensor]
MOST_BOUND = 64 * 1024
"""Bytes of a row up to which copying it into a bound buffer is cheaper than naming it anew."""

_IDENTITY = (
    b'\x08\x08\x12\x00:/\n\x10\n\x01x\x12\x01y"\x08Identity\x12\x01iZ\x0b\n\x01x\x12\x06\n\x04\x08\x01\x12\x00'
    b"b\x0b\n\x01y\x12\x06\n\x04\x08\x01\x12\x00B\x04\n\x00\x10\x11"
)
"""The smallest model: a number in, the same out."""


class OnnxSession:
    """One loaded ONNX file; adapts dtypes and shapes where the file's differ from the signature's.

    A single row, the commonest request, runs through buffers bound once (2 µs cheaper per run on a small
    model); every other size through `run` with names prepared beforehand.
    """

    __slots__ = (
        *("_bound", "_file_outputs", "_inner", "_inputs", "_names", "_outputs", "_session", "_wanted"),
        *("again", "device"),
    )

    def __init__(
        self,
        session: ort.InferenceSession,
        signature: Signature,
        asked: Device = "auto",
        again: Callable[[], OnnxSession] | None = None,
    ) -> None:
        """`again` opens the same once more."""
        self._session = session
        self.device = device_of(asked, session.get_providers())
        self.again = again if _plans(session) else None
        """Set where a run of another number of rows than the last takes long to plan."""
        # The public `run` validates names again at every call (2 µs); the object below it does the work.
        self._inner: Any = getattr(session, "_sess", session)
        inputs = {spec.name: spec for spec in _specs(session.get_inputs())}
        outputs = {spec.name: spec for spec in _specs(session.get_outputs())}
        _check_names(signature.inputs, inputs, "input")
        _check_names(signature.outputs, outputs, "output")
        self._names = [spec.name for spec in signature.inputs]
        self._wanted = [spec.name for spec in signature.outputs]
        self._inputs = _converters(
            [_to_file(spec, inputs[spec.name]) for spec in signature.inputs],
        )
        self._file_outputs = [outputs[name] for name in self._wanted]
        self._outputs = _converters(
            [_to_signature(spec, outputs[spec.name]) for spec in signature.outputs],
        )
        self._bound: _Bound | None = None
        if _can_bind(session, signature, [inputs[n] for n in self._names], self._file_outputs):
            self._bound = _Bound(session, signature, [inputs[n] for n in self._names], self._file_outputs)

    def run(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """See `Session.run`; raises InvalidInput for BYTES that are not UTF-8, onnxruntime's errors for the rest."""
        bound = self._bound
        if bound is not None and len(inputs[0]) == 1:
            try:
                return bound.run(inputs)
            except Exception:  # noqa: BLE001  (the file's shapes are not what it declares: the plain run below is the judge)
                self._bound = None
        if self._inputs is not None:
            inputs = tuple(x if c is None else c(x) for c, x in zip(self._inputs, inputs, strict=True))
        feed = dict(zip(self._names, inputs, strict=True))
        try:
            found: Sequence[Tensor] = self._inner.run(self._wanted, feed, None)
        except Exception as error:  # onnxruntime has a dozen unrelated classes
            refused = full(self.device, error)
            if refused is None:
                raise
            raise refused from error
        if self._outputs is None:
            return tuple(found)
        return tuple(x if c is None else c(x) for c, x in zip(self._outputs, found, strict=True))

    def close(self) -> None:
        """Release the session and its buffers."""
        self._bound = self._inner = self._session = None


class _Bound:
    """Buffers of one row, bound to the session once."""

    __slots__ = ("_binding", "_buffers", "_inner", "_keep", "_views")

    def __init__(
        self, session: ort.InferenceSession, signature: Signature, ins: list[TensorSpec], outs: list[TensorSpec]
    ) -> None:
        binding = session.io_binding()
        self._buffers = [np.zeros((1, *spec.shape[1:]), NUMPY_OF[spec.datatype]) for spec in ins]
        results = [np.zeros((1, *spec.shape[1:]), NUMPY_OF[spec.datatype]) for spec in outs]
        for spec, array in zip(ins, self._buffers, strict=True):
            binding.bind_input(spec.name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        for spec, array in zip(outs, results, strict=True):
            binding.bind_output(spec.name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        self._views = [
            (view.reshape(1, *spec.shape[1:]), NUMPY_OF[spec.datatype])
            for view, spec in zip(results, signature.outputs, strict=True)
        ]
        self._keep = (session, binding, results)
        self._inner: Any = session._sess
        self._binding: Any = binding._iobinding

    def run(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        for buffer, given in zip(self._buffers, inputs, strict=True):
            buffer[:] = given
        self._inner.run_with_iobinding(self._binding, None)
        return tuple([view.astype(dtype) for view, dtype in self._views])


class OnnxRuntime:
    """Opens ONNX files, on the device that the options say."""

    name = "onnx"

    def __init__(self) -> None:
        _begin()

    def open(self, path: Path, signature: Signature, options: SessionOptions) -> OnnxSession:
        """See `Runtime.open`."""

        def again() -> OnnxSession:
            return OnnxSession(_load(path, options), signature, options.device, again)

        return again()

    def begin(self, options: SessionOptions) -> None:
        """See `Beginning.begin`."""
        check_device(options.device)


@cache
def _begin() -> None:
    """Let the library make what all sessions share (1.4 MB), so that it is not weighed as a part of the first one."""
    ort.InferenceSession(_IDENTITY, providers=[CPU])


@cache
def _find_libraries() -> str:
    """Load CUDA's libraries from where pip has put them; what the library prints where they are elsewhere.

    What CUDA's provider reports as errors from now on are attempts (a convolution has no plan of one kind, and gets one
    of another); what ends a load or a run is raised.
    """
    ort.set_default_logger_severity(4)
    with redirect_stdout(StringIO()) as said:
        ort.preload_dlls()
    return said.getvalue()


def check_device(device: Device) -> None:
    """Begin to use `device`. Raises Unavailable where sessions cannot run on it."""
    names, each = _providers(device)
    try:
        session = ort.InferenceSession(
            _IDENTITY, _quiet(), providers=names, provider_options=each, enable_fallback=device == "auto"
        )
    except Exception as error:  # onnxruntime has a dozen unrelated classes
        raise Unavailable(
            f"onnxruntime cannot begin to use {device}", where="inference.device", found=_last_line(error)
        ) from error
    device_of(device, session.get_providers())


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1][-400:]


def _providers(device: Device, memory_bytes: int = 0) -> tuple[list[str], list[dict[str, Any]]]:
    names, each = providers(device, ort.get_available_providers(), memory_bytes)
    if CUDA in names:
        _find_libraries()
    return names, each


def _quiet() -> ort.SessionOptions:
    settings = ort.SessionOptions()
    settings.log_severity_level = 3
    return settings


def describe(path: Path) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs that the file at `path` declares; -1 for sizes that are named or unknown.

    Raises CorruptData when it cannot be loaded, InvalidInput when one of them is not a tensor.
    """
    session = _load(path, SessionOptions())
    return tuple(_specs(session.get_inputs())), tuple(_specs(session.get_outputs()))


def _load(path: Path, options: SessionOptions) -> ort.InferenceSession:
    settings = _quiet()
    settings.intra_op_num_threads = options.threads
    settings.inter_op_num_threads = 1
    # An arena of its own costs each small session about a megabyte and makes none of them faster.
    settings.enable_cpu_mem_arena = False
    settings.enable_mem_pattern = False
    # Spinning threads of one worker would take the cores of the others.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    settings.add_session_config_entry("session.inter_op.allow_spinning", "0")
    names, each = _providers(options.device, options.device_bytes)
    if CUDA in names:
        settings.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    try:
        session = ort.InferenceSession(os.fspath(path), settings, providers=names, provider_options=each)
    except Exception as error:  # onnxruntime has a dozen unrelated classes
        refused = full(device_of("auto", names), error)
        if refused is not None:
            raise refused from error
        raise CorruptData(f"onnxruntime cannot load {path.name}: {error}", where=str(path)) from error
    if options.device == "auto" and CUDA in names and not _on_device(session):
        return _load(path, msgspec.structs.replace(options, device="cpu"))
    return session


def _on_device(session: ort.InferenceSession) -> bool:
    """Whether the device has the larger part of the work: of trees and kernels it knows nothing, and what is left of
    such a model would only cost copies and memory there."""
    parts = _parts(session)
    there = sum(len(part.get_nodes()) for part in parts if part.ep_name != CPU)
    return not parts or 2 * there >= sum(len(part.get_nodes()) for part in parts)


def _plans(session: ort.InferenceSession) -> bool:
    """Whether there are convolutions on a device."""
    convolutions = ("Conv", "FusedConv", "ConvTranspose", "NhwcConv", "NhwcFusedConv")
    return any(
        node.op_type in convolutions for part in _parts(session) if part.ep_name != CPU for node in part.get_nodes()
    )


def _parts(session: ort.InferenceSession) -> Sequence[Any]:
    """The parts of the graph by provider; none for the processor alone, or before onnxruntime 1.24."""
    if session.get_providers() == [CPU] or not hasattr(session, "get_provider_graph_assignment_info"):
        return ()
    found: Sequence[Any] = session.get_provider_graph_assignment_info()
    return found


def _specs(nodes: Sequence[Any]) -> list[TensorSpec]:
    specs = []
    for node in nodes:
        datatype = _DATATYPES.get(node.type)
        if datatype is None:
            raise InvalidInput(
                "this ONNX type has no counterpart in the protocol",
                where=node.name,
                found=node.type,
                expected="a tensor of " + ", ".join(_DATATYPES.values()),
            )
        shape = tuple(size if isinstance(size, int) and size >= 0 else -1 for size in node.shape)
        specs.append(TensorSpec(name=node.name, datatype=datatype, shape=shape))
    return specs


def _check_names(wanted: Sequence[TensorSpec], there: dict[str, TensorSpec], what: str) -> None:
    for spec in wanted:
        if spec.name not in there:
            raise CorruptData(
                f"the file has no such {what}", where=spec.name, found=", ".join(there), expected=spec.name
            )


def _can_bind(
    session: ort.InferenceSession, signature: Signature, ins: Sequence[TensorSpec], outs: Sequence[TensorSpec]
) -> bool:
    """Fixed sizes behind the rows, small rows of numbers only, memory that the processor reaches."""
    return (
        signature.batched
        and hasattr(session, "_sess")
        and session.get_providers() == [CPU]
        and bool(ins)
        and all(s.datatype != "BYTES" and s.shape and -1 not in s.shape[1:] for s in (*ins, *outs))
        and all(s.shape[0] in (-1, 1) for s in (*ins, *outs))
        and sum(8 * math.prod(s.shape[1:]) for s in ins) <= MOST_BOUND
        and all(s.datatype != "BYTES" and -1 not in s.shape[1:] for s in (*signature.inputs, *signature.outputs))
    )


def _converters(found: list[Convert | None]) -> list[Convert | None] | None:
    return found if any(found) else None


def _to_file(spec: TensorSpec, file: TensorSpec) -> Convert | None:
    if file.datatype == "BYTES":
        return _to_strings
    if spec.datatype != file.datatype:
        dtype = NUMPY_OF[file.datatype]
        return lambda x: x.astype(dtype)
    return None


def _to_signature(spec: TensorSpec, file: TensorSpec) -> Convert | None:
    if file.datatype == "BYTES":
        return _to_bytes
    dtype = None if spec.datatype == file.datatype else NUMPY_OF[spec.datatype]
    if len(spec.shape) != len(file.shape):
        tail = spec.shape[1:]
        return lambda x: x.reshape(len(x), *tail) if dtype is None else x.reshape(len(x), *tail).astype(dtype)
    return None if dtype is None else (lambda x: x.astype(dtype))


def _to_strings(given: Tensor) -> Tensor:
    out = np.empty(given.size, dtype=object)
    try:
        out[:] = [x.decode() if isinstance(x, bytes) else str(x) for x in given.ravel().tolist()]
    except UnicodeDecodeError as error:
        raise InvalidInput("a BYTES element is not UTF-8, which this model needs", found=str(error)) from error
    return out.reshape(given.shape)


def _to_bytes(found: Tensor) -> Tensor:
    out = np.empty(found.size, dtype=object)
    out[:] = [x if isinstance(x, bytes) else str(x).encode() for x in found.ravel().tolist()]
    return out.reshape(found.shape)
