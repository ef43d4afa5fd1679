"""Python models as a runtime."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from kaname.errors import CorruptData, ModelFailed
from kaname.inference.gather import strict_context
from kaname.runtimes.catalog import open_session
from kaname.runtimes.python import MANIFEST, PythonManifest
from kaname.runtimes.types import Session, SessionOptions
from kaname.signature import OutputSpec, Signature
from kaname.tensors import TensorSpec

ONE = Signature(
    task="regression",
    inputs=(TensorSpec(name="x", datatype="FP64", shape=(-1, 2)),),
    outputs=(OutputSpec(name="y", datatype="FP64", shape=(-1,), role="value"),),
)
TWO = msgspec.structs.replace(
    ONE, outputs=(*ONE.outputs, OutputSpec(name="word", datatype="BYTES", shape=(-1,), role="label"))
)
GIVEN = np.array([[1.0, 2.0], [3.0, 4.0]])


def opened(folder: Path, body: str, signature: Signature = ONE) -> Session:
    (folder / "model.py").write_text("import numpy as np\n\n" + body)
    (folder / MANIFEST).write_bytes(msgspec.json.encode(PythonManifest(class_name="Model")))
    return open_session("python", folder, signature, SessionOptions())


def test_a_bare_array_is_the_only_output(tmp_path: Path) -> None:
    """`predict` may return the array itself; it becomes the declared datatype."""
    session = opened(
        tmp_path, "class Model:\n    def predict(self, batch):\n        return batch['x'].sum(1).astype('f4')\n"
    )
    (found,) = session.run((GIVEN,))
    assert found.dtype == np.float64
    assert found.tolist() == [3.0, 7.0]


def test_load_is_told_the_folder(tmp_path: Path) -> None:
    """`load` reads its files from the folder of the artefact."""
    (tmp_path / "weights.txt").write_text("10")
    body = (
        "class Model:\n"
        "    def load(self, folder):\n        self.weight = float((folder / 'weights.txt').read_text())\n"
        "    def predict(self, batch):\n        return {'y': batch['x'].sum(axis=1) * self.weight}\n"
    )
    assert opened(tmp_path, body).run((GIVEN,))[0].tolist() == [30.0, 70.0]


def test_a_model_computes_as_numpy_does(tmp_path: Path) -> None:
    """Inputs are converted strictly, but an overflow inside the model is infinity with a warning, not an error."""
    body = "class Model:\n    def predict(self, batch):\n        return {'y': np.exp(batch['x'].sum(axis=1) * 1e6)}\n"
    session = opened(tmp_path, body)
    with pytest.warns(RuntimeWarning, match="overflow"):
        assert strict_context().run(session.run, (GIVEN,))[0].tolist() == [np.inf, np.inf]


def test_words_become_bytes(tmp_path: Path) -> None:
    """Strings out of `predict` are UTF-8 on the wire."""
    body = (
        "class Model:\n    def predict(self, batch):\n"
        "        n = len(batch['x'])\n        return {'word': np.array(['grün'] * n), 'y': np.zeros(n)}\n"
    )
    _, words = opened(tmp_path, body, TWO).run((GIVEN,))
    assert words.tolist() == ["grün".encode()] * 2


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("class Model:\n    def predict(self, batch):\n        return {'z': 1}\n", "left out"),
        ("class Model:\n    def predict(self, batch):\n        return {'y': np.zeros((2, 2)), 'word': 1}\n", "rank"),
        ("class Model:\n    def predict(self, batch):\n        return np.zeros(2)\n", "must name"),
    ],
)
def test_an_answer_that_was_not_declared_is_the_models_fault(tmp_path: Path, body: str, says: str) -> None:
    """ModelFailed says what was promised."""
    with pytest.raises(ModelFailed, match=says):
        opened(tmp_path, body, TWO).run((GIVEN,))


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("raise RuntimeError('boom')\n", "RuntimeError: boom"),
        ("class Other:\n    pass\n", "no such class"),
        ("class Model:\n    pass\n", "no such class with a `predict`"),
        (
            "class Model:\n    def load(self, f):\n        1 / 0\n    def predict(self, b):\n        return b\n",
            "ZeroDivision",
        ),
    ],
)
def test_a_module_that_cannot_be_loaded_is_corrupt(tmp_path: Path, body: str, says: str) -> None:
    """The error repeats what the module raised."""
    with pytest.raises(CorruptData, match=says):
        opened(tmp_path, body)


def test_a_missing_manifest_is_corrupt(tmp_path: Path) -> None:
    """Without its manifest nothing says which class is the model."""
    (tmp_path / "model.py").write_text("class Model: ...\n")
    with pytest.raises(CorruptData, match="manifest"):
        open_session("python", tmp_path, ONE, SessionOptions())


@pytest.mark.parametrize("raw", [b"", b"{}", b"[1]", b"\xff", b'{"class_name": "\xff"}'])
def test_a_damaged_manifest_is_corrupt(tmp_path: Path, raw: bytes) -> None:
    """Whatever is in its place, the error names the manifest and nothing is executed."""
    (tmp_path / "model.py").write_text("raise SystemExit('executed')\n")
    (tmp_path / MANIFEST).write_bytes(raw)
    with pytest.raises(CorruptData, match="manifest") as caught:
        open_session("python", tmp_path, ONE, SessionOptions())
    assert caught.value.where == str(tmp_path / MANIFEST)


def test_two_models_with_one_file_name_do_not_mix(tmp_path: Path) -> None:
    """Each artefact's module is its own."""
    for name, factor in (("a", 2), ("b", 3)):
        (tmp_path / name).mkdir()
        body = f"class Model:\n    def predict(self, batch):\n        return batch['x'].sum(axis=1) * {factor}\n"
        assert opened(tmp_path / name, body).run((GIVEN,))[0].tolist() == [3.0 * factor, 7.0 * factor]
