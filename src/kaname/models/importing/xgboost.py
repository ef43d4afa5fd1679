"""XGBoost models: the binary form is the artefact, its ONNX conversion an alternative that must prove itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from kaname.errors import CorruptData, MissingDependency
from kaname.models.importing import converted, trees
from kaname.models.importing.types import Domain, ImportRequest, Prepared, between
from kaname.runtimes.catalog import FILES
from kaname.signature import Feature, Label, Task


def from_file(request: ImportRequest, folder: Path) -> Prepared:
    """Import a model saved as `.json` or `.ubj`."""
    library = _library()
    try:
        booster = library.Booster(model_file=str(request.path))
    except library.core.XGBoostError as error:
        raise CorruptData(f"XGBoost cannot load the model: {error}", where=str(request.path)) from error
    return _prepare(booster, None, request, folder)


def from_object(model: Any, request: ImportRequest, folder: Path) -> Prepared:
    """Import a Booster or one of the scikit-learn classes out of a pickle."""
    if not hasattr(model, "get_booster"):
        return _prepare(model, None, request, folder)
    booster = model.get_booster()
    if getattr(model, "early_stopping_rounds", None) and booster.attr("best_iteration") is not None:
        booster = booster[: int(booster.attr("best_iteration")) + 1]  # what the class itself predicts with
    classes = getattr(model, "classes_", None)
    return _prepare(booster, None if classes is None else converted.labels_of(classes), request, folder)


def _prepare(booster: Any, classes: tuple[Label, ...] | None, request: ImportRequest, folder: Path) -> Prepared:
    if _objective(booster)[0] == "multi:softmax":
        booster.set_param({"objective": "multi:softprob"})  # the same model, answering with probabilities
    booster.set_param({"nthread": 1})
    booster.save_model(str(folder / FILES["xgboost"]))
    names = list(booster.feature_names or (f"f{i}" for i in range(booster.num_features())))
    prepared = trees.prepare(
        "xgboost",
        request,
        folder,
        meaning=_meaning(booster, classes),
        features=[Feature(name=name, datatype="FP32", nullable=True) for name in names],
        datatype="FP32",
        domains=_domains(booster, names),
        predict=lambda matrix: booster.inplace_predict(matrix.astype(np.float32), validate_features=False),
    )
    if "c" in (booster.feature_types or ()):
        prepared.notes.append("categorical features take their codes (0, 1, …), as the booster does")
        return prepared
    return trees.add_onnx(prepared, lambda: _convert(booster, len(names)))


def _objective(booster: Any) -> tuple[str, int]:
    learner = json.loads(booster.save_config())["learner"]
    return learner["objective"]["name"], int(learner["learner_model_param"]["num_class"])


def _meaning(booster: Any, classes: tuple[Label, ...] | None) -> tuple[Task, tuple[Label, ...]]:
    objective, count = _objective(booster)
    if objective == "binary:logistic" or (objective == "multi:softprob" and count > 1):
        return "classification", classes or tuple(range(max(2, count)))
    return "regression", ()


def _domains(booster: Any, names: list[str]) -> tuple[Domain, ...]:
    """Values between the thresholds of each feature over all trees."""
    cuts: dict[str, list[float]] = {}
    types = booster.feature_types or ["q"] * len(names)
    for tree in booster.get_dump(dump_format="json"):
        waiting = [json.loads(tree)]
        while waiting:
            node = waiting.pop()
            if isinstance(node.get("split_condition"), int | float):
                cuts.setdefault(node["split"], []).append(float(node["split_condition"]))
            elif isinstance(node.get("split_condition"), list):
                cuts.setdefault(node["split"], []).extend(float(code) for code in node["split_condition"])
            waiting.extend(node.get("children", ()))
    return tuple(_domain(cuts.get(name, []), kind) for name, kind in zip(names, types, strict=True))


def _domain(cuts: list[float], kind: str) -> Domain:
    if kind == "c":
        return Domain(choices=tuple(float(code) for code in range(int(max(cuts, default=0)) + 1)))
    points = between(np.array(cuts))
    return Domain(low=points[0], high=points[-1], points=points, whole=kind == "int") if points else Domain()


def _library() -> Any:
    try:
        import xgboost
    except ImportError as error:
        raise MissingDependency.of("xgboost", "xgboost", "importing an XGBoost model") from error
    return xgboost


def _convert(booster: Any, columns: int) -> bytes:
    nameless = booster.copy()
    nameless.feature_names = None  # the converter knows only f0, f1, …
    nameless.feature_types = None
    return trees.converted_by("convert_xgboost", "xgboost", nameless, columns)
