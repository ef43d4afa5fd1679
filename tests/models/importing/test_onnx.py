"""ONNX files are taken as they are."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from kaname.errors import InvalidInput
from kaname.models.importing.types import Imported, ImportRequest
from kaname.models.importing.work import import_here
from tests.models.importing import trained
from tests.models.importing.test_sklearn import asked, body_works
from tests.runtimes import graphs


def of(path: Path, sample: Path | None = None) -> Imported:
    return import_here(ImportRequest(path=path, sample=sample), path.parent, isolated=True)


def test_a_tensor_model_gets_a_sample_of_one_row(tmp_path: Path) -> None:
    """`{"features": {"x": [...]}}`, made up and said so."""
    found = of(graphs.doubled(tmp_path / "m.onnx"))
    assert found.signature.layout == "tensors"
    assert found.sample is not None
    features = found.sample["features"]
    assert isinstance(features, dict)
    assert list(features) == ["x"]
    assert len(features["x"]) == 4
    assert any("made up" in note for note in found.notes)
    body_works(found)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("s.json", json.dumps({"features": {"x": [1, 2, 3, 4]}})),
        ("s.json", json.dumps({"instances": [{"x": [1, 2, 3, 4]}, {"x": [5, 6, 7, 8]}]})),
        ("s.json", json.dumps([[1, 2, 3, 4], [5, 6, 7, 8]])),
        ("s.json", json.dumps([1, 2, 3, 4])),
    ],
)
def test_json_samples(tmp_path: Path, name: str, content: str) -> None:
    """Each form of JSON is the same first row."""
    (tmp_path / name).write_text(content)
    assert of(graphs.doubled(tmp_path / "m.onnx"), tmp_path / name).sample == {"features": {"x": [1.0, 2.0, 3.0, 4.0]}}


def test_numpy_samples(tmp_path: Path) -> None:
    """`.npy` holds the only input, `.npz` names them."""
    np.save(tmp_path / "s.npy", graphs.ROWS[:3])
    np.savez(tmp_path / "s.npz", x=graphs.ROWS[:3])
    path = graphs.doubled(tmp_path / "m.onnx")
    assert of(path, tmp_path / "s.npy").sample == of(path, tmp_path / "s.npz").sample


def test_rows_that_interact_are_said(tmp_path: Path) -> None:
    """The profile keeps requests apart, and a note says why."""
    found = of(graphs.centred(tmp_path / "m.onnx"))
    assert not found.profile.splits
    assert found.signature.batched
    assert any("influence each other" in note for note in found.notes)


def test_an_output_that_does_not_split_has_no_batch(tmp_path: Path) -> None:
    """A sum over rows makes a request one run."""
    found = of(graphs.summed(tmp_path / "m.onnx"))
    assert not found.signature.batched
    assert not found.profile.splits


def test_company_that_changes_bits_is_said(tmp_path: Path) -> None:
    """Dynamic int8: splits, not exact."""
    found = of(graphs.quantised(tmp_path / "m.onnx"))
    assert (found.profile.splits, found.profile.exact) == (True, False)
    assert any("batching changes its answers" in note for note in found.notes)


def test_free_sizes_are_found_by_trying(tmp_path: Path) -> None:
    """A second dimension that varies gets a size that the model answers."""
    found = of(
        graphs.graph(
            tmp_path / "m.onnx",
            [helper.make_node("MatMul", ["x", "w"], ["y"])],
            inputs=[("x", TensorProto.FLOAT, ["n", "width"])],
            outputs=[("y", TensorProto.FLOAT, ["n", 2])],
            weights={"w": np.ones((16, 2), np.float32)},
        )
    )
    assert found.sample is not None
    body_works(found)


@pytest.mark.slow
def test_a_zipmap_is_cut_off(tmp_path: Path) -> None:
    """A classifier exported with the default options answers with its tensor, and keeps its labels."""
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType

    model = convert_sklearn(trained.logistic(), initial_types=[("input", FloatTensorType([None, 4]))])
    assert any(node.op_type == "ZipMap" for node in model.graph.node)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    found = of(tmp_path / "m.onnx")
    assert found.signature.task == "classification"
    assert found.signature.labels == ("high", "low", "mid")
    label, chances = asked(found, [{"input": row} for row in trained.X[:5].tolist()])
    assert [x.decode() for x in label] == trained.logistic().predict(trained.X[:5]).tolist()
    np.testing.assert_allclose(chances, trained.logistic().predict_proba(trained.X[:5]), atol=1e-5)


def test_weights_beside_the_file_come_along(tmp_path: Path) -> None:
    """External data is part of the artefact; data outside the folder is refused."""
    plain = graphs.graph(
        tmp_path / "plain.onnx",
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        weights={"w": np.eye(4, dtype=np.float32)},
    )
    model = onnx.load(str(plain))
    onnx.save_model(
        model, str(tmp_path / "m.onnx"), save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    found = of(tmp_path / "m.onnx")
    assert {p.name for p in found.files.iterdir()} == {"model.onnx", "weights.bin"}
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(InvalidInput, match="weights are missing"):
        of(tmp_path / "m.onnx")


@pytest.mark.parametrize(
    ("sample", "says"),
    [
        ("[[1, 2]]", "another shape"),
        ('{"features": {"z": [1, 2, 3, 4]}}', "lacks an input"),
        ("[]", "no row"),
        ("{", "cannot be read"),
        ("7", "expected a list"),
    ],
)
def test_a_sample_that_does_not_fit_is_refused(tmp_path: Path, sample: str, says: str) -> None:
    """The error names what is wrong with it."""
    (tmp_path / "s.json").write_text(sample)
    with pytest.raises(InvalidInput, match=says):
        of(graphs.doubled(tmp_path / "m.onnx"), tmp_path / "s.json")


def test_nonsense_is_refused(tmp_path: Path) -> None:
    """Bytes that are no ONNX."""
    (tmp_path / "m.onnx").write_bytes(b"\x00nonsense")
    with pytest.raises(InvalidInput, match="not an ONNX file"):
        of(tmp_path / "m.onnx")


def test_the_model_of_a_new_project_answers_its_sample(tmp_path: Path) -> None:
    """What `kaname init` copies is a classifier of named irises, and its sample request works."""
    starter = Path(str(resources.files("kaname.cli") / "starter"))
    request = ImportRequest(path=starter / "iris.onnx", sample=starter / "iris-sample.json")
    found = import_here(request, tmp_path, isolated=True)
    assert found.signature.labels == ("setosa", "versicolor", "virginica")
    rows = json.loads((starter / "iris-sample.json").read_text())["instances"]
    label, chances = asked(found, rows)
    assert label.tolist() == [b"setosa", b"versicolor", b"virginica"]
    np.testing.assert_allclose(chances.sum(axis=1), 1, atol=1e-5)
    assert found.profile.exact
    body_works(found)
