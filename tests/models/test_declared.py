"""Declared models: what a file may say, what applying does with it, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kaname.errors import Conflict, InvalidInput
from kaname.models.reconcile import Declarations
from kaname.project import read, read_yaml
from tests.models.world import World, factor_of, write_model

DELAY = """\
name: delay
versions:
  - version: "1"
    path: artefacts/one.onnx
    metrics: {rmse: 41.2}
    tags: [first]
promoted: "1"
config: {limits: {queue: 7}, record: {redact: [age]}}
"""
SECOND = """  - version: "2"
    path: artefacts/two.onnx
    tolerance: 0.5
    max_share: 0.25
promoted: "2"
"""


class Project:
    """A project folder with declarations, and the registry that they are applied to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.world = World(folder)
        self.models = self.world.models
        (folder / "models").mkdir()
        write_model(folder / "artefacts" / "one.onnx", 1.0)
        write_model(folder / "artefacts" / "two.onnx", 2.0)
        self.declarations = Declarations(
            self.models,
            self.world.database,
            self.world.clock,
            folder,
            read_yaml,
            lambda path, at: str(read(path).place(at)),
        )

    def write(self, text: str, file: str = "delay.yaml") -> None:
        (self.folder / "models" / file).write_text(text)

    def apply(self) -> list[str]:
        return [str(step) for step in self.declarations.apply(who="file")[0].steps]

    def drift(self) -> list[str]:
        return [str(drift) for drift in self.declarations.plan().drift]


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    made = Project(tmp_path)
    yield made
    made.world.close()


def test_applying_makes_the_file_so_once(project: Project) -> None:
    """The plan shows the steps, applying makes them, a second time there is nothing to do."""
    project.write(DELAY)
    assert [str(step) for step in project.declarations.plan().steps] == [
        "add delay/1 +first",
        'configure delay limits.queue=7 record.redact=["age"]',
        "promote delay/1",
    ]
    assert project.models.seq() == 0
    plan, notes = project.declarations.apply(who="file")
    assert (len(plan.steps), notes) == (3, ("delay/1: one input",))
    version = project.models.version("delay", "1")
    assert (version.metrics, version.tags, version.status) == ({"rmse": 41.2}, ("first",), "deployed")
    assert project.models.overrides("delay") == {"limits.queue": 7, "record.redact": ["age"]}
    seq = project.models.seq()
    assert (project.apply(), project.drift(), project.models.seq()) == ([], [], seq)


def test_a_new_version_in_the_file_is_imported_and_promoted(project: Project) -> None:
    """What the file adds arrives; the old version stays for rollback."""
    project.write(DELAY)
    project.apply()
    project.write(DELAY.replace('promoted: "1"\n', SECOND))
    assert project.apply() == ["add delay/2", "promote delay/2"]
    assert project.models.get("delay").previous == "1"
    assert factor_of(project.models, project.world.artefacts, "delay", "2") == 2.0


def test_a_rollback_at_night_survives_the_restart_in_the_morning(project: Project) -> None:
    """What was changed by API stands and is reported, until the file itself changes."""
    project.write(DELAY.replace('promoted: "1"\n', SECOND))
    project.apply()
    project.models.promote("delay", "1", who="night")
    project.models.override("delay", {"limits.queue": 9}, who="night")
    assert project.apply() == []
    assert project.models.get("delay").promoted == "1"
    assert project.drift() == ["delay: limits.queue is 9, declared 7", "delay: promoted is 1, declared 2"]
    project.write(DELAY.replace('promoted: "1"\n', SECOND).replace("queue: 7", "queue: 8"))
    assert project.apply() == ["configure delay limits.queue=8"]
    assert project.models.get("delay").promoted == "1"


def test_a_changed_file_under_an_applied_version_is_refused_with_its_place(project: Project) -> None:
    """Nothing at all is applied, not even the other model's part."""
    project.write(DELAY)
    project.apply()
    write_model(project.folder / "artefacts" / "one.onnx", 5.0)
    project.write(DELAY.replace("delay", "other"), "other.yaml")
    with pytest.raises(Conflict, match=r"models/delay.yaml:3:3: delay/1: .*versions never change"):
        project.apply()
    assert [model.name for model in project.models.list()] == ["delay"]


def test_a_failing_import_changes_no_answer_and_the_next_apply_goes_on(project: Project) -> None:
    """All imports come before any promotion; what was imported is found again."""
    project.write(DELAY)
    project.apply()
    project.write(DELAY.replace('promoted: "1"\n', SECOND))
    (project.folder / "artefacts" / "bad.onnx").write_bytes(b"?")
    project.write("name: z\nversions: [{version: '1', path: artefacts/bad.onnx}]\n", "z.yaml")
    with pytest.raises(InvalidInput, match="not an ONNX file"):
        project.apply()
    assert project.models.get("delay").promoted == "1"
    write_model(project.folder / "artefacts" / "bad.onnx", 3.0)
    assert "promote delay/2" in project.apply()
    assert (project.models.get("delay").promoted, project.models.get("z").promoted) == ("2", "1")
    assert project.apply() == []


def test_a_removed_file_unloads_its_model_and_a_returning_one_loads_it(project: Project) -> None:
    """Nothing is deleted by removing a declaration."""
    project.write(DELAY)
    project.apply()
    (project.folder / "models" / "delay.yaml").unlink()
    assert project.apply() == ["unload delay"]
    assert not project.models.get("delay").loaded
    assert project.apply() == []
    project.write(DELAY)
    assert "load delay" in project.apply()
    assert project.models.get("delay").loaded


def test_a_model_added_by_hand_is_adopted_when_its_content_is_the_same(project: Project) -> None:
    """Declaring what exists imports nothing new; with other content it is a conflict."""
    project.world.add("delay", 1.0, version="1")
    project.write(DELAY)
    project.apply()
    assert project.models.version("delay", "1").tags == ("first",)
    project.world.add("late", 9.0, version="1")
    project.write(DELAY.replace("delay", "late"), "late.yaml")
    with pytest.raises(Conflict, match="exists with other content"):
        project.apply()


def test_what_may_differ_reaches_the_import_and_changes_no_version(project: Project) -> None:
    """`tolerance` and `max_share` count when a version is imported; another value later is no other version."""
    project.write(DELAY.replace('promoted: "1"\n', SECOND))
    project.apply()
    assert [(each.tolerance, each.max_share) for each in project.world.requests] == [(1e-4, 0.001), (0.5, 0.25)]
    project.write(DELAY.replace('promoted: "1"\n', SECOND.replace("0.5", "0.1")))
    assert project.apply() == []
    project.write(DELAY.replace('promoted: "1"\n', SECOND.replace("0.25", "2")))
    with pytest.raises(InvalidInput, match="<= 1"):
        project.apply()


def test_each_import_is_announced(project: Project) -> None:
    """Imports take seconds: whoever applies can say what goes on, before it does."""
    heard: list[tuple[str, int]] = []

    @contextmanager
    def hear(what: str) -> Iterator[None]:
        heard.append((what, len(project.world.requests)))
        yield

    project.write(DELAY.replace('promoted: "1"\n', SECOND))
    project.declarations.apply(who="file", doing=hear)
    assert heard == [
        ("importing delay/1: converting, comparing, measuring", 0),
        ("importing delay/2: converting, comparing, measuring", 1),
    ]


def test_a_project_without_declarations_has_nothing_to_apply(project: Project) -> None:
    """Models added by hand are none of the declarations' business."""
    (project.folder / "models").rmdir()
    project.world.add("free", 1.0)
    assert (project.apply(), project.drift()) == ([], [])


TWICE = DELAY.replace('promoted: "1"\n', '  - {version: "1", path: artefacts/two.onnx}\n')
FAULTS = {
    "a field that does not exist": (DELAY.replace("promoted", "promotd"), ":7:1: "),
    "a number where text is expected": (DELAY.replace('"1"\n    path', "1\n    path"), ":3:14: "),
    "a version that is not declared": (DELAY.replace('promoted: "1"', 'promoted: "4"'), ":7:11: .*expected one of"),
    "the same version twice": (TWICE, ":7:15: .*has that name"),
    "a path to nothing": (DELAY.replace("one.onnx", "none.onnx"), ":4:11: .*no such file.*artefacts/none.onnx"),
    "a sample that is not there": (
        DELAY.replace("    metrics", "    sample: s.json\n    metrics"), ":5:13: .*no such file",
    ),
    "a setting that does not exist": (DELAY.replace("queue", "quue"), ":8:19: "),
    "a setting out of range": (DELAY.replace("queue: 7", "queue: -7"), ":8:26: "),
    "a bad model name": (DELAY.replace("name: delay", "name: a/b"), ":1:7: .*not a model name"),
    "a bad tag": (DELAY.replace("[first]", "[a b]"), ":6:12: .*not a tag name"),
    "not YAML": (DELAY + "  - [", ":9:"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_reported_with_its_place_and_nothing_is_applied(project: Project, fault: str) -> None:
    """File, line and column come first; the registry stays empty although another file is good."""
    text, message = FAULTS[fault]
    project.write(DELAY.replace("delay", "fine"), "a.yaml")
    project.write(text)
    with pytest.raises(InvalidInput, match=f"models/delay.yaml{message}"):
        project.apply()
    assert project.models.seq() == 0


def test_two_files_may_not_declare_one_model(project: Project) -> None:
    """The error names both files."""
    project.write(DELAY, "a.yaml")
    project.write(DELAY, "b.yaml")
    with pytest.raises(InvalidInput, match=r"models/b.yaml:1:7: .*a name that a.yaml does not use"):
        project.apply()
