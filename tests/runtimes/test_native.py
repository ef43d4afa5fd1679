"""LightGBM and XGBoost by their C libraries."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kaname.errors import CorruptData, MissingDependency
from kaname.runtimes.catalog import open_session
from kaname.runtimes.native import advice, open_library
from kaname.runtimes.types import SessionOptions
from kaname.tensors import Tensor
from tests.runtimes import boosters
from tests.runtimes.boosters import X

CASES = [
    ("lightgbm", "binary"),
    ("lightgbm", "multiclass"),
    ("lightgbm", "regression"),
    ("xgboost", "binary:logistic"),
    ("xgboost", "multi:softprob"),
    ("xgboost", "reg:squarederror"),
]


def scores_of(library: str, booster: Any) -> Tensor:
    """What the Python package answers."""
    if library == "lightgbm":
        return np.asarray(booster.predict(X))
    return np.asarray(booster.inplace_predict(X.astype(np.float32)))


def matrix(library: str) -> Tensor:
    return X if library == "lightgbm" else X.astype(np.float32)


@pytest.mark.parametrize(("library", "objective"), CASES)
def test_native_answers_as_the_python_package(tmp_path: Path, library: str, objective: str) -> None:
    """Batches and single rows, missing values included, to the last bit."""
    booster = getattr(boosters, library)(objective)
    path = boosters.saved(booster, tmp_path / ("model.txt" if library == "lightgbm" else "model.ubj"))
    signature = boosters.signature(objective, "FP64" if library == "lightgbm" else "FP32")
    session = open_session(library, path, signature, SessionOptions())
    expected = scores_of(library, booster)
    batch = session.run((matrix(library),))
    single = [session.run((matrix(library)[i : i + 1],)) for i in range(40)]
    if signature.task == "regression":
        np.testing.assert_array_equal(batch[0], expected)
    elif expected.ndim == 1:
        np.testing.assert_array_equal(batch[1][:, 1], expected)
        np.testing.assert_array_equal(batch[0], (expected > 0.5).astype(int))
    else:
        np.testing.assert_array_equal(batch[1], expected)
        np.testing.assert_array_equal(batch[0], expected.argmax(axis=1))
    for k, together in enumerate(batch):
        alone = np.concatenate([outputs[k] for outputs in single])
        assert alone.tobytes() == together[:40].tobytes()
    session.close()
    session.close()


def test_labels_may_be_words(tmp_path: Path) -> None:
    """The class's name answers, not its position."""
    path = boosters.saved(boosters.lightgbm("binary"), tmp_path / "model.txt")
    session = open_session("lightgbm", path, boosters.signature("binary", "FP64", ("no", "yes")), SessionOptions())
    for rows in (1, 3):
        label, chances = session.run((X[:rows],))
        assert label.tolist() == [b"yes" if p > 0.5 else b"no" for p in chances[:, 1]]


@pytest.mark.parametrize(("library", "name"), [("lightgbm", "model.txt"), ("xgboost", "model.ubj")])
def test_a_broken_file_is_corrupt(tmp_path: Path, library: str, name: str) -> None:
    """Nonsense is refused with the library's own words."""
    (tmp_path / name).write_bytes(b"nonsense")
    with pytest.raises(CorruptData, match="cannot be loaded"):
        open_session(library, tmp_path, boosters.signature("binary", "FP64"), SessionOptions())


def test_another_number_of_features_is_corrupt(tmp_path: Path) -> None:
    """LightGBM would read beyond a row that is too short: the signature is checked when the model is opened."""
    path = boosters.saved(boosters.lightgbm("binary"), tmp_path / "model.txt")
    text = path.read_text().replace("max_feature_idx=4", "max_feature_idx=3", 1)
    text = text.replace("feature_names=Column_0 ", "feature_names=", 1).replace("feature_infos=", "feature_infos=", 1)
    path.write_text(text)
    with pytest.raises(CorruptData):
        open_session("lightgbm", path, boosters.signature("binary", "FP64"), SessionOptions())


def test_a_missing_package_names_the_extra() -> None:
    """The error holds the line that installs what is missing."""
    with pytest.raises(MissingDependency, match=r"pip install 'kaname\[lightgbm\]'"):
        open_library("no_such_package_at_all", "lib.so", "lightgbm", "running it")


def test_a_library_that_cannot_be_loaded_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loader's own words, and for libgomp the package of the system that brings it."""
    (tmp_path / "broken_native" / "lib").mkdir(parents=True)
    (tmp_path / "broken_native" / "__init__.py").write_text("")
    (tmp_path / "broken_native" / "lib" / "lib.so").write_bytes(b"not a library")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(MissingDependency, match=r"cannot be loaded.*(invalid ELF|too short)"):
        open_library("broken_native", "lib.so", "lightgbm", "running it")
    reason = "libgomp.so.1: cannot open shared object file: No such file or directory"
    assert "apt install libgomp1" in advice("lightgbm", reason)


PROBE = """
import sys
from pathlib import Path
import msgspec, numpy as np
from kaname.runtimes.catalog import open_session
from kaname.runtimes.types import SessionOptions
from kaname.signature import Signature
name, file, raw = sys.argv[1:]
signature = msgspec.json.decode(raw, type=Signature)
session = open_session(name, Path(file), signature, SessionOptions())
for rows in (1, 3):
    session.run((np.zeros((rows, 5), signature.inputs[0].datatype == "FP64" and "f8" or "f4"),))
found = sorted({"lightgbm", "xgboost", "pandas", "sklearn", "scipy"} & set(sys.modules))
assert not found, found
print("clean")
"""


@pytest.mark.parametrize(("library", "objective"), [("lightgbm", "binary"), ("xgboost", "binary:logistic")])
def test_no_heavy_package_is_imported(tmp_path: Path, library: str, objective: str) -> None:
    """A worker that runs the model has imported neither the library's package nor pandas nor scikit-learn."""
    import msgspec

    booster = getattr(boosters, library)(objective)
    path = boosters.saved(booster, tmp_path / ("model.txt" if library == "lightgbm" else "model.ubj"))
    raw = msgspec.json.encode(boosters.signature(objective, "FP64" if library == "lightgbm" else "FP32")).decode()
    done = subprocess.run(
        [sys.executable, "-c", PROBE, library, str(path), raw], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "clean", done.stderr
