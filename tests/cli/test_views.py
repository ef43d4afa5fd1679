"""`kaname check` and the views of a project."""

from __future__ import annotations

from pathlib import Path

from kaname.cli.check import problems_of
from tests.cli.kaname import kaname
from tests.features.views.declared import VIEW, project


def test_a_model_that_names_no_view_is_told(tmp_path: Path) -> None:
    """With the place, whether there are views or none; faults of views come first."""
    (tmp_path / "kaname.yaml").write_text("name: shop\n")
    (tmp_path / "models").mkdir()
    model = tmp_path / "models" / "buys.yaml"
    model.write_text("name: buys\nversions: []\nconfig:\n  view: byer\n")
    [problem] = problems_of(tmp_path, {})
    assert (problem.where, problem.message, problem.found) == ("models/buys.yaml:4:9", "no such view", "byer")
    project(tmp_path, VIEW)
    assert [each.where for each in problems_of(tmp_path, {})] == ["models/buys.yaml:4:9"]
    model.write_text("name: buys\nversions: []\nconfig: {view: buyer}\n")
    assert problems_of(tmp_path, {}) == []
    project(tmp_path, VIEW.replace("relation: user", "relation: usr"))
    assert [each.where for each in problems_of(tmp_path, {})] == ["features/buyer.view.yaml:4:15"]


def test_a_view_is_looked_for_in_the_project(tmp_path: Path) -> None:
    """A misspelt one is said, with what there is, before a model is imported."""
    (tmp_path / "kaname.yaml").write_text("name: shop\n")
    project(tmp_path, VIEW)
    ran = kaname("model", "add", "buys", tmp_path / "missing.onnx", "--view", "byer", cwd=tmp_path)
    assert (ran.code, "no such view" in ran.err, "buyer" in ran.err) == (1, True, True)
    ran = kaname("model", "add", "buys", tmp_path / "missing.onnx", "--view", "buyer", cwd=tmp_path)
    assert "missing.onnx" in ran.err
