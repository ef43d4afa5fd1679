"""Small real models, trained once per process and written where a test wants them."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd

RNG = np.random.default_rng(0)
X = RNG.normal(size=(800, 4))
Y = X[:, 0] * 2 + np.sin(X[:, 1] * 3)
CLASSES = np.array(["low", "mid", "high"])[np.digitize(Y, [-1, 1])]
SECONDS = 1.7e9 + RNG.integers(0, 100_000, 800).astype(float)
WAVE = np.sin((SECONDS - 1.7e9) / 2_000) * 5 + X[:, 0]
EPOCH = np.c_[SECONDS, X[:, 0]]
FRAME = pd.DataFrame(
    {
        "age": np.where(RNG.random(800) < 0.05, np.nan, RNG.integers(18, 90, 800).astype(float)),
        "city": RNG.choice(["Oslo", "Lima", "Rome"], 800),
        "review": [" ".join(RNG.choice(["good", "bad", "ugly", "fine"], 4)) for _ in range(800)],
    }
)
LIKED = np.where(FRAME.review.str.contains("good") & (FRAME.city != "Lima"), "yes", "no")
SHOP = pd.DataFrame(
    {
        "price": X[:, 0],
        "colour": pd.Categorical(RNG.choice(["red", "green", "blue"], 800)),
        "weight": np.where(RNG.random(800) < 0.2, np.nan, X[:, 1]),
    }
)
BOUGHT = (SHOP.price + (SHOP.colour == "red") * 2 + SHOP.weight.fillna(3) > 1).astype(int)


def quietly(train: Callable[[], Any]) -> Callable[[], Any]:
    """Train once; deprecations of libraries are not what is tested."""

    @functools.cache
    def once() -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return train()

    return once


@quietly
def logistic() -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression()).fit(X, CLASSES)


@quietly
def svc() -> Any:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    return make_pipeline(StandardScaler(), SVC(probability=True, random_state=0)).fit(X, Y > 0)


@quietly
def scores_only() -> Any:
    from sklearn.svm import LinearSVC

    return LinearSVC().fit(X, np.digitize(Y, [-1, 1]))


@quietly
def forest() -> Any:
    from sklearn.ensemble import RandomForestClassifier

    names = ["a", "b", "c", "d"]
    return RandomForestClassifier(20, random_state=0).fit(pd.DataFrame(X, columns=names), CLASSES)


@quietly
def boosted() -> Any:
    from sklearn.ensemble import HistGradientBoostingRegressor

    return HistGradientBoostingRegressor(max_iter=20).fit(X, Y)


@quietly
def boosted_seconds() -> Any:
    from sklearn.ensemble import HistGradientBoostingRegressor

    return HistGradientBoostingRegressor(max_iter=20).fit(EPOCH, WAVE)


@quietly
def linear_seconds() -> Any:
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LinearRegression()).fit(EPOCH, SECONDS - 1.7e9)


@quietly
def mixed() -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    columns = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), ["age"]),
            ("words", OneHotEncoder(handle_unknown="ignore"), ["city"]),
            ("text", TfidfVectorizer(), "review"),
        ]
    )
    return make_pipeline(columns, LogisticRegression()).fit(FRAME, LIKED)


@quietly
def texts() -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    return make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(FRAME.review, LIKED)


@quietly
def neighbours() -> Any:
    from sklearn.neighbors import KNeighborsClassifier

    return KNeighborsClassifier().fit(X[:200], CLASSES[:200])


@quietly
def isotonic() -> Any:
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.linear_model import LogisticRegression

    return CalibratedClassifierCV(LogisticRegression(), method="isotonic", cv=3).fit(X, Y > 0)


@quietly
def shop() -> Any:
    import lightgbm as lgb

    return lgb.LGBMClassifier(n_estimators=20, verbose=-1, n_jobs=1).fit(SHOP, BOUGHT)


@quietly
def light_seconds() -> Any:
    import lightgbm as lgb

    return lgb.LGBMRegressor(n_estimators=30, verbose=-1, n_jobs=1).fit(EPOCH, WAVE)


@quietly
def extreme() -> Any:
    import xgboost as xgb

    return xgb.XGBClassifier(n_estimators=20, n_jobs=1).fit(X, np.digitize(Y, [-1, 1]))


def pickled(model: Any, folder: Path, name: str = "model.joblib") -> Path:
    """The model as a joblib file."""
    joblib.dump(model, folder / name)
    return folder / name
