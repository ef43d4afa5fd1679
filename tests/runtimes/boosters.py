"""Small boosters, trained once per process."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np

from kaname.signature import OutputSpec, Signature
from kaname.tensors import Datatype, Tensor, TensorSpec

RNG = np.random.default_rng(0)
X = RNG.normal(size=(1500, 5))
X[::11, 2] = np.nan
SCORE = X[:, 0] + np.nan_to_num(X[:, 2]) * X[:, 1]
BINARY = (SCORE > 0).astype(int)
THREE = np.digitize(SCORE, [-0.5, 0.5])


@functools.cache
def lightgbm(objective: str) -> Any:
    """A booster of 20 trees."""
    import lightgbm as lgb

    extra = {"num_class": 3} if objective == "multiclass" else {}
    params = {"objective": objective, "verbosity": -1, "num_threads": 1, **extra}
    return lgb.train(params, lgb.Dataset(X, target(objective)), 20)


@functools.cache
def xgboost(objective: str) -> Any:
    """A booster of 20 rounds."""
    import xgboost as xgb

    extra = {"num_class": 3} if objective.startswith("multi") else {}
    return xgb.train({"objective": objective, "nthread": 1, **extra}, xgb.DMatrix(X, target(objective)), 20)


def target(objective: str) -> Tensor:
    """What a booster of `objective` learns."""
    if objective.startswith("multi"):
        return THREE
    return BINARY if objective.startswith("binary") else SCORE


def signature(objective: str, datatype: Datatype, labels: tuple[int | str, ...] = ()) -> Signature:
    """The signature of a native session."""
    inputs = (TensorSpec(name="input", datatype=datatype, shape=(-1, 5)),)
    if not objective.startswith(("binary", "multi")):
        value = OutputSpec(name="variable", datatype="FP64", shape=(-1,), role="value")
        return Signature(task="regression", inputs=inputs, outputs=(value,))
    labels = labels or tuple(range(3 if objective.startswith("multi") else 2))
    kind: Datatype = "BYTES" if isinstance(labels[0], str) else "INT64"
    outputs = (
        OutputSpec(name="label", datatype=kind, shape=(-1,), role="label"),
        OutputSpec(name="probabilities", datatype="FP64", shape=(-1, len(labels)), role="probabilities"),
    )
    return Signature(task="classification", inputs=inputs, outputs=outputs, labels=labels)


def saved(booster: Any, path: Path) -> Path:
    """The booster as a file."""
    booster.save_model(str(path))
    return path
