"""LiteRT files become versions; whether they take several rows is found out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kaname.errors import CorruptData, InvalidInput
from kaname.models.importing.choose import again
from kaname.models.importing.types import Imported, ImportRequest
from kaname.models.importing.work import import_here
from tests.models.importing.test_process import version_of
from tests.models.importing.test_sklearn import asked, body_works
from tests.runtimes import lites


def of(path: Path, sample: Path | None = None) -> Imported:
    return import_here(ImportRequest(path=path, sample=sample), path.parent, isolated=True)


@pytest.mark.parametrize("varies", [True, False])
def test_rows_share_runs_whether_the_file_says_so_or_not(tmp_path: Path, varies: bool) -> None:
    """A file that declares one row but takes more is served as one that takes any number, with the same bits."""
    found = of(lites.dense(tmp_path / "m.tflite", varies=varies))
    assert (found.source, found.runtime) == ("litert", "litert")
    assert [s.shape for s in (*found.signature.inputs, *found.signature.outputs)] == [(-1, 4), (-1, 3)]
    assert (found.profile.splits, found.profile.exact) == (True, True)
    assert [p.name for p in found.files.iterdir()] == ["model.tflite"]
    (y,) = asked(found, [{"x": row} for row in lites.ROWS[:5].tolist()])
    assert y.shape == (5, 3)
    body_works(found)
    assert again(version_of(found), found.files)[1] == "litert"


def test_one_row_stays_one_row(tmp_path: Path) -> None:
    """A shape fixed inside the model: requests never share a run, and that is said."""
    found = of(lites.one_row(tmp_path / "m.tflite"))
    assert found.signature.inputs[0].shape == (1, 4)
    assert not found.profile.splits
    assert any("never share a run" in note for note in found.notes)
    body_works(found)


def test_quantised_numbers_are_explained(tmp_path: Path) -> None:
    """The note holds the formula; the sample that was given is the version's sample."""
    (tmp_path / "s.json").write_text(json.dumps({"features": {"x": [0, 1, 2, -4]}}))
    found = of(lites.quantised(tmp_path / "m.tflite"), tmp_path / "s.json")
    assert "y holds quantised numbers: value = 0.5 × (number − 3)" in found.notes
    assert found.sample == {"features": {"x": [0.0, 1.0, 2.0, -4.0]}}


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    """A sample of another shape, and bytes that are no model."""
    (tmp_path / "s.json").write_text("[[1, 2]]")
    with pytest.raises(InvalidInput, match="another shape"):
        of(lites.dense(tmp_path / "m.tflite"), tmp_path / "s.json")
    (tmp_path / "n.tflite").write_bytes(b"nonsense")
    with pytest.raises(CorruptData, match="LiteRT cannot load"):
        of(tmp_path / "n.tflite")
