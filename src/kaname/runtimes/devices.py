"""Which of ONNX Runtime's execution providers a session uses, by setting and by what is there.

Source of the names and options: https://onnxruntime.ai/docs/execution-providers/
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kaname.errors import Unavailable
from kaname.settings import Device

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
_PROVIDERS: dict[str, tuple[str, ...]] = {"cpu": (CPU,), "cuda": (CUDA, CPU), "tensorrt": (TENSORRT, CUDA, CPU)}
_DEVICES: dict[str, Device] = {CUDA: "cuda", TENSORRT: "tensorrt"}


def providers(device: Device, there: Sequence[str], memory_bytes: int = 0) -> tuple[list[str], list[dict[str, Any]]]:
    """The providers to ask for, the first choice first, and the options of each. `there` is what onnxruntime has.

    `auto` takes CUDA where there is one; TensorRT, which builds an engine per model for minutes, only comes by name.
    `memory_bytes`: most that a session takes of the device's memory; 0: what there is. Raises Unavailable.
    """
    if device == "auto":
        device = "cuda" if CUDA in there else "cpu"
    wanted = _PROVIDERS[device]
    if wanted[0] not in there:
        raise Unavailable(
            f"this onnxruntime cannot use {device}: install onnxruntime-gpu in the place of onnxruntime",
            where="inference.device",
            found=", ".join(there),
            expected=wanted[0],
        )
    chosen = [name for name in wanted if name in there]
    return chosen, [_options(name, memory_bytes) for name in chosen]


def _options(provider: str, memory_bytes: int) -> dict[str, Any]:
    if not memory_bytes or provider == CPU:
        return {}
    if provider == TENSORRT:
        return {"trt_max_workspace_size": str(memory_bytes)}
    return {"gpu_mem_limit": str(memory_bytes), "arena_extend_strategy": "kSameAsRequested"}


def device_of(asked: Device, used: Sequence[str]) -> Device:
    """Where a session runs that uses these providers. Raises Unavailable where it is not where it was asked to be:
    onnxruntime falls back to the processor without an error when a driver or a library is missing."""
    found: Device = _DEVICES.get(used[0], "cpu")
    if asked in ("cuda", "tensorrt") and found != asked:
        raise Unavailable(
            f"onnxruntime could not begin to use {asked} (is the driver there, and the libraries of its version?)",
            where="inference.device",
            found=", ".join(used),
            expected=_PROVIDERS[asked][0],
        )
    return found
