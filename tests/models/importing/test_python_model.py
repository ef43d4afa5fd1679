"""Python models: found in their file, their signature declared or inferred."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kaname.errors import CorruptData, InvalidInput, ModelFailed
from kaname.models.importing.detect import detect, split_python
from kaname.models.importing.types import Imported, ImportRequest
from kaname.models.importing.work import import_here
from tests.models.importing.test_sklearn import asked

BODY = """
import numpy as np

class Total:
    def predict(self, batch):
        return {"total": batch["price"][:, 0] * batch["count"][:, 0], "word": batch["name"][:, 0]}
"""


def of(folder: Path, body: str, sample: object = None, name: str = "m.py") -> Imported:
    (folder / "m.py").write_text(body)
    given = None
    if sample is not None:
        given = folder / "s.json"
        given.write_text(json.dumps(sample))
    return import_here(ImportRequest(path=folder / name, sample=given), folder, isolated=True)


def test_the_signature_is_inferred_from_the_sample(tmp_path: Path) -> None:
    """Scalars by name become columns; outputs are what `predict` answers."""
    found = of(tmp_path, BODY, [{"price": 2.5, "count": 4, "name": "pear"}])
    signature = found.signature
    assert signature.layout == "columns"
    assert [(f.name, f.datatype) for f in signature.features] == [
        ("price", "FP64"),
        ("count", "FP64"),
        ("name", "BYTES"),
    ]
    assert [(o.name, o.datatype, o.shape) for o in signature.outputs] == [
        ("total", "FP64", (-1,)),
        ("word", "BYTES", (-1,)),
    ]
    total, word = asked(found, [{"price": 3.0, "count": 2, "name": "fig"}])
    assert (total.tolist(), word.tolist()) == ([6.0], [b"fig"])
    assert found.sample == {"features": {"price": 2.5, "count": 4, "name": "pear"}}


def test_a_declared_signature_needs_no_sample(tmp_path: Path) -> None:
    """The class says what it takes and gives, and which files it needs."""
    (tmp_path / "factor.txt").write_text("3")
    body = """
class Times:
    files = ("factor.txt",)
    signature = {"task": "regression",
                 "inputs": [{"name": "x", "datatype": "FP64", "shape": [-1, 2]}],
                 "outputs": [{"name": "y", "datatype": "FP64", "shape": [-1], "role": "value"}]}
    def load(self, folder):
        self.factor = float((folder / "factor.txt").read_text())
    def predict(self, batch):
        return batch["x"].sum(axis=1) * self.factor
"""
    found = of(tmp_path, body, name="m.py:Times")
    assert found.signature.task == "regression"
    assert (found.files / "factor.txt").exists()
    assert asked(found, [{"x": [1.0, 1.0]}])[0].tolist() == [6.0]


@pytest.mark.parametrize(
    ("body", "name", "error", "says"),
    [
        ("x = 1\n", "m.py", InvalidInput, "which class"),
        (BODY + BODY.replace("Total", "Other"), "m.py", InvalidInput, "which class.*Total, Other"),
        (BODY, "m.py:Missing", InvalidInput, "no such class"),
        (BODY, "m.py", InvalidInput, "needs a sample"),
        ("raise ValueError('no')\n", "m.py", CorruptData, "ValueError: no"),
        (
            BODY.replace("def predict", "signature = {'task': 'guess'}\n    def predict"),
            "m.py",
            InvalidInput,
            "declared",
        ),
        (BODY.replace("def predict", "files = ('/etc/passwd',)\n    def predict"), "m.py", InvalidInput, "beside"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, body: str, name: str, error: type[Exception], says: str) -> None:
    """Each mistake has its own message."""
    with pytest.raises(error, match=says):
        of(tmp_path, body, name=name)


def test_an_answer_without_rows_is_refused(tmp_path: Path) -> None:
    """One row per input row, or no import."""
    body = "class M:\n    def predict(self, batch):\n        return 1.0\n"
    with pytest.raises(ModelFailed, match="one row per input row"):
        of(tmp_path, body, [{"a": 1.0}])


def test_kinds_are_detected(tmp_path: Path) -> None:
    """By name, then by the first bytes; the rest is refused with what would be accepted."""
    import pickle

    cases = {
        "m.onnx": b"",
        "m.joblib": b"",
        "m.ubj": b"",
        "m.py": b"",
        "m.txt": b"tree\nversion",
        "m.bin": pickle.dumps(1),
    }
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "m.json").write_text('{"learner": {}}')
    found = {name: detect(tmp_path / name) for name in (*cases, "m.json")}
    assert found == {
        "m.onnx": "onnx",
        "m.joblib": "pickle",
        "m.ubj": "xgboost",
        "m.py": "python",
        "m.txt": "lightgbm",
        "m.bin": "pickle",
        "m.json": "xgboost",
    }
    assert split_python(Path("a/m.py:Name")) == (Path("a/m.py"), "Name")
    (tmp_path / "m.pb").write_bytes(b"x")
    for name, says in (("m.pb", "export the model to ONNX"), ("gone.onnx", "no such file"), (".", "not a model")):
        with pytest.raises(InvalidInput, match=says):
            detect(tmp_path / name)
