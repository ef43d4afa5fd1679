"""Views follow their files and their code while a program reads them; bad files harm nobody else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from kaname.clock import SystemClock
from kaname.errors import CorruptData, InvalidInput, KanameError
from kaname.features.files import stamp_of
from kaname.features.opened import Features
from kaname.features.schemas import load as load_schemas
from kaname.features.views.loading import examine
from kaname.project import Files
from kaname.storage.cells.lmdb.store import LmdbCells
from tests.features.views.declared import project
from tests.processes import until

VIEW = """
name: {name}
entity: [user_id]
reads: [{{relation: user, features: {{age: {{default: 30}}}}}}]
derived:
  twice: {{function: "code/columns.py:twice"}}
"""
GOOD = {name: VIEW.format(name=name) for name in ("one", "two")}
CODE = "def twice(age):\n    return age * 2\n"
ENTITY = {"user_id": "u1"}


@pytest.fixture
def features(tmp_path: Path) -> Iterator[Features]:
    """The relations and views of a project with two views and a function."""
    root, files = project(tmp_path, GOOD), Files(tmp_path)
    (root / "code" / "columns.py").write_text(CODE)
    (root / "cells").mkdir()
    made = Features(
        lambda: load_schemas(root, files.text),
        lambda _: LmdbCells(root / "cells", SystemClock()),
        SystemClock(),
        lambda schemas: examine(root, schemas, files.examined),
        stamp=lambda: stamp_of(root),
    )
    yield made
    made.close()


def write(path: Path, text: str) -> None:
    """Put another file in the place of the one that is there."""
    fresh = path.with_suffix(".fresh")
    fresh.write_text(text)
    os.utime(fresh, ns=(1, 1))  # what compares times to the second sees no change
    fresh.replace(path)


def test_changed_code_computes_from_then_on(features: Features, tmp_path: Path) -> None:
    """Of the same length and second, too; code that cannot be run changes nothing, and a good file is taken then."""
    view, path = features.view("one"), tmp_path / "code" / "columns.py"
    assert view.read(ENTITY)["twice"] == 60.0
    write(path, CODE.replace("* 2", "* 3"))
    until(lambda: view.read(ENTITY)["twice"] == 90.0, "the code is followed")
    with capture_logs() as logs:
        write(path, "import nothing_of_that_name\n" + CODE)
        until(lambda: logs, "it is said")
    assert {each["view"] for each in logs} == {"one"}
    assert "No module named" in logs[0]["error"]
    assert view.read(ENTITY)["twice"] == 90.0
    with pytest.raises(CorruptData, match="No module named"):
        features.view("two")
    write(path, CODE)
    until(lambda: view.read(ENTITY)["twice"] == 60.0, "the good file is taken")
    assert features.view("two").read(ENTITY)["twice"] == 60.0


def test_a_bad_file_keeps_no_good_view_from_opening(features: Features, tmp_path: Path) -> None:
    """It is told once in the log and to who uses it, and is used as soon as it is good."""
    path = tmp_path / "features" / "two.view.yaml"
    write(path, GOOD["two"].replace("age:", "aged:"))
    with capture_logs() as logs:
        assert features.view("one").read(ENTITY)["age"] == 30
        for _ in range(2):
            with pytest.raises(InvalidInput, match="no such attribute of `user`"):
                features.view("two")
        assert list(features.views()) == ["one"]
        assert [each["view"] for each in logs] == ["two"]
        write(path, "name: [")
        with pytest.raises(KanameError, match=r"two\.view\.yaml"):
            features.view("two")
    write(path, GOOD["two"])
    assert features.view("two").read(ENTITY)["age"] == 30


def test_a_bad_file_keeps_no_other_change_from_being_followed(features: Features, tmp_path: Path) -> None:
    """The view that it was stays as it is."""
    one, two = features.view("one"), features.view("two")
    write(tmp_path / "features" / "two.view.yaml", GOOD["two"].replace("age:", "aged:"))
    write(tmp_path / "features" / "one.view.yaml", GOOD["one"].replace("30", "31"))
    until(lambda: one.read(ENTITY)["age"] == 31, "the other change is followed")
    assert two.read(ENTITY)["age"] == 30
    write(tmp_path / "features" / "two.view.yaml", GOOD["two"].replace("30", "32"))
    until(lambda: two.read(ENTITY)["age"] == 32, "the good file is taken")
