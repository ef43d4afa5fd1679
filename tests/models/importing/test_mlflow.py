"""What an MLflow folder says is checked before anything in it is read; MLflow is not needed for that."""

from __future__ import annotations

from pathlib import Path

import pytest

from kaname.errors import CorruptData, InvalidInput, KanameError
from kaname.models.importing.process import run_import
from kaname.models.importing.types import ImportRequest
from tests.models.importing.test_process import bomb
from tests.runtimes import graphs


def folder(tmp_path: Path, description: str) -> Path:
    (tmp_path / "MLmodel").write_text(description)
    return tmp_path


def test_a_flavour_that_is_known_is_imported(tmp_path: Path) -> None:
    """The file under the flavour's key, with the folder's example as the sample."""
    graphs.doubled(tmp_path / "net.onnx")
    (tmp_path / "example.json").write_text('{"columns": ["a", "b", "c", "d"], "data": [[1, 2, 3, 4]]}')
    path = folder(
        tmp_path, "flavors: {onnx: {data: net.onnx}}\nsaved_input_example_info: {artifact_path: example.json}"
    )
    found = run_import(ImportRequest(path=path), tmp_path / "work")
    assert found.source == "onnx"
    assert found.sample == {"features": {"x": [1.0, 2.0, 3.0, 4.0]}}


def test_code_is_no_flavour(tmp_path: Path) -> None:
    """A description that leads to Python code or a pickle does not run it."""
    flag = tmp_path / "ran"
    (tmp_path / "evil.py").write_text(f"open({str(flag)!r}, 'w')\nclass Evil:\n    def predict(self, x): ...\n")
    path = folder(tmp_path, "flavors: {sklearn: {pickled_model: evil.py}}")
    with pytest.raises(CorruptData, match="flavour sklearn is of another kind"):
        run_import(ImportRequest(path=path), tmp_path / "work")
    bomb(tmp_path, f"open({str(flag)!r}, 'w')")
    folder(tmp_path, "flavors: {sklearn: {pickled_model: bomb.pkl}}")
    with pytest.raises(InvalidInput, match="--trust-pickle"):
        run_import(ImportRequest(path=path), tmp_path / "work")
    assert not flag.exists()


@pytest.mark.parametrize(
    ("description", "says"),
    [
        ("flavors: {onnx: {data: ../net.onnx}}", "flavour onnx is missing"),
        ("flavors: {onnx: {}}", "flavour onnx is missing"),
        ("flavors: {prophet: {}}", "no flavour that is imported.*found prophet"),
        ("flavors: [", "not a description"),
        ("flavors: {python_function: {}}", "python_function.*--trust-pickle"),
    ],
)
def test_what_a_folder_lacks_is_said(tmp_path: Path, description: str, says: str) -> None:
    """A file outside the folder or none, no flavour that is known, no description, no trust."""
    with pytest.raises(KanameError, match=says):
        run_import(ImportRequest(path=folder(tmp_path, description)), tmp_path / "work")
