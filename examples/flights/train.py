"""Train the delay model on January to September: `python train.py`.

LightGBM with its defaults: what is measured here is the platform, not the tuning. The model is fitted to the
arrival delay in minutes (a regression); how well its predictions also rank the late flights is their AUC.

Writes `out/delay.txt` (the model), `out/metrics.json` (measured on September by a model of January to August)
and `out/sample.json` (a request that works).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import lightgbm
import numpy as np
import pandas as pd

import prepare
from departures import CATEGORICAL, FEATURES
from scores import Score, score

MODEL, METRICS, SAMPLE = prepare.OUT / "delay.txt", prepare.OUT / "metrics.json", prepare.OUT / "sample.json"
PARAMETERS = {"objective": "regression", "seed": 7, "deterministic": True, "verbosity": -1}
TREES = 100
HELD_OUT_MONTH = 9


def matrix(table: pd.DataFrame, like: pd.DataFrame) -> pd.DataFrame:
    """The feature columns; strings become categories, numbered by the sorted values that `like` holds."""
    columns = table[list(FEATURES)].copy()
    for name in CATEGORICAL:
        known = sorted(like[name].unique())
        columns[name] = pd.Categorical(columns[name].where(columns[name].isin(known)), categories=known)
    return columns


def fit(table: pd.DataFrame) -> lightgbm.Booster:
    """A model of the delays in `table`; flights that never arrived have none and teach nothing."""
    arrived = table.dropna(subset=["delay_minutes"])
    data = lightgbm.Dataset(matrix(arrived, arrived), label=arrived["delay_minutes"])
    return lightgbm.train(PARAMETERS, data, num_boost_round=TREES)


def validate(history: pd.DataFrame) -> Score:
    """The score on September of a model that saw only what came before."""
    held_out = history["month"] == HELD_OUT_MONTH
    before, september = history[~held_out], history[held_out]
    predicted = np.asarray(fit(before).predict(matrix(september, before)))
    return score(september["delay_minutes"].to_numpy(), predicted)


def sample(history: pd.DataFrame) -> dict[str, object]:
    """The last flight of the training data as a request body; null where a feature is not known."""
    last = history.dropna(subset=["plane_age_years"]).sort_values("departs_s").iloc[-1]
    values = json.loads(last[list(FEATURES)].to_json())
    return {"features": values}


def source_stamp() -> str:
    """Changes when the code of the features or of the training does."""
    return hashlib.blake2b(Path(__file__).read_bytes() + prepare.source_stamp().encode(), digest_size=8).hexdigest()


def train(*, force: bool = False) -> bool:
    """Write model, metrics and sample; returns False when those of the same code lie there already."""
    stamp = prepare.OUT / "trained"
    if not force and stamp.exists() and stamp.read_text() == source_stamp():
        return False
    history = pd.read_parquet(prepare.HISTORY)
    measured = asdict(validate(history))
    fit(history).save_model(str(MODEL))
    METRICS.write_text(json.dumps(measured, indent=2) + "\n")
    SAMPLE.write_text(json.dumps(sample(history), indent=2) + "\n")
    stamp.write_text(source_stamp())
    return True


if __name__ == "__main__":
    prepare.prepare()
    train(force=True)
    print(f"{MODEL}\n{METRICS.read_text()}")
