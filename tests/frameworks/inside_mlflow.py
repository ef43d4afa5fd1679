"""MLflow model folders that the real MLflow has saved, by flavour (run by `test_frameworks`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightgbm
import mlflow
import numpy as np
import pandas as pd
import pytest
import xgboost
from sklearn.linear_model import LogisticRegression

from kaname.errors import CorruptData, InvalidInput
from kaname.models.importing.types import Imported
from tests.frameworks.inside import imported, make_project, predict_elsewhere
from tests.models.importing.test_sklearn import asked

RNG = np.random.default_rng(0)
TABLE = pd.DataFrame(RNG.normal(size=(100, 3)), columns=["a", "b", "c"])
LIKED = np.where(TABLE.a + TABLE.b > 0, "yes", "no")
SPENT = TABLE.a * 2 + TABLE.c
KEPT: dict[str, Any] = {"pip_requirements": []}


class Doubles(mlflow.pyfunc.PythonModel):
    """Doubles one column."""

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        return pd.DataFrame({"double": model_input["a"] * 2, "whole": model_input["n"] // 2})


class Triples(mlflow.pyfunc.PythonModel):
    """Triples a tensor."""

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        return model_input * 3


def records(table: pd.DataFrame) -> Any:
    """The first rows by name."""
    return table.head(5).to_dict("records")


def logistic() -> Any:
    return LogisticRegression().fit(TABLE, LIKED)


def labels(found: Imported) -> list[str]:
    return [x.decode() for x in asked(found, records(TABLE))[0].tolist()]


@pytest.mark.parametrize(("form", "trust"), [("skops", False), ("cloudpickle", True), ("pickle", True)])
def test_sklearn(tmp_path: Path, form: str, trust: bool) -> None:
    """Each form that MLflow writes; only pickles need trust; the folder's example is the version's sample."""
    model, folder = logistic(), tmp_path / "model"
    mlflow.sklearn.save_model(model, str(folder), serialization_format=form, input_example=TABLE.head(2), **KEPT)
    if trust:
        with pytest.raises(InvalidInput, match="--trust-pickle"):
            imported(folder)
    found = imported(folder, trust_pickle=trust)
    assert (found.source, found.runtime) == ("sklearn", "onnx")
    assert labels(found) == model.predict(TABLE.head(5)).tolist()
    assert found.sample is not None
    assert found.sample["features"] == pytest.approx(records(TABLE)[0])
    assert "imported by the MLflow flavour sklearn" in found.notes


@pytest.mark.parametrize("wrapped", [True, False])
def test_lightgbm(tmp_path: Path, wrapped: bool) -> None:
    """The scikit-learn class as a skops file, and the Booster as text: neither needs trust."""
    model: Any
    if wrapped:
        model = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1).fit(TABLE, LIKED)
        wanted = model.predict_proba(TABLE.head(5))
    else:
        model = lightgbm.train({"verbose": -1, "objective": "regression"}, lightgbm.Dataset(TABLE, SPENT), 5)
        wanted = model.predict(TABLE.head(5))
    mlflow.lightgbm.save_model(model, str(tmp_path / "model"), **KEPT)
    found = imported(tmp_path / "model")
    assert found.source == "lightgbm"
    np.testing.assert_allclose(asked(found, records(TABLE))[-1], wanted, atol=1e-5)


@pytest.mark.parametrize("form", ["ubj", "json"])
def test_xgboost(tmp_path: Path, form: str) -> None:
    """In both forms of XGBoost's own."""
    model = xgboost.XGBRegressor(n_estimators=5, n_jobs=1).fit(TABLE, SPENT)
    mlflow.xgboost.save_model(model, str(tmp_path / "model"), model_format=form, **KEPT)
    found = imported(tmp_path / "model")
    assert found.source == "xgboost"
    np.testing.assert_allclose(asked(found, records(TABLE))[0], model.predict(TABLE.head(5)), atol=1e-5)


def test_onnx(tmp_path: Path) -> None:
    """The graph as it is; an example of named columns becomes rows of its only input."""
    from skl2onnx import to_onnx

    graph = to_onnx(logistic(), TABLE.to_numpy(np.float32)[:1], options={"zipmap": False})
    mlflow.onnx.save_model(graph, str(tmp_path / "model"), input_example=TABLE.head(2).astype("float32"), **KEPT)
    found = imported(tmp_path / "model")
    assert found.source == "onnx"
    assert found.sample == {"features": {"X": pytest.approx(TABLE.iloc[0].tolist(), rel=1e-6)}}


def test_a_function_of_columns(tmp_path: Path) -> None:
    """`python_function` runs in MLflow itself, with the column types of its signature, and only when it is trusted."""
    table = TABLE.assign(n=np.arange(100, dtype=np.int64))
    mlflow.pyfunc.save_model(str(tmp_path / "model"), python_model=Doubles(), input_example=table.head(2), **KEPT)
    with pytest.raises(InvalidInput, match=r"python_function.*--trust-pickle"):
        imported(tmp_path / "model")
    found = imported(tmp_path / "model", trust_pickle=True)
    assert (found.source, found.runtime) == ("python", "python")
    double, whole = asked(found, records(table.tail(3)))
    np.testing.assert_allclose(double, table.a.tail(3) * 2)
    assert (whole.dtype.name, whole.tolist()) == ("int64", [48, 49, 49])


def test_a_function_of_a_tensor(tmp_path: Path) -> None:
    """A signature of tensors: the array reaches the model with its type."""
    example = np.ones((2, 3), np.float32)
    mlflow.pyfunc.save_model(str(tmp_path / "model"), python_model=Triples(), input_example=example, **KEPT)
    found = imported(tmp_path / "model", trust_pickle=True)
    (output,) = asked(found, [{"input": [1.0, 2.0, 3.0]}])
    assert (output.dtype.name, output.tolist()) == ("float32", [[3.0, 6.0, 9.0]])


def test_a_function_leaves_no_trace_in_home(tmp_path: Path) -> None:
    """MLflow reports nothing and writes nothing outside the project while it predicts."""
    mlflow.pyfunc.save_model(str(tmp_path / "model"), python_model=Triples(), input_example=np.ones((2, 3)), **KEPT)
    make_project(tmp_path / "project", tmp_path / "model", trust_pickle=True)
    assert predict_elsewhere(tmp_path / "project", {"input": [1, 2, 3]}, "mlflow", home=tmp_path / "home")


def test_a_folder_that_lacks_something_says_what(tmp_path: Path) -> None:
    """The flavour's file, a flavour that is known, a description that can be read."""
    folder = tmp_path / "model"
    mlflow.sklearn.save_model(logistic(), str(folder), serialization_format="skops", **KEPT)
    (folder / "model.skops").unlink()
    with pytest.raises(CorruptData, match=r"flavour sklearn is missing.*model\.skops"):
        imported(folder)
    (folder / "MLmodel").write_text("flavors: {prophet: {data: x}}")
    with pytest.raises(InvalidInput, match=r"no flavour that is imported.*found prophet"):
        imported(folder)
    (folder / "MLmodel").write_text("flavors: [")
    with pytest.raises(CorruptData, match="not a description"):
        imported(folder)


def test_a_file_outside_the_folder_is_not_read(tmp_path: Path) -> None:
    """A flavour whose path leads out of its folder finds nothing."""
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret.onnx").write_bytes(b"x")
    (folder / "MLmodel").write_text("flavors: {onnx: {data: ../secret.onnx}}")
    with pytest.raises(CorruptData, match="flavour onnx is missing"):
        imported(folder)
