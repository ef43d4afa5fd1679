"""Whatever is wrong with a repository is said with its place, changes nothing, and harms no other model."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kaname.errors import InvalidInput
from tests.models.world import World, write_model
from tests.repositories.building import take, triton, write
from tests.repositories.test_mlflow import export, version
from tests.repositories.test_mlserver import settings


class Case(msgspec.Struct, frozen=True):
    """One fault: how it comes about, and what is said of it."""

    name: str
    make: Callable[[Path], object]
    says: str
    kind: str | None = None


def config(text: str) -> Callable[[Path], object]:
    """A Triton model with this configuration and a good file, beside a good model."""
    return lambda root: triton(root, 1, config=text)


def served(text: str) -> Callable[[Path], object]:
    """A `models.config` with this text."""
    return lambda root: write(root / "models.config", text)


def described(**values: Any) -> Callable[[Path], object]:
    """A model of MLServer with these settings and a good file."""
    return lambda root: write_model(settings(root, **values) / "model.onnx", 1.0)


REFUSED = [
    Case("no text format", config('name: "scale'), "scale/config.pbtxt:1:7: not the text format of protocol buffers"),
    Case("a bracket too few", config("version_policy {"), "scale/config.pbtxt:1:17: a field was expected"),
    Case("not UTF-8", lambda root: (triton(root, 1) / "scale" / "config.pbtxt").write_bytes(b"\xff"), "not UTF-8"),
    Case("another name", config('name: "other"'), "scale/config.pbtxt:1:1: the name is not that of the folder"),
    Case("a text for a number", config('max_batch_size: "8"'), "found '8'; expected a whole number"),
    Case("a number for a section", config("dynamic_batching: 3"), "found 3; expected a section"),
    Case("a policy of nothing", config("version_policy { latest { num_versions: 0 } }"), "chooses nothing"),
    Case("a policy without versions", config("version_policy { specific { } }"), "names no version"),
    Case(
        "a setting that cannot be",
        config("dynamic_batching { max_queue_delay_microseconds: -5 }"),
        "config.max_delay_ms",
    ),
    Case(
        "no labels",
        config('output { name: "y" label_filename: "l.txt" }'),
        "the file of labels is not there; found l.txt",
    ),
    Case("a Python backend", config('backend: "python"'), "Triton's own interface"),
    Case("an ensemble", config('platform: "ensemble"'), "an ensemble is no model of its own"),
    Case("a plan", config('platform: "tensorrt_plan"'), "take the ONNX file that it was made of"),
    Case("an unknown backend", config('backend: "vllm"'), "no runtime executes what this backend does; found vllm"),
    Case("a state per sequence", config("sequence_batching { }"), "a state per sequence"),
    Case(
        "a forest of treelite",
        config('backend: "fil" parameters { key: "model_type" value { string_value: "treelite_checkpoint" } }'),
        "no runtime executes this kind of forest",
    ),
    Case(
        "no version", lambda root: write(root / "scale" / "config.pbtxt"), "scale: a model without a numbered version"
    ),
    Case(
        "no file",
        lambda root: write(triton(root) / "scale" / "1" / "x").parent,
        "scale/1: the model's file is not there",
    ),
    Case("a truncated file", lambda root: os.truncate(triton(root, 1) / "scale/1/model.onnx", 60), "not an ONNX file"),
    Case("a name that cannot be", lambda root: triton(root, 1, name="a b", config=""), "not a model name"),
    Case("not JSON", lambda root: write(root / "scale" / "model-settings.json", "{"), "not JSON"),
    Case("a list", lambda root: write(root / "scale" / "model-settings.json", "[]"), "not a JSON object; found list"),
    Case("no implementation", described(implementation=None), "no runtime executes what this implementation does"),
    Case("an own class", described(implementation="mine.Model"), "found mine.Model"),
    Case("a batch in words", described(max_batch_size="many"), "scale/model-settings.json: max_batch_size"),
    Case("a file elsewhere", described(parameters={"uri": "s3://models/iris"}), "expected a path on this machine"),
    Case("a file that is not there", described(parameters={"uri": "./lost.onnx"}), "found ./lost.onnx"),
    Case("a version with a slash", described(parameters={"version": "a/b"}), "not a version name"),
    Case(
        "one version twice",
        lambda root: [described(name="m", parameters={"version": "1"})(root / each) for each in "ab"],
        "several folders have this model in the same version; found a/scale, b/scale",
    ),
    Case("a model without a name", served('model_config_list { config { base_path: "x" } }'), "a name and a base path"),
    Case("no base path", served('model_config_list { config { name: "x" } }'), "a name and a base path"),
    Case(
        "a base path that is not there",
        served('model_config_list { config { name: "x" base_path: "/away/x" } }'),
        "models.config:1:40: there is no such folder; found /away/x",
    ),
    Case(
        "another platform",
        served('model_config_list { config { name: "x" base_path: "x" model_platform: "caffe" } }'),
        "no runtime executes this platform; found caffe",
    ),
    Case(
        "a base path of nothing", lambda root: write(root / "scale" / "x"), "without a numbered version", "tensorflow"
    ),
    Case("no SavedModel", lambda root: write(root / "m/1/x"), "m/1: not a SavedModel; found x", "tensorflow"),
    Case("an export without its version", lambda root: export(root), "a registered model without a version"),
    Case("a run that is not there", lambda root: export(root, version("1")), "its files are not there"),
    Case(
        "an export of another form",
        lambda root: write(root / "model.json", {"mlflow": {"registered_model": {"versions": 3}}}),
        "not what it should be",
    ),
    Case(
        "a registry that cannot be read",
        lambda root: write(root / "mlruns/models/wine/meta.yaml", "name: [").parent.joinpath("version-1").mkdir(),
        "mlruns/models/wine/meta.yaml: not what it should be",
    ),
    Case(
        "two files",
        lambda root: [write_model(root / f"m/1/{name}.onnx", 1.0) for name in "ab"],
        "not one model file",
        "folders",
    ),
    Case(
        "metrics in words",
        lambda root: (write_model(root / "m/1/a.onnx", 1.0), write(root / "m/1/metrics.json", {"rmse": "good"})),
        "m/1/metrics.json: not metrics",
    ),
    Case("no version folder", lambda root: write(root / "m" / "model.onnx"), "a model without a version", "folders"),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_a_model_that_cannot_be_taken_is_refused_with_the_reason(world: World, root: Path, case: Case) -> None:
    """The report names the place and the fault; the registry is as it was."""
    case.make(root)
    report = take(world, root, kind=case.kind)  # type: ignore[arg-type]  # the table has the names as texts
    (model,) = report.models
    said = " | ".join([model.refused, *(each.reason for each in model.versions if each.outcome == "refused")])
    assert case.says in said
    assert not report.whole
    assert world.models.list() == []
    assert world.actions() == []


def _nothing(root: Path) -> Path:
    root.rmdir()
    return root


NONE = [
    Case("nothing there", lambda root: root.rmdir(), "not a model repository; found nothing"),
    Case("a file", lambda root: write(_nothing(root)), "not a model repository; found a file"),
    Case("an empty folder", lambda root: None, "not a model repository that is known; found an empty folder"),
    Case("other files", lambda root: write(root / "notes.txt"), "found notes.txt; expected a Triton model repository"),
    Case("one Triton model", lambda root: write(root / "config.pbtxt"), "found one model of a Triton repository"),
    Case("one MLflow model", lambda root: write(root / "MLmodel"), "kaname model add NAME DIR"),
    Case(
        "two kinds",
        lambda root: (triton(root, 1), settings(root, "other")),
        "mlserver (other/model-settings.json), triton (scale); expected --kind",
    ),
    Case("a configuration that is none", served("model_config_list {"), "models.config:1:20: a field was expected"),
]


@pytest.mark.parametrize("case", NONE, ids=lambda case: case.name)
def test_a_folder_that_is_no_repository_is_an_error(world: World, root: Path, case: Case) -> None:
    """None of the kinds, or several: the error says what was found and what is accepted."""
    case.make(root)
    with pytest.raises(InvalidInput) as found:
        take(world, root)
    assert case.says in str(found.value)
    assert world.actions() == []


def test_one_bad_model_does_not_stop_the_others(world: World, root: Path) -> None:
    """Every model is on its own: one that is refused, one with a bad version, one that is good."""
    triton(root, 1, 2, name="good", config="version_policy { all {} }")
    triton(root, 1, 2, name="mixed", config="version_policy { all {} }")
    os.truncate(root / "mixed" / "2" / "model.onnx", 40)
    triton(root, 1, name="bad", config="{")
    report = take(world, root)
    assert {model.model: model.answers for model in report.models} == {"bad": None, "good": "2", "mixed": "1"}
    assert [model.name for model in world.models.list()] == ["good", "mixed"]
    assert not report.whole
