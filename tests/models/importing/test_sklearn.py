"""scikit-learn estimators become ONNX that answers as they do, or are refused with figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kaname.errors import InvalidInput
from kaname.models.importing.sample import Sample, narrow, rows_of
from kaname.models.importing.types import Imported, ImportRequest, Tensors
from kaname.models.importing.work import import_here
from kaname.runtimes.catalog import open_session
from kaname.runtimes.types import SessionOptions
from tests.models.importing import trained

pytestmark = pytest.mark.slow


def imported(model: Any, folder: Path, sample: Path | None = None, **options: Any) -> Imported:
    path = trained.pickled(model, folder)
    request = ImportRequest(path=path, sample=sample, trust_pickle=True, **options)
    return import_here(request, folder, isolated=True)


def asked(found: Imported, records: list[dict[str, Any]]) -> Tensors:
    """What the chosen runtime answers to requests."""
    session = open_session(found.runtime, found.files, found.signature, SessionOptions())
    return session.run(narrow(rows_of(Sample(records=records), found.signature), found.signature))


def body_works(found: Imported) -> None:
    """The sample request is answered."""
    assert found.sample is not None
    features = found.sample["features"]
    assert isinstance(features, dict)
    json.dumps(found.sample, allow_nan=False)
    assert len(asked(found, [features])) == len(found.signature.outputs)


def test_a_pipeline_of_numbers(tmp_path: Path) -> None:
    """Labels, probabilities and parity of scaler and logistic regression; its sample works."""
    found = imported(trained.logistic(), tmp_path)
    signature = found.signature
    assert (found.source, found.runtime, signature.task) == ("sklearn", "onnx", "classification")
    assert signature.labels == ("high", "low", "mid")
    assert [f.name for f in signature.features] == ["x0", "x1", "x2", "x3"]
    assert signature.layout == "matrix"
    rows = [dict(zip(["x0", "x1", "x2", "x3"], row, strict=True)) for row in trained.X[:50].tolist()]
    label, chances = asked(found, rows)
    assert [x.decode() for x in label] == trained.logistic().predict(trained.X[:50]).tolist()
    np.testing.assert_allclose(chances, trained.logistic().predict_proba(trained.X[:50]), atol=1e-5)
    (choice,) = found.choices
    assert choice.parity is not None
    assert choice.parity.rows >= 1_000
    assert choice.parity.share_beyond == 0
    assert choice.chosen
    assert any("no sample was given" in note for note in found.notes)
    body_works(found)


@pytest.mark.parametrize("name", ["svc", "forest", "boosted", "neighbours"])
def test_other_estimators_agree(tmp_path: Path, name: str) -> None:
    """Kernel, forest, boosting and neighbours pass parity on drawn rows."""
    found = imported(getattr(trained, name)(), tmp_path)
    parity = found.choices[0].parity
    assert parity is not None
    assert parity.share_beyond <= 0.001
    body_works(found)
    if name == "forest":
        assert [f.name for f in found.signature.features] == ["a", "b", "c", "d"]
    if name == "boosted":
        assert all(f.nullable for f in found.signature.features)
        assert found.signature.outputs[0].role == "value"


def test_scores_are_not_called_probabilities(tmp_path: Path) -> None:
    """A classifier without `predict_proba` answers with its label alone."""
    found = imported(trained.scores_only(), tmp_path)
    assert [(o.name, o.role) for o in found.signature.outputs] == [("label", "label")]


def test_a_data_frame_of_numbers_words_and_text(tmp_path: Path) -> None:
    """Each column is its own input; missing numbers are allowed where the imputer fills them."""
    found = imported(trained.mixed(), tmp_path)
    signature = found.signature
    assert signature.layout == "columns"
    assert {f.name: (f.datatype, f.nullable) for f in signature.features} == {
        "age": ("FP32", True),
        "city": ("BYTES", False),
        "review": ("BYTES", False),
    }
    rows: list[dict[str, Any]] = [
        {"age": 40.0, "city": "Rome", "review": "good fine"},
        {"age": None, "city": "Lima", "review": "Bad, ugly"},
    ]
    label, _ = asked(found, rows)
    import pandas as pd

    assert [x.decode() for x in label] == trained.mixed().predict(pd.DataFrame(rows)).tolist()
    body_works(found)


def test_a_given_csv_is_the_sample(tmp_path: Path) -> None:
    """The request body is the first row of the file, and nothing is made up."""
    trained.FRAME.head(20).to_csv(tmp_path / "rows.csv", index=False)
    found = imported(trained.mixed(), tmp_path, tmp_path / "rows.csv")
    first = trained.FRAME.iloc[0]
    assert found.sample == {"features": {"age": first.age, "city": first.city, "review": first.review}}
    assert not any("no sample" in note for note in found.notes)


def test_a_pipeline_of_texts(tmp_path: Path) -> None:
    """A vectoriser in front takes one text per row."""
    found = imported(trained.texts(), tmp_path)
    assert [f.name for f in found.signature.features] == ["text"]
    label, _ = asked(found, [{"text": "good good"}, {"text": "bad"}])
    assert [x.decode() for x in label] == trained.texts().predict(["good good", "bad"]).tolist()
    body_works(found)


def test_thresholds_that_single_precision_cannot_hold_are_refused(tmp_path: Path) -> None:
    """Epoch seconds collide in float32: the refusal names figures and a way out."""
    with pytest.raises(InvalidInput, match=r"largest difference .* rows beyond .*Python model"):
        imported(trained.boosted_seconds(), tmp_path)


def test_double_precision_is_tried(tmp_path: Path) -> None:
    """A linear model on epoch seconds is converted in doubles, and says so."""
    found = imported(trained.linear_seconds(), tmp_path, tolerance=1e-3)
    assert found.signature.inputs[0].datatype == "FP64"
    assert any("double precision" in note for note in found.notes)
    (value,) = asked(found, [{"x0": 1.7e9 + 12_345.0, "x1": 0.0}])
    assert value[0] == pytest.approx(12_345.0, rel=1e-4)


def test_isotonic_calibration_is_refused_with_figures(tmp_path: Path) -> None:
    """Its conversion interpolates otherwise: measured on drawn rows, and accepted only by who raises the tolerance."""
    with pytest.raises(InvalidInput, match=r"largest difference 0\.0\d+, \d\.\d+% of \d+ rows"):
        imported(trained.isotonic(), tmp_path)
    found = imported(trained.isotonic(), tmp_path, tolerance=0.2, max_share=0.05)
    assert found.choices[0].parity is not None
    assert found.choices[0].parity.max_difference > 0.01


def test_an_unfitted_estimator_is_refused(tmp_path: Path) -> None:
    """The error says so in those words."""
    from sklearn.linear_model import LogisticRegression

    with pytest.raises(InvalidInput, match="not fitted"):
        imported(LogisticRegression(), tmp_path)


def test_what_cannot_be_converted_names_the_python_model(tmp_path: Path) -> None:
    """A function inside a pipeline has no ONNX form."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    model = make_pipeline(FunctionTransformer(np.sinh), LogisticRegression()).fit(trained.X, trained.CLASSES)
    with pytest.raises(InvalidInput, match="Python model"):
        imported(model, tmp_path)


def test_something_else_in_a_pickle_is_refused(tmp_path: Path) -> None:
    """A dictionary is not a model."""
    with pytest.raises(InvalidInput, match="not imported"):
        imported({"a": 1}, tmp_path)
