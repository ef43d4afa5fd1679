"""Taking over once more: only what changed in the repository changes here."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from kaname.models.importing.types import Imported, ImportRequest
from tests.models.world import World, factor_of, write_model
from tests.repositories.building import TRITON, one, outcomes, reasons, take, triton, write

ALL = "version_policy { all {} }\n"


def test_a_repository_becomes_models_in_the_journal(world: World, root: Path) -> None:
    """Versions, settings and what answers: each change is a journal entry of who asked."""
    report = take(world, triton(root, 1, 2, config=TRITON + ALL))
    assert (report.kind, report.whole, one(report).answers) == ("triton", True, "2")
    assert world.actions() == [
        ("model.create", "scale"),
        ("version.add", "scale/1"),
        ("version.add", "scale/2"),
        ("model.configure", "scale"),
        ("model.promote", "scale"),
    ]
    assert {change.who for change in world.models.changes()} == {"test"}
    assert world.models.get("scale").config.max_batch_rows == 8
    assert factor_of(world.models, world.artefacts, "scale", "2") == 2.0


def test_a_second_time_changes_nothing(world: World, root: Path) -> None:
    """No version is imported again, nothing enters the journal, and the report says that all is there."""
    triton(root, 1, 2, config=TRITON + ALL)
    take(world, root)
    before, imports = world.models.seq(), len(world.requests)
    again = take(world, root)
    assert (world.models.seq(), len(world.requests)) == (before, imports)
    assert outcomes(one(again)) == {"1": "there", "2": "there"}
    assert (again.whole, one(again).changes) == (True, ())


def test_a_changed_repository_brings_only_what_is_new(world: World, root: Path) -> None:
    """A new version is imported alone and answers; a changed setting is changed."""
    take(world, triton(root, 1, config=TRITON))
    triton(root, 2, config=TRITON.replace("8", "16"))
    second = one(take(world, root))
    assert outcomes(second) == {"1": "skipped", "2": "taken"}
    assert second.changes == ("configure scale max_batch_rows=16", "promote scale/2")
    assert len(world.requests) == 2
    assert world.models.get("scale").previous == "1"


def test_what_people_changed_stands(world: World, root: Path) -> None:
    """A rollback and a setting made here outlive another import, until the repository itself changes them."""
    triton(root, 1, 2, config=TRITON + ALL)
    take(world, root)
    world.models.rollback("scale", who="me") if world.models.get("scale").previous else world.models.promote(
        "scale", "1", who="me"
    )
    world.models.override("scale", {"max_batch_rows": 2}, who="me")
    again = one(take(world, root))
    assert (again.answers, again.changes) == ("1", ())
    assert any("promoted is 1, declared 2" in each for each in again.drift)
    assert any("max_batch_rows is 2, declared 8" in each for each in again.drift)
    triton(root, 3, config=TRITON + ALL)
    assert one(take(world, root)).answers == "3"
    assert world.models.get("scale").config.max_batch_rows == 2


def test_files_that_changed_under_a_version_are_refused(world: World, root: Path) -> None:
    """Versions never change: the one that was taken goes on answering, and the report says what to do."""
    take(world, triton(root, 1, 2, config=ALL))
    write_model(root / "scale" / "2" / "model.onnx", 5.0)
    model = one(take(world, root))
    assert outcomes(model) == {"1": "there", "2": "refused"}
    assert "give the new content a new version" in model.versions[1].reason
    assert (model.answers, model.changes) == ("2", ())
    assert factor_of(world.models, world.artefacts, "scale", "2") == 2.0
    (root / "scale" / "2" / "model.onnx").unlink()
    assert (one(take(world, root)).answers, one(take(world, root)).changes) == ("2", ())


def test_a_version_deleted_here_stays_deleted(world: World, root: Path) -> None:
    """What a person deleted does not come back by importing again."""
    take(world, triton(root, 1, 2, config=ALL))
    world.models.delete("scale", "1", who="me")
    model = one(take(world, root))
    assert outcomes(model) == {"1": "skipped", "2": "there"}
    assert [version.version for version in world.models.versions("scale")] == ["2"]


def test_a_bad_new_version_leaves_the_old_one_answering(world: World, root: Path) -> None:
    """The newest cannot be read: the one before answers on, and nothing was half applied."""
    take(world, triton(root, 1))
    write(root / "scale" / "2" / "model.onnx", "not a model")
    model = one(take(world, root))
    assert (outcomes(model), model.answers) == ({"1": "skipped", "2": "refused"}, "1")
    shutil.rmtree(root / "scale" / "2")
    triton(root, 2)
    assert one(take(world, root)).answers == "2"


def test_versions_that_are_gone_stay_unless_they_are_to_be_withdrawn(world: World, root: Path) -> None:
    """An import archives nothing; where the repository is the authority it does, and never deletes."""
    take(world, triton(root, 1, 2, 3, config=ALL))
    shutil.rmtree(root / "scale" / "1")
    assert outcomes(one(take(world, root)))["1"] == "gone"
    assert world.models.version("scale", "1").status == "training"
    withdrawn = one(take(world, root, withdraw=True))
    assert withdrawn.changes == ("archive scale/1",)
    shutil.rmtree(root / "scale" / "3")
    assert one(take(world, root, withdraw=True)).changes == ("promote scale/2", "archive scale/3")
    assert [version.status for version in world.models.versions("scale")] == ["archived", "deployed", "archived"]


def test_a_model_that_is_gone_and_comes_back(world: World, root: Path) -> None:
    """Withdrawn it is unloaded, with its versions kept; back in the repository it is loaded again."""
    take(world, triton(triton(root, 1), 1, name="other", config=""))
    away = (root / "scale").rename(root.parent / "scale")
    kept = {model.model: model for model in take(world, root).models}
    assert kept["scale"].refused == "no longer in the repository"
    assert world.models.get("scale").loaded
    gone = {model.model: model for model in take(world, root, withdraw=True).models}
    assert gone["scale"].changes == ("unload scale",)
    assert not world.models.get("scale").loaded
    away.rename(root / "scale")
    back = {model.model: model for model in take(world, root, withdraw=True).models}
    assert back["scale"].changes == ("load scale",)
    assert world.models.get("scale").promoted == "1"


def test_a_model_that_cannot_be_read_for_now_is_not_gone(world: World, root: Path) -> None:
    """A configuration with a fault withdraws nothing."""
    take(world, triton(root, 1))
    write(root / "scale" / "config.pbtxt", "{")
    model = one(take(world, root, withdraw=True))
    assert "config.pbtxt:1:1" in model.refused
    assert (world.models.get("scale").loaded, world.models.get("scale").promoted) == (True, "1")
    write(root / "scale" / "config.pbtxt", TRITON)
    assert outcomes(one(take(world, root, withdraw=True))) == {"1": "there"}


def test_a_model_of_that_name_with_other_content_is_a_conflict(world: World, root: Path) -> None:
    """A version that somebody added by hand is not replaced."""
    world.add("scale", 7.0, version="1")
    model = one(take(world, triton(root, 1)))
    assert "the version exists with other content" in model.versions[0].reason
    assert factor_of(world.models, world.artefacts, "scale", "1") == 7.0


def test_a_dry_run_only_looks(world: World, root: Path) -> None:
    """It says what could be taken, what it would mean and what could not, and leaves no trace."""
    triton(root, 1, 2, config=TRITON + "instance_group { count: 1 }")
    model = one(take(world, root, dry_run=True))
    assert outcomes(model) == {"1": "skipped", "2": "possible"}
    assert model.config == {"max_batch_rows": 8}
    assert "instance_group" in reasons(model)
    assert (world.actions(), world.requests) == ([], [])
    take(world, root)
    assert outcomes(one(take(world, root, dry_run=True)))["2"] == "there"


def test_one_model_of_many(world: World, root: Path) -> None:
    """`only` takes what it names, and knows no others; nothing else is called gone."""
    triton(triton(root, 1), 1, name="other", config="")
    report = take(world, root, only=("other",))
    assert [model.model for model in report.models] == ["other"]
    assert [model.name for model in world.models.list()] == ["other"]


def test_a_sample_and_metrics_beside_the_model(world: World, root: Path) -> None:
    """A plain repository may give a version's figures and rows that it answers."""
    write_model(root / "scale" / "spring" / "any.onnx", 3.0)
    write(root / "scale" / "spring" / "metrics.json", {"rmse": 0.5})
    sample = write(root / "scale" / "spring" / "sample.json", "[[1.0]]")
    model = one(take(world, root))
    assert (outcomes(model), model.answers) == ({"spring": "taken"}, "spring")
    assert world.requests[0].sample == sample
    assert world.models.version("scale", "spring").metrics == {"rmse": 0.5}


def test_an_import_that_was_interrupted_goes_on_where_it_was(world: World, root: Path) -> None:
    """The versions that had come are not imported again, and what answers is settled in the end."""
    triton(root, 1, 2, config=ALL)
    importing = world.models._importer

    def ended(request: ImportRequest, workdir: Path) -> Imported:
        if request.path.parent.name == "2":
            raise KeyboardInterrupt
        return importing(request, workdir)

    world.models._importer = ended
    with pytest.raises(KeyboardInterrupt):
        take(world, root)
    assert world.models.get("scale").promoted is None
    world.models._importer = importing
    model = one(take(world, root))
    assert (outcomes(model), model.answers) == ({"1": "there", "2": "taken"}, "2")
    assert [request.path.parent.name for request in world.requests] == ["1", "2"]
