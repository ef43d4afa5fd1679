"""PyTorch models: exported programs, TorchScript and pickled modules (run by `test_frameworks`)."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from kaname.errors import CorruptData, InvalidInput
from kaname.models.importing.choose import again
from kaname.runtimes.catalog import open_session
from kaname.runtimes.types import SessionOptions
from tests.frameworks import nets
from tests.frameworks.inside import ROWS, agree, answers, imported, make_project, predict_elsewhere, sampled
from tests.models.importing.test_process import version_of

pytestmark = pytest.mark.filterwarnings("ignore")
AUTO = torch.export.Dim.AUTO
IMAGES = np.random.default_rng(4).normal(size=(6, 3, 16, 16)).astype(np.float32)
WORDS = np.array([[1, 2, 3, 4], [5, 6, 7, 0]])
MASK = np.array([[1, 1, 1, 1], [1, 1, 1, 0]], np.float32)


def exported(folder: Path, module: torch.nn.Module, *examples: Any, free: Any = None) -> Path:
    """The module as an exported program whose first dimensions vary, or those that `free` says."""
    shapes = free or tuple({0: AUTO} for _ in examples)
    program = torch.export.export(module.eval(), tuple(torch.tensor(x) for x in examples), dynamic_shapes=shapes)
    torch.export.save(program, str(folder / "net.pt2"))
    return folder / "net.pt2"


def scripted(folder: Path, module: torch.nn.Module) -> Path:
    torch.jit.save(torch.jit.script(module.eval()), str(folder / "net.pt"))
    return folder / "net.pt"


def pickled(folder: Path, module: Any, name: str = "net.pth") -> Path:
    torch.save(module, str(folder / name))
    return folder / name


def said(module: torch.nn.Module, *inputs: Any) -> tuple[Any, ...]:
    """The module's own answers, as a tuple."""
    with torch.no_grad():
        found = module(*(torch.tensor(x) for x in inputs))
    found = tuple(found.values()) if isinstance(found, dict) else found if isinstance(found, tuple) else (found,)
    return tuple(x.numpy() for x in found)


# --- exported programs ----------------------------------------------------------------------------------


def test_an_exported_program_answers_as_onnx(tmp_path: Path) -> None:
    """Names, types and free rows come from the program; its ONNX form agrees and answers, for torch costs memory."""
    net = nets.Dense()
    found = imported(exported(tmp_path, net, ROWS[:3]), trust_pickle=True)
    assert (found.source, found.runtime) == ("pytorch", "onnx")
    specs = [(s.name, s.datatype, s.shape) for s in (*found.signature.inputs, *found.signature.outputs)]
    assert specs == [("x", "FP32", (-1, 4)), ("logits", "FP32", (-1, 3)), ("chances", "FP32", (-1, 3))]
    assert [choice.runtime for choice in found.choices] == ["pytorch", "onnx"]
    assert all(choice.profile is not None and choice.parity is not None for choice in found.choices)
    assert found.choices[1].parity is not None
    assert found.choices[1].parity.share_beyond == 0
    agree(found, (ROWS,), lambda: said(net, ROWS))
    assert again(version_of(found), found.files)[1] == "onnx"


def test_a_network_of_images(tmp_path: Path) -> None:
    """Convolutions, batch normalisation and two outputs without names."""
    net = nets.Images()
    found = imported(exported(tmp_path, net, IMAGES[:2]), trust_pickle=True)
    assert [s.name for s in found.signature.outputs] == ["output_0", "output_1"]
    assert found.profile.splits
    agree(found, (IMAGES,), lambda: said(net, IMAGES))


def test_words_of_any_length(tmp_path: Path) -> None:
    """Two inputs of different types whose second dimension varies too."""
    net = nets.Words()
    path = exported(tmp_path, net, WORDS, MASK, free=({0: AUTO, 1: AUTO}, {0: AUTO, 1: AUTO}))
    found = imported(path, trust_pickle=True)
    assert [(s.name, s.datatype, s.shape) for s in found.signature.inputs] == [
        ("ids", "INT64", (-1, -1)),
        ("mask", "FP32", (-1, -1)),
    ]
    for length in (4, 2):
        cut = (WORDS[:, :length], MASK[:, :length])
        agree(found, cut, lambda cut=cut: said(net, *cut))  # type: ignore[misc]  # a lambda of the loop's value


def test_what_onnx_cannot_express_runs_in_torch(tmp_path: Path) -> None:
    """No converter, no detour: the program itself answers, and a note says why."""
    net = nets.Unconvertible()
    found = imported(exported(tmp_path, net, ROWS[:3]), trust_pickle=True)
    assert found.runtime == "pytorch"
    assert any("not converted to ONNX" in note for note in found.notes)
    agree(found, (ROWS,), lambda: said(net, ROWS))
    assert found.profile.splits


def test_half_precision_is_served_as_single(tmp_path: Path) -> None:
    """numpy has no bfloat16: its numbers travel as FP32 both ways."""
    net = nets.Dense().bfloat16()
    program = torch.export.export(net.eval(), (torch.tensor(ROWS[:3]).bfloat16(),), dynamic_shapes=({0: AUTO},))
    torch.export.save(program, str(tmp_path / "net.pt2"))
    found = imported(tmp_path / "net.pt2", trust_pickle=True)
    assert found.signature.inputs[0].datatype == "FP32"
    (logits, _) = answers(found, (ROWS,), "pytorch")
    np.testing.assert_allclose(logits, net(torch.tensor(ROWS).bfloat16())["logits"].float().detach(), atol=0.05)


def test_a_fixed_number_of_rows_is_said(tmp_path: Path) -> None:
    """Exported without a dynamic dimension: it works, one request at a time, and a note says what to do."""
    found = imported(exported(tmp_path, nets.Dense(), ROWS[:1], free=({},)), trust_pickle=True)
    assert found.signature.inputs[0].shape == (1, 4)
    assert not found.profile.splits
    assert any("dynamic first dimension" in note for note in found.notes)


def test_inputs_are_not_written_into(tmp_path: Path) -> None:
    """A program that changes its input in place leaves the request's own tensors alone."""
    path = scripted(tmp_path, nets.InPlace())
    found = imported(path, sample=sampled(tmp_path, x=ROWS))
    kept = ROWS.copy()
    answers(found, (ROWS,), "torchscript")
    np.testing.assert_array_equal(ROWS, kept)


# --- TorchScript ----------------------------------------------------------------------------------------


def test_torchscript_answers(tmp_path: Path) -> None:
    """Types and sizes come from the sample; no trust is needed, for the archive holds no Python."""
    net = nets.Dense()
    found = imported(scripted(tmp_path, net), sample=sampled(tmp_path, x=ROWS))
    assert found.source == "torchscript"
    assert [(s.name, s.shape) for s in found.signature.outputs] == [("logits", (-1, 3)), ("chances", (-1, 3))]
    assert {choice.runtime for choice in found.choices} == {"torchscript", "onnx"}
    agree(found, (ROWS,), lambda: said(net, ROWS))


def test_whole_numbers_are_what_the_program_takes_them_for(tmp_path: Path) -> None:
    """JSON's whole numbers are FP32 for a matrix product and INT64 for a table of words."""
    (tmp_path / "s.json").write_text(json.dumps({"instances": [{"x": [1, 2, 3, 4]}, {"x": [4, 3, 2, 1]}]}))
    assert imported(scripted(tmp_path, nets.Dense()), sample=tmp_path / "s.json").signature.inputs[0].datatype == "FP32"
    rows = [{"ids": ids, "mask": mask} for ids, mask in zip(WORDS.tolist(), MASK.tolist(), strict=True)]
    (tmp_path / "s.json").write_text(json.dumps({"instances": rows}))
    found = imported(scripted(tmp_path, nets.Words()), sample=tmp_path / "s.json")
    assert [(s.datatype, s.shape) for s in found.signature.inputs] == [("INT64", (-1, -1)), ("FP32", (-1, -1))]
    agree(found, (WORDS[:, :3], MASK[:, :3]), lambda: said(nets.Words(), WORDS[:, :3], MASK[:, :3]))


def test_torchscript_with_branches_is_not_mistaken(tmp_path: Path) -> None:
    """What depends on the rows' values converts wrongly or not at all: the program itself answers."""
    net = nets.Branches()
    found = imported(scripted(tmp_path, net), sample=sampled(tmp_path, x=ROWS))
    for row in range(8):
        one = ROWS[row : row + 1]
        np.testing.assert_allclose(answers(found, (one,))[0], said(net, one)[0], atol=1e-5)


@pytest.mark.parametrize("module", [nets.Writes(), nets.Reads()])
def test_torchscript_that_touches_files_needs_trust(tmp_path: Path, module: torch.nn.Module) -> None:
    """The operations that write and read files are found before anything is loaded."""
    with pytest.raises(InvalidInput, match=r"reads or writes files.*--trust-pickle"):
        imported(scripted(tmp_path, module), sample=sampled(tmp_path, x=ROWS))


def test_torchscript_needs_a_sample(tmp_path: Path) -> None:
    """The error says which option gives it."""
    with pytest.raises(InvalidInput, match="--sample"):
        imported(scripted(tmp_path, nets.Dense()))


# --- pickled modules ------------------------------------------------------------------------------------


def test_a_pickled_module_is_exported(tmp_path: Path) -> None:
    """With trust and a sample, a module becomes a program for any number of rows; training mode is left."""
    net = nets.Images()
    net.train()
    found = imported(pickled(tmp_path, net), sample=sampled(tmp_path, image=IMAGES), trust_pickle=True)
    assert found.source == "pytorch"
    assert {p.name for p in found.files.iterdir()} == {"model.pt2", "model.onnx"}
    assert found.signature.inputs[0].shape == (-1, 3, 16, 16)
    agree(found, (IMAGES,), lambda: said(net.eval(), IMAGES))


def test_a_class_beside_the_pickle_is_found(tmp_path: Path) -> None:
    """The module's class lives in a file in the same folder."""
    (tmp_path / "mine.py").write_text(
        "import torch\n\n\nclass Mine(torch.nn.Module):\n    def forward(self, x):\n        return x * 3\n"
    )
    code = f"import torch, mine; torch.save(mine.Mine(), {str(tmp_path / 'net.pth')!r})"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    found = imported(tmp_path / "net.pth", sample=sampled(tmp_path, x=ROWS), trust_pickle=True)
    np.testing.assert_allclose(answers(found, (ROWS,))[0], ROWS * 3)


def test_what_cannot_be_exported_is_traced_and_compared(tmp_path: Path) -> None:
    """A trace that answers as the module does is served; one that took the wrong branch is refused with figures."""
    found = imported(pickled(tmp_path, nets.Traceable()), sample=sampled(tmp_path, x=ROWS), trust_pickle=True)
    assert any("it was traced" in note for note in found.notes)
    np.testing.assert_allclose(answers(found, (ROWS,))[0], ROWS * 2, rtol=1e-6)
    with pytest.raises(InvalidInput, match="does not answer as the original"):
        imported(pickled(tmp_path, nets.Branches()), sample=sampled(tmp_path, x=ROWS), trust_pickle=True)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (nets.Dense().state_dict(), "weights without their model"),
        ([1, 2], "no PyTorch module"),
    ],
)
def test_what_is_no_module_is_refused(tmp_path: Path, content: Any, says: str) -> None:
    """Weights alone, and anything else."""
    with pytest.raises(InvalidInput, match=says):
        imported(pickled(tmp_path, content), sample=sampled(tmp_path, x=ROWS), trust_pickle=True)


@pytest.mark.parametrize("name", ["net.pt", "net.pth", "net.pt2"])
def test_what_unpickles_needs_trust(tmp_path: Path, name: str) -> None:
    """Pickled modules and exported programs alike, whatever the file is called."""
    path = pickled(tmp_path, nets.Dense(), name)
    with pytest.raises(InvalidInput, match=r"any code.*--trust-pickle"):
        imported(path, sample=sampled(tmp_path, x=ROWS))


def test_damage_is_corrupt(tmp_path: Path) -> None:
    """A program cut short, and a pickle that is none."""
    path = exported(tmp_path, nets.Dense(), ROWS[:3])
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(CorruptData, match="PyTorch cannot load"):
        imported(path, trust_pickle=True)
    (tmp_path / "n.pth").write_bytes(b"nonsense")
    with pytest.raises(CorruptData, match="pickle cannot be read"):
        imported(tmp_path / "n.pth", sample=sampled(tmp_path, x=ROWS), trust_pickle=True)


# --- MLflow ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["pt2", "pickle"])
def test_an_mlflow_folder(tmp_path: Path, form: str) -> None:
    """Both forms that MLflow writes; its example is the sample that a pickled module needs."""
    import mlflow

    net = nets.Images().eval()
    rows = mlflow.types.Schema([mlflow.types.TensorSpec(IMAGES.dtype, (-1, *IMAGES.shape[1:]))])
    mlflow.pytorch.save_model(
        net,
        str(tmp_path / "model"),
        serialization_format=form,
        signature=mlflow.models.ModelSignature(inputs=rows),
        input_example=IMAGES[:2],
        pip_requirements=[],
    )
    with pytest.raises(InvalidInput, match=r"any code.*--trust-pickle"):
        imported(tmp_path / "model")
    found = imported(tmp_path / "model", trust_pickle=True)
    assert found.source == "pytorch"
    assert found.profile.splits
    agree(found, (IMAGES,), lambda: said(net, IMAGES))


# --- serving --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("net", "needs"), [(nets.Dense(), False), (nets.Unconvertible(), True)])
def test_a_worker_imports_torch_only_for_what_needs_it(tmp_path: Path, net: torch.nn.Module, needs: bool) -> None:
    """A model that answers as ONNX keeps torch out of the process; neither writes outside the project."""
    make_project(tmp_path / "project", exported(tmp_path, net, ROWS[:3]), trust_pickle=True)
    ran = predict_elsewhere(tmp_path / "project", {"x": [1, 2, 3, 4]}, "torch", home=tmp_path / "home")
    assert ran == needs


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_are_those_of_the_session(tmp_path: Path, threads: int) -> None:
    """The number of threads that inference.threads says reaches torch, on whatever thread the session runs."""
    found = imported(exported(tmp_path, nets.Unconvertible(), ROWS[:3]), trust_pickle=True)
    open_session("pytorch", found.files, found.signature, SessionOptions(threads=threads))
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == threads


def test_a_signature_of_another_program_is_corrupt(tmp_path: Path) -> None:
    """A name that the program lacks is found when it is opened, not at the first request."""
    found = imported(exported(tmp_path, nets.Dense(), ROWS[:3]), trust_pickle=True)
    renamed = tuple(msgspec.structs.replace(spec, name="other") for spec in found.signature.inputs)
    with pytest.raises(CorruptData, match="takes other inputs"):
        open_session("pytorch", found.files, msgspec.structs.replace(found.signature, inputs=renamed), SessionOptions())
