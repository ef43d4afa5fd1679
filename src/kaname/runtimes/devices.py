"""Which of ONNX Runtime's execution providers a session uses, by setting and by what is there; what a full device says.

Source of the names and options: https://onnxruntime.ai/docs/execution-providers/
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kaname.errors import Unavailable
from kaname.settings import Device

_FULL = ("failed to allocate memory", "smaller than requested bytes", "out of memory", "_alloc_failed", "oom when")
"""What ONNX Runtime, CUDA, its libraries, PyTorch and TensorFlow say, in small letters, when a device's memory does not
suffice."""
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
    if provider == CPU:
        return {}
    if provider == TENSORRT:
        return {"trt_max_workspace_size": str(memory_bytes)} if memory_bytes else {}
    # Float32 is float32, as on the processor; and no search for the fastest convolution, which would hold up the
    # first request of every number of rows. What an arena takes beyond need another session lacks.
    options = {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC", "arena_extend_strategy": "kSameAsRequested"}
    return {**options, "gpu_mem_limit": str(memory_bytes)} if memory_bytes else options


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


def full(device: str, error: Exception) -> Unavailable | None:
    """What to tell the caller where `error`, of a load or a run on `device`, says that its memory does not suffice."""
    said = str(error)
    if device == "cpu" or not any(words in said.lower() for words in _FULL):
        return None
    return Unavailable(
        f"the memory of {device} does not suffice",
        where="inference.device",
        found=said.strip().splitlines()[-1][-300:],
        expected="fewer rows at once, fewer models, or a larger inference.device_bytes where one is set",
    )
