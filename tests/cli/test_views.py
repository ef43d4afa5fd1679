"""`kaname check` and the views of a project."""

from __future__ import annotations

from pathlib import Path

from kaname.cli.check import problems_of
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
