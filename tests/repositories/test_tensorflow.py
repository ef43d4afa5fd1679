"""Base paths and `models.config` of TensorFlow Serving."""

from __future__ import annotations

from pathlib import Path

import pytest

from kaname.repositories import tensorflow as reader
from kaname.repositories.types import FoundModel
from tests.models.world import World, write_model
from tests.repositories.building import one, take, write


def base(folder: Path, *versions: int) -> Path:
    """A base path whose versions are what they are by name alone."""
    for version in versions:
        write(folder / str(version) / "saved_model.pb")
    return folder


def offered(model: FoundModel) -> set[str]:
    """The versions that are to be served."""
    return {version.version for version in model.versions if version.offer == "offered"}


def test_a_base_path_and_a_folder_of_them(root: Path) -> None:
    """One base path is one model named after its folder; a folder of base paths is one model each."""
    base(root, 1, 2)
    (single,) = reader.read(root).models
    assert (single.name, offered(single), single.versions[1].path) == ("repository", {"2"}, root / "2")
    many = root.parent / "many"
    base(many / "a", 1)
    base(many / "b", 3)
    write(many / "README")
    found = reader.read(many)
    assert [(model.name, offered(model)) for model in found.models] == [("a", {"1"}), ("b", {"3"})]
    assert [remark.what for remark in found.remarks] == ["README"]


def test_a_lite_model_is_a_version_too(root: Path) -> None:
    """`model.tflite` is handed on as the file that it is."""
    write(root / "1" / "model.tflite")
    (model,) = reader.read(root).models
    assert model.versions[0].path == root / "1" / "model.tflite"


def test_the_configuration_file(root: Path) -> None:
    """Names, policies and labels come from `models.config`; a base path of another machine is looked for beside it."""
    base(root / "m" / "half", 41, 42, 43)
    write(root / "m" / "half" / "assets.txt")
    config = """
model_config_list {
  config {
    name: "half_plus_two"  base_path: "/models/m/half"  model_platform: "tensorflow"
    model_version_policy { specific { versions: 42 versions: 43 } }
    version_labels { key: "stable" value: 42 }
    version_labels { key: "canary" value: 43 }
    version_labels { key: "lost" value: 99 }
    version_labels { key: "no tag" value: 43 }
    logging_config { log_collector_config { type: "x" } }
  }
}
"""
    write(root / "models.config", config)
    (model,) = reader.read(root).models
    assert (model.name, offered(model)) == ("half_plus_two", {"42", "43"})
    assert {version.version: version.tags for version in model.versions} == {
        "41": (),
        "42": ("stable",),
        "43": ("canary",),
    }
    said = {remark.what: remark.where for remark in model.remarks}
    assert said == {
        "base_path": "models.config:4:28",
        "version_labels.lost": "models.config:6:5",
        "label no tag": "models.config:6:5",
        "model_config_list.config.logging_config": "models.config:10:5",
        "assets.txt": "m/half/assets.txt",
    }


@pytest.mark.parametrize("path", ["m/half", "file:///away/half", "/elsewhere/m/half"])
def test_a_base_path_is_found_however_it_is_written(root: Path, path: str) -> None:
    """Relative to the file, as a URL, or by the end of the path."""
    base(root / ("half" if "away" in path else "m/half"), 1)
    write(root / "models.config", f'model_config_list {{ config {{ name: "h" base_path: "{path}" }} }}')
    (model,) = reader.read(root).models
    assert (model.refused, offered(model)) == ("", {"1"})


def test_labels_move_with_the_configuration(world: World, root: Path) -> None:
    """Labels are tags of versions: one that moves is taken from a version and given to the other."""
    config = (
        'model_config_list {{ config {{ name: "h" base_path: "h" model_version_policy {{ all {{}} }} '
        'version_labels {{ key: "stable" value: {} }} }} }}'
    )
    for number in (1, 2):
        write_model(root / "h" / str(number) / "model.tflite", float(number))
    for stable, tags in ((1, [("stable",), ()]), (2, [(), ("stable",)])):
        write(root / "models.config", config.format(stable))
        assert one(take(world, root)).answers == "2"
        assert [version.tags for version in world.models.versions("h")] == tags
