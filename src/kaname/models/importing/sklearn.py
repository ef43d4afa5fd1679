"""scikit-learn estimators and pipelines: converted to ONNX by skl2onnx, then held against the original.

The one module that imports skl2onnx.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from kaname.errors import InvalidInput, KanameError, MissingDependency
from kaname.models.importing import converted, draw, parity, sample, trees
from kaname.models.importing.columns import Column, columns_of
from kaname.models.importing.types import ImportRequest, Prepared, Tensors
from kaname.runtimes.catalog import FILES, open_session
from kaname.runtimes.onnx import describe
from kaname.runtimes.types import SessionOptions
from kaname.signature import Feature, Label, OutputSpec, Signature, Task
from kaname.tensors import Datatype, Tensor, TensorSpec

_PRECISIONS: tuple[Datatype, ...] = ("FP32", "FP64")


class Estimator:
    """A fitted estimator and how rows of a signature become the table that it was fitted on."""

    def __init__(self, model: Any, columns: list[Column], *, texts: bool) -> None:
        self.model = model
        self.columns = columns
        self.texts = texts
        self.named = hasattr(model, "feature_names_in_")
        # Sub-estimators ask their parts by name; text and numbers together cannot be one matrix.
        self.separate = texts or any(c.text for c in columns) or (self.named and _by_name(model))
        self.task, self.labels = _task(model)
        self.probabilities = self.task == "classification" and hasattr(model, "predict_proba")

    def signature(self, datatype: Datatype) -> Signature:
        """Its signature when floats are `datatype`; no feature is nullable yet."""
        features = tuple(Feature(name=c.name, datatype="BYTES" if c.text else datatype) for c in self.columns)
        if self.separate:
            inputs = tuple(TensorSpec(name=f.name, datatype=f.datatype, shape=(-1, 1)) for f in features)
        else:
            inputs = (TensorSpec(name="input", datatype=datatype, shape=(-1, len(features))),)
        return Signature(task=self.task, inputs=inputs, outputs=self._outputs(), features=features, labels=self.labels)

    def _outputs(self) -> tuple[OutputSpec, ...]:
        if self.task == "classification":
            return converted.classifier_outputs(self.labels, probabilities=self.probabilities)
        return converted.value_output() if self.task == "regression" else ()

    def table(self, rows: Tensors) -> Any:
        """The rows as the estimator wants them: a list of texts, a data frame or a matrix."""
        if self.texts:
            return [cell.decode() for cell in rows[0][:, 0].tolist()]
        if not self.separate:
            return _frame(self.columns, list(rows[0].T)) if self.named else rows[0]
        cells = [_texts(array[:, 0]) if c.text else array[:, 0] for c, array in zip(self.columns, rows, strict=True)]
        return _frame(self.columns, cells) if self.named else np.stack([c.astype(object) for c in cells], axis=1)

    def answer(self, rows: Tensors) -> Tensors:
        """What the estimator itself answers, in the order of the signature's outputs."""
        table = self.table(rows)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if self.task == "classification":
                label = self._label(np.asarray(self.model.predict(table)))
                return (label, self.model.predict_proba(table)) if self.probabilities else (label,)
            if self.task == "regression":
                return (np.asarray(self.model.predict(table)).reshape(len(rows[0])),)
            return (np.asarray(self.model.transform(table)),)

    def _label(self, found: Tensor) -> Tensor:
        if converted.label_datatype(self.labels) != "BYTES":
            return found.astype(np.int64) if converted.label_datatype(self.labels) == "INT64" else found
        out = np.empty(len(found), dtype=object)
        out[:] = [str(x).encode() for x in found.tolist()]
        return out


def from_object(model: Any, request: ImportRequest, folder: Path) -> Prepared:
    """Convert a fitted estimator out of a pickle.

    Converted in single precision, and once more in double precision when single cannot hold its thresholds.
    Raises InvalidInput when it is not fitted, or has parts that cannot be converted.
    """
    _check_fitted(model)
    given = None if request.sample is None else sample.read(request.sample)
    columns, texts = columns_of(model, given)
    estimator = Estimator(model, columns, texts=texts)
    best: Prepared | None = None
    for datatype in _PRECISIONS:
        try:
            prepared = _convert_to(datatype, estimator, given, folder)
        except KanameError:
            if best is None:
                raise
            break
        if best is None or _agrees(prepared, request):
            best = prepared
        if _agrees(best, request):
            break
    assert best is not None
    _write(best, estimator, folder)
    return best


def _convert_to(datatype: Datatype, estimator: Estimator, given: sample.Sample | None, folder: Path) -> Prepared:
    signature = estimator.signature(datatype)
    (folder / FILES["onnx"]).write_bytes(_convert(estimator, signature))
    signature = _with_outputs(signature, folder / FILES["onnx"])
    names = [column.name for column in estimator.columns]
    domains = tuple(column.domain for column in estimator.columns)
    signature = _nullable(estimator, signature, domains, folder)
    return Prepared(
        folder=folder,
        source="sklearn",
        signature=signature,
        runtimes=("onnx",),
        rows=() if given is None else sample.rows_of(given, signature),
        domains=domains,
        original=estimator.answer,
        given=given is not None,
        notes=[] if given is not None else [trees.no_sample_note(names)],
    )


def _write(best: Prepared, estimator: Estimator, folder: Path) -> None:
    """Leave the file of the precision that was kept (a later try may have replaced it)."""
    floats = {f.datatype for f in best.signature.features} - {"BYTES"}
    datatype = floats.pop() if floats else "FP32"
    (folder / FILES["onnx"]).write_bytes(_convert(estimator, estimator.signature(datatype)))
    if datatype == "FP64":
        best.notes.append("converted in double precision: single precision cannot hold its thresholds")


def _agrees(prepared: Prepared, request: ImportRequest) -> bool:
    """A first comparison, on drawn rows alone, to decide whether double precision is worth trying."""
    rng = np.random.default_rng(11)
    rows = draw.draw(prepared.domains, prepared.signature, 1_000, rng, missing=False)
    assert prepared.original is not None
    found = _run(prepared.folder, prepared.signature, rows)
    agreed = parity.compare(prepared.original(rows), found, prepared.signature, request.tolerance)
    return parity.passes(agreed, alternative=False, max_share=request.max_share)


def _run(folder: Path, signature: Signature, rows: Tensors) -> Tensors:
    session = open_session("onnx", folder, signature, SessionOptions())
    try:
        return session.run(sample.narrow(rows, signature))
    finally:
        session.close()


# --- what the estimator is ------------------------------------------------------------------------------


def _task(model: Any) -> tuple[Task, tuple[Label, ...]]:
    classes = getattr(model, "classes_", None)
    if classes is not None:
        if isinstance(classes, list):
            raise InvalidInput("a classifier of several outputs is not converted; wrap it in a Python model")
        return "classification", converted.labels_of(classes)
    if hasattr(model, "predict"):
        return "regression", ()
    return "other", ()


def _check_fitted(model: Any) -> None:
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        check_is_fitted(model)
    except NotFittedError as error:
        raise InvalidInput("the estimator is not fitted", found=type(model).__name__) from error
    except TypeError as error:
        raise InvalidInput("not an estimator", found=type(model).__name__) from error


def _by_name(model: Any) -> bool:
    """Whether some part picks its columns by name, which the converter resolves by the names of the inputs."""
    parts = [step for _, step in getattr(model, "steps", ())] or [model]
    return any(hasattr(part, "transformers_") for part in parts)


def _frame(columns: list[Column], cells: list[Tensor]) -> Any:
    try:
        import pandas as pd
    except ImportError as error:
        raise MissingDependency(
            "the estimator was fitted on a data frame: comparing it needs pandas: pip install pandas"
        ) from error
    return pd.DataFrame({column.name: cell for column, cell in zip(columns, cells, strict=True)})


def _texts(cells: Tensor) -> Tensor:
    out = np.empty(len(cells), dtype=object)
    out[:] = [cell.decode() for cell in cells.tolist()]
    return out


# --- conversion -----------------------------------------------------------------------------------------


def _convert(estimator: Estimator, signature: Signature) -> bytes:
    try:
        import skl2onnx
        from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, StringTensorType
    except ImportError as error:
        raise MissingDependency.of("skl2onnx", "sklearn", "converting a scikit-learn model") from error
    types = {"FP32": FloatTensorType, "FP64": DoubleTensorType, "BYTES": StringTensorType}
    initial = [(spec.name, types[spec.datatype]([None, *spec.shape[1:]])) for spec in signature.inputs]
    opset = _know_lightgbm(skl2onnx.update_registered_converter)

    def convert(options: dict[Any, dict[str, Any]]) -> Any:
        return skl2onnx.convert_sklearn(estimator.model, initial_types=initial, options=options, target_opset=opset)

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                model = convert(_options(estimator, zipmap=False))
            except NameError:  # this classifier has no such option: it never ends in a ZipMap
                model = convert(_options(estimator))
    except Exception as error:
        raise InvalidInput(
            f"skl2onnx cannot convert this estimator ({type(error).__name__}: {str(error)[:300]}); wrap it in a Python "
            "model (file.py:ClassName)",
            found=type(estimator.model).__name__,
        ) from error
    raw: bytes = model.SerializeToString()
    return raw


def _options(estimator: Estimator, *, zipmap: bool | None = None) -> dict[Any, dict[str, Any]]:
    from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

    # Without a locale the graph asks the system for one that a server may lack.
    options: dict[Any, dict[str, Any]] = {TfidfVectorizer: {"locale": "C"}, CountVectorizer: {"locale": "C"}}
    if estimator.task == "classification" and zipmap is not None:
        options[id(estimator.model)] = {"zipmap": zipmap}
    return options


def _know_lightgbm(register: Callable[..., Any]) -> dict[str, int] | None:
    """Let pipelines end in LightGBM, when the pickle has loaded it; returns the operator set that it needs."""
    lightgbm = sys.modules.get("lightgbm")
    if lightgbm is None:
        return None
    from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm
    from skl2onnx.common.shape_calculator import (
        calculate_linear_classifier_output_shapes,
        calculate_linear_regressor_output_shapes,
    )

    switches = {"nocl": [True, False], "zipmap": [True, False, "columns"]}
    shapes = calculate_linear_classifier_output_shapes
    register(lightgbm.LGBMClassifier, "LgbmClassifier", shapes, convert_lightgbm, options=switches)
    shapes = calculate_linear_regressor_output_shapes
    register(lightgbm.LGBMRegressor, "LgbmRegressor", shapes, convert_lightgbm)
    return {"": 18, "ai.onnx.ml": 3}


def _with_outputs(signature: Signature, file: Path) -> Signature:
    """The signature with outputs that the file really has."""
    _, outputs = describe(file)
    if not signature.outputs:
        kept = tuple(OutputSpec(name=o.name, datatype=o.datatype, shape=o.shape) for o in outputs[:1])
        return msgspec.structs.replace(signature, outputs=kept)
    there = {spec.name for spec in outputs}
    if missing := [spec.name for spec in signature.outputs if spec.name not in there]:
        raise InvalidInput(
            "the converted estimator has other outputs than its kind should",
            found=str(sorted(there)),
            expected=str(missing),
        )
    return signature


def _nullable(estimator: Estimator, signature: Signature, domains: tuple[Any, ...], folder: Path) -> Signature:
    """Mark the columns in which both the original and the conversion take NaN, and agree."""
    rng = np.random.default_rng(3)
    features = list(signature.features)
    for k, feature in enumerate(features):
        if feature.datatype == "BYTES":
            continue
        rows = draw.draw(domains, signature, 8, rng, missing=False)
        (rows[k][:, 0] if estimator.separate else rows[0][:, k])[:] = np.nan
        if _answers_alike(estimator, signature, rows, folder):
            features[k] = msgspec.structs.replace(feature, nullable=True)
    return msgspec.structs.replace(signature, features=tuple(features))


def _answers_alike(estimator: Estimator, signature: Signature, rows: Tensors, folder: Path) -> bool:
    try:
        wanted = estimator.answer(rows)
        found = _run(folder, signature, rows)
    except Exception:  # noqa: BLE001  (either refuses missing values: then they are not allowed)
        return False
    finite = all(np.isfinite(x).all() for x in (*wanted, *found) if x.dtype.kind == "f")
    return finite and parity.compare(wanted, found, signature, 1e-3).share_beyond == 0
