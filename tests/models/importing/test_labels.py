"""Labels that lie beside a model make it a classifier, where they fit."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest

from kaname.models.importing.types import Imported, ImportRequest
from kaname.models.importing.work import import_here
from tests.runtimes import graphs

NAMES = ("a", "b", "c", "d")


def of(path: Path, **labels: tuple[str, ...]) -> Imported:
    """The model with labels of an output."""
    return import_here(ImportRequest(path=path, labels=labels), path.parent, isolated=True)


def test_an_output_with_a_column_per_label_is_that_of_a_classifier(tmp_path: Path) -> None:
    """Task, labels and the output's role say so, and the notes why."""
    found = of(graphs.doubled(tmp_path / "m.onnx"), y=NAMES)
    assert (found.signature.task, found.signature.labels) == ("classification", NAMES)
    assert [output.role for output in found.signature.outputs] == ["probabilities"]
    assert any("per label of 4" in note for note in found.notes)


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ({"z": NAMES}, "there is no such output"),
        ({"y": NAMES[:3]}, "3 labels for FP32 [-1, 4]"),
        ({"y": ("a", "a", "b", "c")}, "two classes have the same label"),
    ],
)
def test_labels_that_do_not_fit_are_said_and_left(
    tmp_path: Path, labels: dict[str, tuple[str, ...]], says: str
) -> None:
    """The model is imported as it is without them."""
    found = of(graphs.doubled(tmp_path / "m.onnx"), **labels)
    assert (found.signature.task, found.signature.labels) == ("other", ())
    assert any(says in note for note in found.notes)


def test_a_classifier_keeps_its_own_labels(tmp_path: Path) -> None:
    """What the model itself says of its classes is not replaced."""
    path = tmp_path / "iris.onnx"
    path.write_bytes((resources.files("kaname.cli") / "starter" / "iris.onnx").read_bytes())
    found = of(path, probabilities=("x", "y", "z"))
    assert found.signature.labels == ("setosa", "versicolor", "virginica")
    assert any("labels of its own" in note for note in found.notes)
