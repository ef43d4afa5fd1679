"""Train two versions of the delay model on January to September: `python train.py`.

LightGBM with its defaults: what is measured here is the platform, not the tuning. Both are fitted to the arrival delay
in minutes (a regression); how well their predictions also rank the late flights is their AUC. `timetable` knows the
timetable, the plane's age and the weather; `live` learns from the training set of the view `departure`, which knows
what had really left by then, too.

Writes `out/timetable.txt` and `out/live.txt`, `out/metrics.json` (measured on September by models of January to
August, and of `timetable` on October to December) and samples, which are requests that work.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import lightgbm
import numpy as np
import pandas as pd

import prepare
import remember
from departures import CATEGORICAL, FEATURES, LIVE
from scores import Score, score

VERSIONS = {"timetable": FEATURES, "live": LIVE}
METRICS = prepare.OUT / "metrics.json"
PARAMETERS = {"objective": "regression", "seed": 7, "deterministic": True, "verbosity": -1}
TREES = 100
HELD_OUT_MONTH = 9


def model_file(version: str) -> Path:
    """Where a trained version lies."""
    return prepare.OUT / f"{version}.txt"


def sample_file(version: str) -> Path:
    """A request that it answers."""
    return prepare.OUT / f"{version}-sample.json"


def matrix(table: pd.DataFrame, like: pd.DataFrame, features: Sequence[str] = FEATURES) -> pd.DataFrame:
    """The feature columns; strings become categories, numbered by the sorted values that `like` holds."""
    columns = table[list(features)].copy()
    for name in CATEGORICAL:
        known = sorted(like[name].unique())
        columns[name] = pd.Categorical(columns[name].where(columns[name].isin(known)), categories=known)
    return columns


def arrived(table: pd.DataFrame) -> pd.DataFrame:
    """Flights that never arrived have no delay and teach nothing."""
    return table.dropna(subset=["delay_minutes"])


def fit(table: pd.DataFrame, features: Sequence[str] = FEATURES) -> lightgbm.Booster:
    """A model of the delays in `table`."""
    learnt = arrived(table)
    data = lightgbm.Dataset(matrix(learnt, learnt, features), label=learnt["delay_minutes"])
    return lightgbm.train(PARAMETERS, data, num_boost_round=TREES)


def measured(
    model: lightgbm.Booster, before: pd.DataFrame, later: pd.DataFrame, features: Sequence[str] = FEATURES
) -> Score:
    """The score on later flights of a model of those before."""
    predicted = np.asarray(model.predict(matrix(later, arrived(before), features)))
    return score(later["delay_minutes"].to_numpy(), predicted)


def september(history: pd.DataFrame, features: Sequence[str] = FEATURES) -> Score:
    """The score on September of a model that saw only what came before."""
    held_out = history["month"] == HELD_OUT_MONTH
    before = history[~held_out]
    return measured(fit(before, features), before, history[held_out], features)


def sample(history: pd.DataFrame, features: Sequence[str] = FEATURES) -> dict[str, object]:
    """The last flight of the training data of which everything is known as a request body."""
    last = history.dropna(subset=list(features[-2:])).iloc[-1]
    return {"features": json.loads(last[list(features)].to_json())}


def source_stamp() -> str:
    """Changes when the code of the features or of the training does."""
    return hashlib.blake2b(Path(__file__).read_bytes() + prepare.source_stamp().encode(), digest_size=8).hexdigest()


def train(*, force: bool = False) -> bool:
    """Write models, metrics and samples; returns False when those of the same code lie there already."""
    stamp = prepare.OUT / "trained"
    if not force and stamp.exists() and stamp.read_text() == source_stamp():
        return False
    history, traffic = pd.read_parquet(prepare.HISTORY), pd.read_parquet(prepare.TRAFFIC)
    tables = {"timetable": history, "live": pd.read_parquet(remember.TRAINING)}
    found: dict[str, object] = {}
    for version, features in VERSIONS.items():
        table = tables[version]
        model = fit(table, features)
        model.save_model(str(model_file(version)))
        sample_file(version).write_text(json.dumps(sample(table, features), indent=2) + "\n")
        found[version] = asdict(september(table, features))
        if version == "timetable":
            found["timetable_autumn"] = asdict(measured(model, history, traffic))
    METRICS.write_text(json.dumps(found, indent=2) + "\n")
    stamp.write_text(source_stamp())
    return True


if __name__ == "__main__":
    prepare.prepare()
    remember.make()
    train(force=True)
    print(METRICS.read_text())
