"""LightGBM and XGBoost: the native form is kept beside the conversion, and the fastest that agrees answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kaname.errors import InvalidInput
from kaname.models.importing.choose import again
from kaname.models.importing.lightgbm import TextModel
from kaname.models.importing.types import Imported, ImportRequest, between
from kaname.models.importing.work import import_here
from kaname.models.types import VersionInfo
from tests.models.importing import trained
from tests.models.importing.test_sklearn import asked, body_works

pytestmark = pytest.mark.slow


def of(path: Path, folder: Path) -> Imported:
    return import_here(ImportRequest(path=path, trust_pickle=True), folder, isolated=True)


@pytest.mark.parametrize("form", ["pickle", "text"])
def test_lightgbm_with_categories_and_missing_values(tmp_path: Path, form: str) -> None:
    """Category names come from the model, null and unknown names are missing, and answers are the original's."""
    if form == "pickle":
        path = trained.pickled(trained.shop(), tmp_path)
    else:
        path = tmp_path / "shop.txt"
        trained.shop().booster_.save_model(str(path))
    found = of(path, tmp_path)
    colour = found.signature.features[1]
    assert (colour.name, colour.categories, colour.nullable) == ("colour", ("blue", "green", "red"), True)
    rows = trained.SHOP.head(100)
    cells: Any = rows.astype(object).where(rows.notna(), None)
    _, chances = asked(found, cells.to_dict("records"))
    np.testing.assert_allclose(chances, trained.shop().predict_proba(rows), atol=1e-6)
    asked(found, [{"price": 1.0, "colour": "mauve", "weight": None}])
    assert {choice.runtime for choice in found.choices} == {"lightgbm", "onnx"}
    assert sum(choice.chosen for choice in found.choices) == 1
    assert all(choice.reason for choice in found.choices)
    assert {p.name for p in found.files.iterdir()} == {"model.txt", "model.onnx"}
    body_works(found)


def test_epoch_seconds_fall_back_to_native_lightgbm(tmp_path: Path) -> None:
    """Single precision cannot hold the thresholds: the conversion is measured, dropped, and that is said."""
    path = tmp_path / "wave.txt"
    trained.light_seconds().booster_.save_model(str(path))
    found = of(path, tmp_path)
    assert found.runtime == "lightgbm"
    onnx = next(choice for choice in found.choices if choice.runtime == "onnx")
    assert onnx.parity is not None
    assert onnx.parity.share_beyond > 0.001
    assert onnx.profile is None
    assert any("ONNX Runtime is not used" in note and "native LightGBM" in note for note in found.notes)
    rows = [{"Column_0": float(a), "Column_1": float(b)} for a, b in trained.EPOCH[:200]]
    (value,) = asked(found, rows)
    assert value.dtype == np.float64
    np.testing.assert_array_equal(value, trained.light_seconds().booster_.predict(trained.EPOCH[:200]))


@pytest.mark.parametrize("name", ["model.json", "model.ubj", "model.joblib"])
def test_xgboost_in_each_form(tmp_path: Path, name: str) -> None:
    """JSON, binary and pickle answer alike; the faster ONNX form is chosen over 100 µs of native calls."""
    path = tmp_path / name
    if name.endswith("joblib"):
        trained.pickled(trained.extreme(), tmp_path, name)
    else:
        trained.extreme().save_model(str(path))
    found = of(path, tmp_path)
    assert found.runtime == "onnx"
    assert found.signature.labels == (0, 1, 2)
    rows = [dict(zip([f"f{i}" for i in range(4)], row, strict=True)) for row in trained.X[:100].tolist()]
    label, chances = asked(found, rows)
    np.testing.assert_allclose(chances, trained.extreme().predict_proba(trained.X[:100]), atol=1e-5)
    np.testing.assert_array_equal(label, trained.extreme().predict(trained.X[:100]))
    body_works(found)


def test_profiling_again_keeps_what_failed_out(tmp_path: Path) -> None:
    """A later profile measures the forms that passed; the one that failed parity stays out."""
    path = tmp_path / "wave.txt"
    trained.light_seconds().booster_.save_model(str(path))
    found = of(path, tmp_path)
    version = VersionInfo(
        id=1, model="wave", model_id=1, version="1", status="deployed", artefact="", source=found.source,
        runtime=found.runtime, signature=found.signature, profile=found.profile, choices=found.choices,
        sample=found.sample, created_us=0,
    )  # fmt: skip
    measured, runtime, choices = again(version, found.files)
    assert runtime == "lightgbm"
    assert measured.us[0] > 0
    assert [(c.runtime, c.chosen, c.profile is None) for c in choices] == [
        ("lightgbm", True, False),
        ("onnx", False, True),
    ]


def test_values_between_thresholds() -> None:
    """One value in each gap, one beyond each end; nothing for no thresholds."""
    below, first, second, above = between(np.array([1.0, 3.0, 2.0, 2.0]))
    assert (first, second) == (1.5, 2.5)
    assert below < 1
    assert above > 3
    assert between(np.array([])) == ()


def test_text_that_is_not_lightgbm(tmp_path: Path) -> None:
    """An arbitrary text file is no model; nor is a truncated head."""
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(InvalidInput, match="not a model file"):
        of(tmp_path / "notes.txt", tmp_path)
    with pytest.raises(Exception, match="feature_names"):
        TextModel("tree\nversion=v4\n")
