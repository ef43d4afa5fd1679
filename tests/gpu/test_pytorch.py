"""PyTorch's own programs on a device."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kaname.errors import Unavailable
from kaname.runtimes.catalog import begin, open_session
from kaname.runtimes.types import PLAIN
from kaname.settings import Device
from kaname.signature import OutputSpec, Signature
from kaname.tensors import TensorSpec
from tests.gpu.conftest import on

pytestmark = [pytest.mark.gpu, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
SIZE = 32
SIGNATURE = Signature(
    task="other",
    inputs=(TensorSpec(name="x", datatype="FP32", shape=(-1, 3, -1, -1)),),
    outputs=(OutputSpec(name="output", datatype="FP32", shape=(-1, 5)),),
)


def saved(folder: Path, runtime: str) -> Path:
    """A small network of pictures, as an exported program or as TorchScript."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(41)
    nn = torch.nn
    net = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5)).eval()
    example = torch.zeros(2, 3, SIZE, SIZE)
    if runtime == "torchscript":
        torch.jit.save(torch.jit.trace(net, example), str(folder / "model.pt"))
        return folder / "model.pt"
    free = torch.export.Dim.AUTO
    program = torch.export.export(net, (example,), dynamic_shapes=({0: free, 2: free, 3: free},))
    named = [spec.arg.name for spec in program.graph_signature.input_specs if spec.kind.name == "USER_INPUT"]
    assert len(named) == 1
    torch.export.save(program, str(folder / "model.pt2"))
    return folder / "model.pt2"


def signature(path: Path) -> Signature:
    """With the name that the export gave the input."""
    from kaname.runtimes.pytorch import load_exported, load_script

    (name,) = (load_script(path) if path.suffix == ".pt" else load_exported(path)).names
    spec = TensorSpec(name=name, datatype="FP32", shape=(-1, 3, -1, -1))
    return Signature(task="other", inputs=(spec,), outputs=SIGNATURE.outputs)


@pytest.mark.parametrize("runtime", ["pytorch", "torchscript"])
def test_a_program_answers_as_on_the_processor(device: Device, tmp_path: Path, runtime: str) -> None:
    """Batches and pictures of changing size; where it ran is where it was asked to."""
    path = saved(tmp_path, runtime)
    said = signature(path)
    begin(runtime, on(device))
    there, here = open_session(runtime, path, said, on(device)), open_session(runtime, path, said, PLAIN)
    assert (getattr(there, "device", None), getattr(here, "device", None)) == (device, "cpu")
    draw = np.random.default_rng(43)
    for rows, side in ((1, SIZE), (16, SIZE), (3, 48), (64, 20), (1, SIZE)):
        x = (draw.normal(size=(rows, 3, side, side)).astype(np.float32),)
        np.testing.assert_allclose(there.run(x)[0], here.run(x)[0], atol=1e-5, rtol=1e-4)
    there.close()
    here.close()


def test_more_than_the_device_holds_is_an_error_that_names_it(cuda: Device, tmp_path: Path) -> None:
    """The pictures fit the machine's memory, what the network makes of them not the device's; then a small one does."""
    torch = pytest.importorskip("torch")
    path = saved(tmp_path, "torchscript")
    session = open_session("torchscript", path, signature(path), on(cuda))
    one = np.ones((1, 3, SIZE, SIZE), np.float32)
    torch.cuda.set_per_process_memory_fraction(64 * 1024 * 1024 / torch.cuda.get_device_properties(0).total_memory)
    try:
        with pytest.raises(Unavailable, match="the memory of cuda does not suffice"):
            session.run((np.ones((512, 3, 128, 128), np.float32),))
        assert session.run((one,))[0].shape == (1, 5)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
