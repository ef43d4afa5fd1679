"""Where models run: by setting and by what onnxruntime has, and never elsewhere in silence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from kaname.errors import InvalidInput, Unavailable
from kaname.models.importing.devices import agree_with_cpu
from kaname.runtimes.catalog import open_session
from kaname.runtimes.devices import CPU, CUDA, TENSORRT, device_of, providers
from kaname.runtimes.onnx import check_device
from kaname.runtimes.types import SessionOptions
from kaname.settings import Device
from kaname.signature import OutputSpec, Signature
from kaname.tensors import TensorSpec
from tests.e2e import graphs

PLAIN_CUDA = {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC", "arena_extend_strategy": "kSameAsRequested"}
HERE = ort.get_available_providers()
SIGNATURE = Signature(
    task="other",
    inputs=(TensorSpec(name="x", datatype="FP32", shape=(-1, 2)),),
    outputs=(OutputSpec(name="y", datatype="FP32", shape=(-1, 1)),),
)


def named(device: Device, there: list[str]) -> list[str]:
    return providers(device, there)[0]


def test_auto_takes_what_is_there() -> None:
    """CUDA before the processor; never TensorRT, which would build engines for minutes."""
    assert named("auto", [CPU]) == [CPU]
    assert named("auto", [TENSORRT, CUDA, CPU]) == [CUDA, CPU]
    assert named("tensorrt", [TENSORRT, CUDA, CPU]) == [TENSORRT, CUDA, CPU]
    assert named("cpu", [TENSORRT, CUDA, CPU]) == [CPU]


def test_a_bound_of_device_memory_reaches_the_provider() -> None:
    """In the words of each; the processor has none. CUDA computes float32 as float32 in any case."""
    _, options = providers("tensorrt", [TENSORRT, CUDA, CPU], 1 << 30)
    assert options == [
        {"trt_max_workspace_size": "1073741824"},
        {**PLAIN_CUDA, "gpu_mem_limit": "1073741824"},
        {},
    ]
    assert providers("cuda", [CUDA, CPU])[1] == [PLAIN_CUDA, {}]


@pytest.mark.parametrize(("device", "provider"), [("cuda", CUDA), ("tensorrt", TENSORRT)])
def test_a_device_that_is_not_there_is_refused(device: Device, provider: str, tmp_path: Path) -> None:
    """With what this onnxruntime has, what it lacks, and what to install; or it is there, and a session runs on it."""
    path = graphs.constant(tmp_path / "model.onnx", 3.0)
    if provider in HERE:
        check_device(device)
        return
    with pytest.raises(Unavailable, match=f"cannot use {device}: install onnxruntime-gpu") as refused:
        check_device(device)
    assert (refused.value.where, refused.value.expected) == ("inference.device", provider)
    assert CPU in str(refused.value.found)
    with pytest.raises(Unavailable, match=r"inference\.device"):
        open_session("onnx", path, SIGNATURE, SessionOptions(device=device))


def test_a_fallback_is_no_answer_to_a_device_asked_for_by_name() -> None:
    """onnxruntime goes on with the processor when a driver is missing; whoever asked for `auto` may have that."""
    with pytest.raises(Unavailable, match="could not begin to use cuda"):
        device_of("cuda", [CPU])
    assert device_of("auto", [CPU]) == "cpu"
    assert device_of("auto", [CUDA, CPU]) == "cuda"


def test_a_session_says_where_it_runs(tmp_path: Path) -> None:
    """The processor, when asked for; with `auto` what this machine has."""
    path = graphs.constant(tmp_path / "model.onnx", 3.0)
    check_device("cpu")
    for device, expected in (("cpu", "cpu"), ("auto", "cuda" if CUDA in HERE else "cpu")):
        session = open_session("onnx", path, SIGNATURE, SessionOptions(device=device))  # type: ignore[arg-type]  # a Device
        assert getattr(session, "device", None) == expected
        session.close()


def test_a_device_that_answers_differently_is_refused(tmp_path: Path) -> None:
    """Two models stand for two devices: equal answers pass, others are refused with the difference."""
    same, other = (graphs.constant(tmp_path / name / "model.onnx", value) for name, value in (("a", 3.0), ("b", 3.5)))
    rows = (np.zeros((8, 2), np.float32),)
    session = open_session("onnx", same, SIGNATURE, SessionOptions())
    agree_with_cpu(session, "cuda", "onnx", same.parent, SIGNATURE, rows)
    with pytest.raises(InvalidInput, match="answers differently on cuda than on the processor"):
        agree_with_cpu(session, "cuda", "onnx", other.parent, SIGNATURE, rows)
