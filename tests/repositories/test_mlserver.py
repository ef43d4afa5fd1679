"""Folders of MLServer: `model-settings.json` and what it means here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kaname.repositories import mlserver as reader
from kaname.repositories.types import FoundModel
from tests.models.world import World, write_model
from tests.repositories.building import one, outcomes, take, write

ONNX = "mlserver_onnx.OnnxModel"


def settings(root: Path, folder: str = "scale", **values: Any) -> Path:
    """A model's folder with its settings."""
    write(root / folder / "model-settings.json", {"implementation": ONNX, **values})
    return root / folder


def read(root: Path) -> FoundModel:
    """The only model of a folder."""
    (model,) = reader.read(root).models
    return model


@pytest.mark.parametrize(
    ("implementation", "files", "chosen"),
    [
        ("mlserver_sklearn.SKLearnModel", ["model.pkl", "model.joblib"], "model.joblib"),
        ("mlserver_sklearn.sklearn.SKLearnModel", ["model.pickle"], "model.pickle"),
        ("mlserver_xgboost.XGBoostModel", ["model.ubj", "model.json"], "model.json"),
        ("mlserver_lightgbm.LightGBMModel", ["model.bst"], "model.bst"),
        (ONNX, ["model.onnx"], "model.onnx"),
    ],
)
def test_each_implementation_finds_its_usual_file(
    root: Path, implementation: str, files: list[str], chosen: str
) -> None:
    """Without a `uri` the well-known names are tried in MLServer's order."""
    folder = settings(root, implementation=implementation)
    for name in files:
        write(folder / name)
    assert read(root).versions[0].path == folder / chosen


@pytest.mark.parametrize(
    "uri",
    ["./weights/best.onnx", "weights/best.onnx", "{folder}/weights/best.onnx", "file://{folder}/weights/best.onnx"],
)
def test_a_uri_is_a_path_beside_the_settings(root: Path, uri: str) -> None:
    """Relative to the file, absolute, or a `file:` URL."""
    folder = settings(root, parameters={"uri": uri.format(folder=root / "scale")})
    write(folder / "weights" / "best.onnx")
    assert read(root).versions[0].path.resolve() == folder / "weights" / "best.onnx"


def test_an_mlflow_model_is_its_folder(root: Path) -> None:
    """The runtime of MLflow is given the folder with `MLmodel`, whichever of the two the URI names."""
    for uri in (".", "./MLmodel", None):
        parameters = {"uri": uri} if uri else {}
        folder = settings(root, implementation="mlserver_mlflow.MLflowRuntime", parameters=parameters)
        write(folder / "MLmodel")
        assert read(root).versions[0].path.resolve() == folder


def test_names_and_versions(root: Path) -> None:
    """The name is said or the folder's; folders of one name are the versions of one model, 10 after 9."""
    for number in ("9", "10"):
        write(settings(root, f"deep/er/v{number}", name="iris", parameters={"version": number}) / "model.onnx")
    write(settings(root, "plain") / "model.onnx")
    iris, plain = reader.read(root).models
    assert (iris.name, [version.version for version in iris.versions], iris.preferred) == (
        "iris",
        ["9", "10"],
        ("10", "9"),
    )
    assert (plain.name, plain.versions[0].version) == ("plain", "")


def test_batching_is_taken_over_where_mlserver_batches(root: Path) -> None:
    """Both fields are needed there; one alone is off, and said to be."""
    write(settings(root, max_batch_size=32, max_batch_time=0.02, cache_enabled=True) / "model.onnx")
    assert read(root).config == {"cache.enabled": True, "max_batch_rows": 32, "max_delay_ms": 20.0}
    write(settings(root, max_batch_size=32) / "model.onnx")
    model = read(root)
    assert model.config == {}
    assert [remark.what for remark in model.remarks] == ["max_batch_size"]


def test_what_has_no_equal_is_named(root: Path) -> None:
    """Fields of the model, of the server and folders without a model are said, known or not."""
    folder = settings(
        root,
        parallel_workers=2,
        parameters={"content_type": "np", "extra": {"threads": 4}, "made_up": 1},
        inputs=[{"name": "x", "datatype": "FP32", "shape": [1], "parameters": {"content_type": "np"}}],
        other={"a": [[1]]},
    )
    write(folder / "model.onnx")
    write(root / "settings.json", {"http_port": 9000, "debug": True, "novel": None, "strange": 1})
    write(root / "empty" / "notes.txt")
    found = reader.read(root)
    said = {remark.what: remark.reason for remark in found.models[0].remarks}
    assert said.keys() == {
        "parallel_workers",
        "parameters.content_type",
        "parameters.extra",
        "parameters.made_up",
        "inputs.parameters",
        "other",
    }
    assert said["parameters.made_up"] == said["other"] == "not a field that is known"
    assert {remark.what: remark.reason for remark in found.remarks} == {
        "http_port": "set server.port",
        "debug": "set KANAME_LOG_LEVEL",
        "strange": "not a field that is known",
        "empty": "no model-settings.json in it",
    }


def test_a_model_without_versions_counts_new_contents(world: World, root: Path) -> None:
    """The same file is the same version; another content is the next number and answers; the old one stays."""
    folder = settings(root, "scale")
    write_model(folder / "model.onnx", 1.0)
    assert outcomes(one(take(world, root))) == {"1": "taken"}
    assert outcomes(one(take(world, root))) == {"1": "there"}
    write_model(folder / "model.onnx", 2.0)
    second = one(take(world, root))
    assert (outcomes(second), second.answers) == ({"2": "taken"}, "2")
    write_model(folder / "model.onnx", 1.0)
    back = one(take(world, root))
    assert (outcomes(back), back.answers) == ({"1": "there"}, "1")
    assert [version.status for version in world.models.versions("scale")] == ["deployed", "deployed"]
