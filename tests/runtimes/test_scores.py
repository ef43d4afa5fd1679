"""From a tree library's scores to labels, probabilities and values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from kaname.runtimes.scores import Scores, label_array
from kaname.signature import Label, OutputSpec, Signature
from kaname.tensors import Datatype, TensorSpec

SHARES = st.floats(0, 1, width=32)


def classifier(labels: tuple[Label, ...], datatype: Datatype = "INT64") -> Signature:
    return Signature(
        task="classification",
        inputs=(TensorSpec(name="input", datatype="FP32", shape=(-1, 2)),),
        outputs=(
            OutputSpec(name="label", datatype=datatype, shape=(-1,), role="label"),
            OutputSpec(name="probabilities", datatype="FP32", shape=(-1, len(labels)), role="probabilities"),
        ),
        labels=labels,
    )


def regressor(shape: tuple[int, ...], datatype: Datatype = "FP32") -> Signature:
    return Signature(
        task="regression",
        inputs=(TensorSpec(name="input", datatype="FP32", shape=(-1, 2)),),
        outputs=(OutputSpec(name="variable", datatype=datatype, shape=shape, role="value"),),
    )


@given(arrays.arrays(np.float64, st.integers(0, 20), elements=SHARES))
def test_one_score_is_the_probability_of_the_second_class(scores: Any) -> None:
    """Both probabilities come out, they sum to one, and the label is the likelier class, the first of equals."""
    label, probabilities = Scores(classifier((10, 20))).outputs(scores)
    assert probabilities.shape == (len(scores), 2)
    assert probabilities.dtype == np.float32
    assert np.allclose(probabilities.sum(axis=1), 1)
    assert np.array_equal(probabilities[:, 1], scores.astype(np.float32))
    assert label.tolist() == [20 if score > 0.5 else 10 for score in scores.tolist()]


@given(arrays.arrays(np.float32, st.tuples(st.integers(0, 9), st.just(3)), elements=SHARES))
def test_the_label_is_the_class_of_the_largest_score(scores: Any) -> None:
    """The first of equals; the probabilities are the scores."""
    label, probabilities = Scores(classifier(("a", "b", "ü"), "BYTES")).outputs(scores)
    assert np.array_equal(probabilities, scores)
    names = [b"a", b"b", "ü".encode()]
    assert label.tolist() == [names[row.index(max(row))] for row in scores.tolist()]


def test_outputs_are_not_the_library_s_memory() -> None:
    """What the library writes next changes no answer that was given."""
    for signature, scores in ((classifier((0, 1, 2)), np.full((2, 3), 0.25, np.float32)),
                              (regressor((-1,)), np.full(2, 0.25, np.float32))):  # fmt: skip
        given = Scores(signature).outputs(scores)
        before = [out.copy() for out in given]
        scores[:] = 9
        assert all(np.array_equal(now, then) for now, then in zip(given, before, strict=True))


@pytest.mark.parametrize("shape", [(-1,), (-1, 1), (-1, -1)])
def test_a_value_has_the_shape_that_the_signature_says(shape: tuple[int, ...]) -> None:
    """One number per row, with or without a dimension for it."""
    scores = np.array([[1.5], [2.5]]) if shape == (-1, -1) else np.array([1.5, 2.5])
    (value,) = Scores(regressor(shape)).outputs(scores)
    assert value.dtype == np.float32
    assert value.shape == ((2,) if shape == (-1,) else (2, 1))
    assert value.ravel().tolist() == [1.5, 2.5]


def test_double_precision_is_kept_where_it_is_declared() -> None:
    """A count beyond a float's integers is exact."""
    (value,) = Scores(regressor((-1,), "FP64")).outputs(np.array([2.0**24 + 1]))
    assert value.tolist() == [2**24 + 1]


@pytest.mark.parametrize(
    ("labels", "datatype", "wanted"),
    [
        ((3, 1), "INT64", [3, 1]),
        ((True, False), "INT64", [1, 0]),
        ((0.5, 1.5), "FP32", [0.5, 1.5]),
        (("no", "yes"), "BYTES", [b"no", b"yes"]),
        ((1, "one"), "BYTES", [b"1", b"one"]),
    ],
)
def test_labels_become_tensors(labels: tuple[Label, ...], datatype: str, wanted: list[object]) -> None:
    """Numbers in the declared type, words as UTF-8."""
    assert label_array(labels, datatype).tolist() == wanted
