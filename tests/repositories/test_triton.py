"""Triton repositories: what a configuration means here, and what has no equal."""

from __future__ import annotations

from pathlib import Path

import pytest

from kaname.repositories import triton as reader
from kaname.repositories.types import FoundModel
from tests.models.world import World, write_model
from tests.repositories.building import one, outcomes, reasons, take, triton, write


def read(root: Path) -> FoundModel:
    """The only model of a repository."""
    (model,) = reader.read(root).models
    return model


def offers(model: FoundModel) -> dict[str, str]:
    """What the repository says of each version."""
    return {version.version: version.offer for version in model.versions}


def test_a_model_without_a_configuration_has_the_usual_file(root: Path) -> None:
    """Triton completes a missing `config.pbtxt`; so do we, with nothing made up."""
    model = read(triton(root, 3, config=""))
    assert (model.name, model.refused, model.config) == ("scale", "", {})
    assert model.versions[0].path == root / "scale" / "3" / "model.onnx"
    assert model.remarks == ()


@pytest.mark.parametrize(
    ("policy", "chosen"),
    [
        ("", {"10"}),
        ("version_policy {}", {"10"}),
        ("version_policy { latest { num_versions: 2 } }", {"10", "9"}),
        ("version_policy: { latest {} }", {"10"}),
        ("version_policy { all {} }", {"1", "9", "10"}),
        ("version_policy { specific { versions: [1, 9, 77] } }", {"1", "9"}),
    ],
)
def test_the_version_policy_chooses(root: Path, policy: str, chosen: set[str]) -> None:
    """Numbers are compared as numbers: 10 is newer than 9; the rest is left out and said to be."""
    model = read(triton(root, 1, 9, 10, config=policy))
    assert {version for version, offer in offers(model).items() if offer == "offered"} == chosen
    assert {version.reason for version in model.versions if version.offer == "skipped"} <= {
        "outside the version policy"
    }
    assert model.preferred == ("10", "9", "1")


@pytest.mark.parametrize(
    ("says", "config"),
    [
        ("max_batch_size: 8", {"max_batch_rows": 8}),
        ("max_batch_size: 0", {"max_batch_rows": 1}),
        ("dynamic_batching { max_queue_delay_microseconds: 1500 }", {"max_delay_ms": 1.5}),
        ("dynamic_batching { }", {}),
        ("response_cache { enable: true }", {"cache.enabled": True}),
        ("response_cache { enable: false }", {}),
        ("dynamic_batching { default_queue_policy { max_queue_size: 7 } }", {"limits.queue": 7}),
        ("dynamic_batching { default_queue_policy { default_timeout_microseconds: 2500000 } }", {"timeout_ms": 2500}),
        ("dynamic_batching { default_queue_policy { default_timeout_microseconds: 10 } }", {"timeout_ms": 1}),
        (
            "dynamic_batching { default_queue_policy { timeout_action: DELAY default_timeout_microseconds: 1000 } }",
            {},
        ),
    ],
)
def test_settings_that_have_an_equal(root: Path, says: str, config: dict[str, object]) -> None:
    """Batch size, delay, queue and deadline become settings of the model."""
    assert read(triton(root, 1, config=says)).config == config


def test_what_has_no_equal_is_named_with_its_place_and_the_reason(root: Path) -> None:
    """No field, file or folder is dropped in silence, whether it is known or not."""
    says = """
instance_group [ { count: 2 kind: KIND_GPU } ]
dynamic_batching { preferred_batch_size: [ 4 ] priority_levels: 2 }
optimization { graph { level: 1 } }
parameters: { key: "intra_op_thread_count" value: { string_value: "4" } }
output [ { name: "y" label_filename: "labels.txt" dims: [ 1 ] made_up: 1 } ]
quantum_mode: true
"""
    triton(root, 1, config=says)
    for name in ("scale/labels.txt", "scale/notes.md", "scale/draft/x", "stray.txt"):
        write(root / name)
    found = reader.read(root)
    (model,) = found.models
    said = {remark.what: (remark.where, remark.reason) for remark in model.remarks}
    assert {what: where for what, (where, _) in said.items()} == {
        "instance_group": "scale/config.pbtxt:2:1",
        "dynamic_batching.preferred_batch_size": "scale/config.pbtxt:3:20",
        "dynamic_batching.priority_levels": "scale/config.pbtxt:3:48",
        "optimization": "scale/config.pbtxt:4:1",
        "parameters.intra_op_thread_count": "scale/config.pbtxt:5:15",
        "output.made_up": "scale/config.pbtxt:6:63",
        "quantum_mode": "scale/config.pbtxt:7:1",
        "notes.md": "scale/notes.md",
        "draft": "scale/draft",
    }
    assert said["quantum_mode"][1] == "not a field that is known"
    assert "server.workers" in said["instance_group"][1]
    assert [remark.what for remark in found.remarks] == ["stray.txt"]


@pytest.mark.parametrize(
    ("says", "file"),
    [
        ('backend: "onnxruntime"', "model.onnx"),
        ('platform: "pytorch_libtorch"', "model.pt"),
        ('backend: "pytorch"', "model.pt"),
        ('platform: "tensorflow_savedmodel"', "model.savedmodel"),
        ('backend: "onnxruntime" default_model_filename: "best.onnx"', "best.onnx"),
        ('backend: "fil" parameters { key: "model_type" value { string_value: "xgboost_json" } }', "xgboost.json"),
        ('backend: "fil" parameters { key: "model_type" value { string_value: "xgboost_ubj" } }', "xgboost.ubj"),
        ('backend: "fil" parameters { key: "model_type" value { string_value: "lightgbm" } }', "model.txt"),
        ("", "model.savedmodel"),
    ],
)
def test_each_backend_has_its_file(root: Path, says: str, file: str) -> None:
    """The file that a backend looks for, or that the configuration names, is what is imported."""
    write(root / "m" / "config.pbtxt", says)
    write(root / "m" / "1" / file)
    write(root / "m" / "1" / "other.bin")
    model = read(root)
    assert model.refused == ""
    assert model.versions[0].path == root / "m" / "1" / file


def test_a_file_of_labels_names_the_classes(root: Path, world: World) -> None:
    """`label_filename` goes to the import of every version; a changed file is a changed version."""
    triton(root, 1, config='output { name: "y" label_filename: "labels.txt" }')
    write(root / "scale" / "labels.txt", "cat \nbig dog\n\n")
    assert outcomes(one(take(world, root))) == {"1": "taken"}
    assert world.requests[0].labels == {"y": ("cat", "big dog")}
    write(root / "scale" / "labels.txt", "dog\n")
    assert outcomes(one(take(world, root))) == {"1": "refused"}


def test_a_graph_with_its_weights_beside_it(root: Path) -> None:
    """`model.onnx` may be a folder that holds the graph and the files of its weights."""
    inner = write_model(root / "m" / "1" / "model.onnx" / "model.onnx", 2.0)
    assert read(root).versions[0].path == inner


def test_a_declared_output_that_the_model_lacks_is_said(world: World, root: Path) -> None:
    """What the configuration promises beyond the model is found by comparing it with the imported signature."""
    says = 'input { name: "x" data_type: TYPE_STRING } output [ { name: "y" data_type: TYPE_FP32 }, { name: "z" } ]'
    model = one(take(world, triton(root, 1, config=says)))
    assert outcomes(model) == {"1": "taken"}
    assert reasons(model)["x"] == "the model itself says FP32, not BYTES"
    assert "no such input or output" in reasons(model)["z"]
    assert "y" not in reasons(model)
