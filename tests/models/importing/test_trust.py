"""What reading a model would execute is told from its bytes; no framework is needed to refuse it."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from kaname.errors import InvalidInput, MissingDependency
from kaname.models.importing.detect import detect
from kaname.models.importing.process import run_import
from kaname.models.importing.types import ImportRequest, Kind

EXPORTED = {"net/archive_format": b"pt2"}
SCRIPT = {"net/constants.pkl": b"", "net/code/__torch__.py": b"def forward(self, x):\n  return torch.relu(x)\n"}
PICKLED = {"net/data.pkl": b""}


def archive(path: Path, parts: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as out:
        for name, content in parts.items():
            out.writestr(name, content)
    return path


@pytest.mark.parametrize(("parts", "kind"), [(EXPORTED, "pytorch"), (SCRIPT, "torchscript"), (PICKLED, "torch_pickle")])
def test_an_archive_of_pytorch_says_what_it_is(tmp_path: Path, parts: dict[str, bytes], kind: Kind) -> None:
    """By the names of its parts, whatever its own name promises; what is no archive is a pickle."""
    assert detect(archive(tmp_path / "net.pt", parts)) == kind
    (tmp_path / "old.pth").write_bytes(b"\x80\x02")
    assert detect(tmp_path / "old.pth") == "torch_pickle"


@pytest.mark.parametrize("parts", [EXPORTED, PICKLED])
def test_what_unpickles_needs_trust(tmp_path: Path, parts: dict[str, bytes]) -> None:
    """Refused before a process is started for it."""
    with pytest.raises(InvalidInput, match=r"any code.*--trust-pickle"):
        run_import(ImportRequest(path=archive(tmp_path / "net.pt", parts)), tmp_path)


@pytest.mark.parametrize(
    "line", ["torch.save(x, 'out')", "torch.from_file('in', None, 10)", "ops.aten.save (x, 'out')"]
)
def test_torchscript_that_touches_files_needs_trust(tmp_path: Path, line: str) -> None:
    """The error names the operation."""
    parts = {**SCRIPT, "net/code/__torch__/deep.py": f"def forward(self, x):\n  {line}\n".encode()}
    with pytest.raises(InvalidInput, match=r"reads or writes files.*found (save|from_file)"):
        run_import(ImportRequest(path=archive(tmp_path / "net.pt", parts)), tmp_path)


def node(name: bytes, op: bytes, *, padded: bool = False) -> bytes:
    """A `NodeDef`; the length of its operation in one byte, or in more than it needs."""
    length = bytes([0x80 | len(op), 0x00]) if padded else bytes([len(op)])
    return b"\x0a" + bytes([len(name)]) + name + b"\x12" + length + op


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("op", [b"WriteFile", b"EagerPyFunc", b"Save", b"DebugIdentityV3"])
def test_a_graph_that_leaves_its_language_needs_trust(tmp_path: Path, op: bytes, padded: bool) -> None:
    """The error names the operation, however its length is written."""
    folder = tmp_path / "saved"
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(node(b"a", b"MatMul") + node(b"b", op, padded=padded))
    with pytest.raises(InvalidInput, match=rf"reads or writes files.*found {op.decode()[:10]}"):
        run_import(ImportRequest(path=folder), tmp_path)


def test_operations_that_every_saved_model_has_need_none(tmp_path: Path) -> None:
    """Saving and restoring variables; another form of the same file would hide what is in it."""
    folder = tmp_path / "saved"
    folder.mkdir()
    graph = b"".join(node(b"save/x", op) for op in (b"SaveV2", b"RestoreV2", b"MergeV2Checkpoints", b"Relu"))
    (folder / "saved_model.pb").write_bytes(graph)
    with pytest.raises(MissingDependency, match=r"kaname\[tensorflow\]"):
        run_import(ImportRequest(path=folder), tmp_path)
    (folder / "saved_model.cpb").write_bytes(graph)
    with pytest.raises(InvalidInput, match=r"found saved_model\.cpb"):
        run_import(ImportRequest(path=folder), tmp_path)


@pytest.mark.parametrize(("parts", "trust"), [(EXPORTED, True), (PICKLED, True), (SCRIPT, False)])
def test_a_missing_framework_names_its_extra(tmp_path: Path, parts: dict[str, bytes], trust: bool) -> None:
    """The error holds the line that installs it."""
    (tmp_path / "s.json").write_text("[[1, 2]]")
    request = ImportRequest(path=archive(tmp_path / "net.pt", parts), trust_pickle=trust, sample=tmp_path / "s.json")
    with pytest.raises(MissingDependency, match=r"pip install 'kaname\[pytorch\]'"):
        run_import(request, tmp_path)
