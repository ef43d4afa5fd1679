"""What a fitted scikit-learn estimator knows about its columns: names, which are text, which values occur."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np

from kaname.models.importing.sample import Sample
from kaname.models.importing.types import Domain, between


class Column(msgspec.Struct, kw_only=True):
    """One column of the table that the estimator was fitted on."""

    name: str
    text: bool = False
    domain: Domain = Domain()


def columns_of(model: Any, given: Sample | None) -> tuple[list[Column], bool]:
    """The columns, and whether the estimator takes a plain list of texts instead of a table."""
    if _takes_texts(model):
        return [Column(name="text", text=True, domain=_phrases(_first(model), 0))], True
    names: Any = getattr(model, "feature_names_in_", None)
    count = int(getattr(model, "n_features_in_", len(names) if names is not None else 0))
    named = names is not None
    columns = [Column(name=str(names[i]) if named else f"x{i}") for i in range(count)]
    _learn(model, list(range(count)), columns)
    if given is not None:
        _from_sample(given, columns)
    return columns, False


def _takes_texts(model: Any) -> bool:
    first = _first(model)
    return hasattr(first, "vocabulary_") and hasattr(first, "build_analyzer")


def _first(model: Any) -> Any:
    return model.steps[0][1] if hasattr(model, "steps") else model


def _learn(part: Any, at: list[int], columns: list[Column]) -> None:
    """Let `part`, which sees the columns at positions `at`, say what it knows of them."""
    if hasattr(part, "transformers_"):
        for _, inner, chosen in part.transformers_:
            if not isinstance(inner, str):
                _learn(inner, [at[i] for i in _positions(part, chosen, len(at))], columns)
        return
    if hasattr(part, "steps"):
        for _, step in part.steps:
            _learn(step, at, columns)
            if not _keeps_columns(step):
                return
        return
    if hasattr(part, "vocabulary_") and at:
        columns[at[0]].text = True
        columns[at[0]].domain = _phrases(part, at[0])
    elif hasattr(part, "categories_") and len(part.categories_) == len(at):
        for i, values in zip(at, part.categories_, strict=True):
            _categories(columns[i], values)
    elif (ranges := _ranges(part, len(at))) is not None:
        for i, (low, high) in zip(at, ranges, strict=True):
            columns[i].domain = msgspec.structs.replace(columns[i].domain, low=low, high=high)
    else:
        for k, cuts in thresholds(part).items():
            points = between(np.array(cuts))
            if k < len(at) and points:
                columns[at[k]].domain = Domain(low=points[0], high=points[-1], points=points)


def _keeps_columns(step: Any) -> bool:
    """Whether the next step of a pipeline sees the same values: nothing, or only gaps filled."""
    return isinstance(step, str) or step is None or hasattr(step, "statistics_")


def _positions(part: Any, chosen: Any, count: int) -> list[int]:
    """The positions of the columns that one transformer of a ColumnTransformer was given."""
    if isinstance(chosen, str):
        chosen = [chosen]
    if isinstance(chosen, slice):
        return list(range(count))[chosen]
    listed = list(np.atleast_1d(np.asarray(chosen, dtype=object)))
    if listed and all(isinstance(item, bool | np.bool_) for item in listed):
        return [i for i, hit in enumerate(listed) if hit]
    names = [str(name) for name in getattr(part, "feature_names_in_", ())]
    return [names.index(item) if isinstance(item, str) else int(item) % count for item in listed]


def _categories(column: Column, values: Any) -> None:
    kept = [v for v in values.tolist() if v is not None and v == v]  # NaN is not itself
    column.text = any(isinstance(v, str) for v in kept)
    column.domain = Domain(choices=tuple(v if isinstance(v, str) else float(v) for v in kept))


def _ranges(part: Any, count: int) -> list[tuple[float, float]] | None:
    """Low and high of each column that a scaler has seen."""
    if getattr(part, "data_min_", None) is not None and getattr(part, "data_max_", None) is not None:
        low, high = part.data_min_, part.data_max_
    elif (
        getattr(part, "scale_", None) is not None and getattr(part, "mean_", getattr(part, "center_", None)) is not None
    ):
        middle = part.mean_ if hasattr(part, "mean_") else part.center_
        low, high = middle - 3 * part.scale_, middle + 3 * part.scale_
    else:
        return None
    if len(low) != count:
        return None
    return [(float(a), float(b)) for a, b in zip(low, high, strict=True)]


def _phrases(vectoriser: Any, seed: int) -> Domain:
    """Short texts of the vectoriser's own words, and one of words it has never seen."""
    words = sorted(vectoriser.vocabulary_)
    rng = np.random.default_rng(seed)
    texts = [" ".join(words[i] for i in rng.integers(len(words), size=6)) for _ in range(40)]
    return Domain(choices=(*texts, "zzyzx", ", ".join(words[:3]).capitalize()))


def thresholds(model: Any) -> dict[int, list[float]]:
    """The thresholds per column of a scikit-learn tree, forest or boosted ensemble; empty for the rest."""
    found: dict[int, list[float]] = {}
    for features, cuts in _nodes(model):
        for feature, cut in zip(features.tolist(), cuts.tolist(), strict=True):
            if feature >= 0:
                found.setdefault(int(feature), []).append(float(cut))
    return found


def _nodes(model: Any) -> Iterator[tuple[Any, Any]]:
    if hasattr(model, "tree_"):
        yield model.tree_.feature, model.tree_.threshold
    for trees in getattr(model, "_predictors", ()):
        for tree in trees:
            inner = tree.nodes[tree.nodes["is_leaf"] == 0]
            yield inner["feature_idx"], inner["num_threshold"]
    for tree in np.ravel(np.asarray(getattr(model, "estimators_", ()), dtype=object)):
        if hasattr(tree, "tree_"):
            yield tree.tree_.feature, tree.tree_.threshold


def _from_sample(given: Sample, columns: list[Column]) -> None:
    """A given sample says which columns are text, and widens what is known of the others."""
    for k, column in enumerate(columns):
        values = (
            given.column(column.name) if given.records else list(given.array[:, k]) if given.array.ndim == 2 else []
        )
        present = [v for v in values if v is not None]
        if any(isinstance(v, str) for v in present):
            column.text = True
            if not column.domain.choices:
                column.domain = Domain(choices=tuple(sorted({str(v) for v in present})))
        elif present and not column.domain.choices and not column.domain.points and column.domain == Domain():
            low, high = float(min(present)), float(max(present))
            margin = (high - low) * 0.1 or abs(low) * 0.1 or 1.0
            column.domain = Domain(low=low - margin, high=high + margin)
