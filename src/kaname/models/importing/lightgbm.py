"""LightGBM models: the text form is the artefact, its ONNX conversion an alternative that must prove itself."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from kaname.errors import CorruptData, MissingDependency
from kaname.models.importing import converted, trees
from kaname.models.importing.types import Domain, ImportRequest, Prepared, between
from kaname.runtimes.catalog import FILES
from kaname.signature import Feature, Label, Task


class TextModel:
    """What LightGBM's text form says about its features and its objective."""

    def __init__(self, text: str) -> None:
        head = dict(line.split("=", 1) for line in text.split("\nTree=", 1)[0].splitlines() if "=" in line)
        if "feature_names" not in head:
            raise CorruptData("not a LightGBM text model", expected="a line `feature_names=`")
        self.names = head["feature_names"].split(" ")
        self.infos = head.get("feature_infos", "").split(" ")
        self.objective = head.get("objective", "").split(" ")[0]
        self.classes = int(head.get("num_class", "1"))
        self._text = text

    @property
    def categorical(self) -> list[int]:
        """Positions of the categorical features, in order."""
        named = re.search(r"^\[categorical_feature: ([\d,]+)\]$", self._text, re.MULTILINE)
        if named:
            return sorted(int(i) for i in named.group(1).split(","))
        return [i for i, info in enumerate(self.infos) if info != "none" and not info.startswith("[")]

    def categories(self) -> dict[int, tuple[str, ...]]:
        """The pandas categories of each categorical feature that has them."""
        found = re.search(r"^pandas_categorical:(.*)$", self._text, re.MULTILINE)
        listed = json.loads(found.group(1)) if found else None
        if not listed or len(listed) != len(self.categorical):
            return {}
        return {i: tuple(str(c) for c in names) for i, names in zip(self.categorical, listed, strict=True)}

    def thresholds(self) -> dict[int, list[float]]:
        """The numeric thresholds of every feature over all trees."""
        found: dict[int, list[float]] = {}
        for tree in self._text.split("\nTree=")[1:]:
            lines = dict(line.split("=", 1) for line in tree.split("\n\n", 1)[0].splitlines() if "=" in line)
            if "split_feature" not in lines:
                continue
            features = lines["split_feature"].split()
            cuts = zip(features, lines["threshold"].split(), lines["decision_type"].split(), strict=True)
            for feature, threshold, decision in cuts:
                if not int(decision) & 1:  # bit 0: a categorical split
                    found.setdefault(int(feature), []).append(float(threshold))
        return found

    def domain(self, index: int, thresholds: list[float], categories: tuple[str, ...] | None) -> Domain:
        """Plausible values of one feature."""
        if categories is not None:
            return Domain(choices=tuple(float(i) for i in range(len(categories))))
        info = self.infos[index] if index < len(self.infos) else "none"
        if index in self.categorical:
            return Domain(choices=tuple(float(code) for code in info.split(":") if code not in ("none", "")) or (0.0,))
        points = between(np.array(thresholds))
        if info.startswith("["):
            low, high = (float(edge) for edge in info[1:-1].split(":"))
            return Domain(low=low, high=high, points=points)
        return Domain(low=points[0], high=points[-1], points=points) if points else Domain()


def from_text(request: ImportRequest, folder: Path) -> Prepared:
    """Import a text model."""
    library = _library()
    try:
        booster = library.Booster(model_file=str(request.path))
    except library.basic.LightGBMError as error:
        raise CorruptData(f"LightGBM cannot load the model: {error}", where=str(request.path)) from error
    return _prepare(booster, booster, None, request, folder)


def from_object(model: Any, request: ImportRequest, folder: Path) -> Prepared:
    """Import a Booster or one of the scikit-learn classes out of a pickle."""
    booster = getattr(model, "booster_", model)
    classes = getattr(model, "classes_", None)
    return _prepare(model, booster, None if classes is None else converted.labels_of(classes), request, folder)


def _prepare(
    model: Any, booster: Any, classes: tuple[Label, ...] | None, request: ImportRequest, folder: Path
) -> Prepared:
    text = booster.model_to_string()
    trees.write(folder, FILES["lightgbm"], text)
    read = TextModel(text)
    categories = read.categories()
    features = [
        # Doubles: LightGBM compares in double precision, and epoch seconds do not fit a float.
        Feature(name=name, datatype="FP64", nullable=True, categories=categories.get(i))
        for i, name in enumerate(read.names)
    ]
    cuts = read.thresholds()
    prepared = trees.prepare(
        "lightgbm",
        request,
        folder,
        meaning=_meaning(read, classes),
        features=features,
        datatype="FP64",
        domains=[read.domain(i, cuts.get(i, []), categories.get(i)) for i in range(len(features))],
        predict=lambda matrix: booster.predict(matrix, num_threads=1),
    )
    return trees.add_onnx(
        prepared,
        lambda: trees.converted_by("convert_lightgbm", "lightgbm", model, len(features), zipmap=False),
    )


def _meaning(read: TextModel, classes: tuple[Label, ...] | None) -> tuple[Task, tuple[Label, ...]]:
    if read.objective in ("binary", "multiclass", "multiclassova"):
        return "classification", classes or tuple(range(max(2, read.classes)))
    return ("other" if read.classes > 1 else "regression"), ()


def _library() -> Any:
    try:
        import lightgbm
    except ImportError as error:
        raise MissingDependency.of("lightgbm", "lightgbm", "importing a LightGBM model") from error
    return lightgbm
