"""The registry: what each change does, what it refuses, and the journal row it leaves."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import update

from kaname.errors import Conflict, InvalidInput, NotFound
from kaname.models.store import models
from kaname.settings import Limits, ModelConfig, Recording
from tests.models.world import World, factor_of


@pytest.fixture
def world(tmp_path: Path, url: str) -> Iterator[World]:
    opened = World(tmp_path, url=url)
    yield opened
    opened.close()


def test_the_first_version_answers_and_the_next_ones_wait(world: World) -> None:
    """Numbers count up; only the first promotes itself; each change is one journal row with who and when."""
    first, second = world.add("iris", 1), world.add("iris", 2)
    assert (first.version, first.status, second.version, second.status) == ("1", "deployed", "2", "training")
    model = world.models.get("iris")
    assert (model.promoted, model.previous, model.loaded) == ("1", None, True)
    assert world.actions() == [
        ("model.create", "iris"),
        ("version.add", "iris/1"),
        ("model.promote", "iris"),
        ("version.add", "iris/2"),
    ]
    change = world.models.changes(after=3)[0]
    assert (change.seq, change.who, change.detail["artefact"]) == (4, "test", second.artefact)
    assert abs(change.at_us - time.time_ns() // 1000) < 60_000_000
    assert world.models.seq() == 4


def test_a_version_keeps_everything_that_the_import_found(world: World) -> None:
    """Signature, profile, choices, sample, metrics and tags come back equal; the artefact holds the model."""
    added, notes = world.models.add(
        "iris", world.file(3), who="ann", metrics={"rmse": 41.2}, tags=["b", "a", "b"], version="2026-11"
    )
    assert notes == ("one input",)
    found = world.models.version("iris", "2026-11")
    assert found == msgspec.structs.replace(added, status="deployed")
    assert (found.metrics, found.tags, found.sample) == ({"rmse": 41.2}, ("a", "b"), {"instances": [[1.0]]})
    assert found.choices[0].reason == "the only one"
    assert factor_of(world.models, world.artefacts, "iris", "2026-11") == 3.0
    assert list((world.folder / "imports").iterdir()) == []


def test_a_name_and_a_number_mean_the_same_model(world: World) -> None:
    """Both find it, as text or number; a name of digits is refused because it would be both."""
    world.add("one")
    two = world.add("two").model_id
    assert [world.models.get(ref).name for ref in ("two", two, str(two))] == ["two"] * 3
    with pytest.raises(InvalidInput):
        world.add("12")


def test_what_does_not_exist_is_named_with_its_neighbours(world: World) -> None:
    """A typing error is answered with the right name."""
    world.add("iris", version="v1")
    with pytest.raises(NotFound, match=r"no such model.*found irsi.*expected iris"):
        world.models.get("irsi")
    with pytest.raises(NotFound, match=r"iris: no such version.*found v2.*expected v1"):
        world.models.promote("iris", "v2", who="x")
    for ref in ("9" * 5000, -1, "٣", ""):
        with pytest.raises(NotFound):
            world.models.get(ref)


@pytest.mark.parametrize("name", ["", "-a", "a b", "a/b", "ü", "a" * 129, "..", "a\n"])
def test_names_that_would_break_a_path_or_a_database_are_refused(world: World, name: str) -> None:
    """Models, versions and tags have one careful alphabet; nothing is stored for a refused one."""
    with pytest.raises(InvalidInput):
        world.add(name)
    with pytest.raises(InvalidInput):
        world.add("fine", version=name)
    with pytest.raises(InvalidInput):
        world.models.add("fine", world.file(1), who="x", tags=[name])
    assert (world.actions(), world.artefacts.artefacts()) == ([], [])


def test_names_that_differ_in_case_only_are_refused(world: World) -> None:
    """Some databases cannot tell them apart; so nobody gets used to it here."""
    world.add("iris", version="a")
    with pytest.raises(Conflict, match=r"only in case"):
        world.add("Iris")
    with pytest.raises(Conflict, match=r"only in case"):
        world.add("iris", version="A")
    with pytest.raises(NotFound):
        world.models.version("iris", "A")


def test_a_metric_must_be_a_number_that_json_can_hold(world: World) -> None:
    """NaN and infinity are refused before anything is imported."""
    with pytest.raises(InvalidInput, match=r"metrics.auc"):
        world.models.add("iris", world.file(1), who="x", metrics={"auc": float("nan")})


def test_the_same_version_again_is_a_conflict_or_nothing(world: World) -> None:
    """Equal content is idempotent; other content under the same name is refused and changes nothing."""
    first = world.add("iris", 1, version="v")
    before = world.actions()
    again, notes = world.models.add("iris", world.file(1), who="x", version="v", metrics={"a": 1.0})
    assert again == first
    assert "there already" in notes[-1]
    with pytest.raises(Conflict, match=r"versions never change"):
        world.add("iris", 2, version="v")
    assert world.actions() == before


def test_a_file_that_cannot_be_imported_leaves_nothing(world: World) -> None:
    """The importer's own error comes through; no model, no artefact, no workplace remains."""
    broken = world.folder / "broken.onnx"
    broken.write_bytes(b"not a model")
    with pytest.raises(InvalidInput, match=r"not an ONNX file"):
        world.models.add("iris", broken, who="x")
    assert (world.models.list(), world.artefacts.artefacts()) == ([], [])
    assert list((world.folder / "imports").iterdir()) == []


def test_rollbacks_walk_back_through_what_answered_before(world: World) -> None:
    """Promotions are a stack: promote pushes, each rollback pops, the last one cannot be popped."""
    for factor in (1, 2, 3):
        world.add("iris", factor, promote=True)
    world.models.promote("iris", "1", who="x")
    answers = [world.models.get("iris").promoted]
    for _ in range(3):
        model = world.models.rollback("iris", who="x")
        answers.append(model.promoted)
    assert answers == ["1", "3", "2", "1"]
    assert model.previous is None
    with pytest.raises(Conflict, match=r"no version to go back to"):
        world.models.rollback("iris", who="x")
    assert [version.status for version in world.models.versions("iris")] == ["deployed"] * 3


def test_promoting_what_answers_changes_nothing(world: World) -> None:
    """No journal row, no new etag, no second entry to roll back through."""
    world.add("iris")
    before = world.models.get("iris")
    assert world.models.promote("iris", "1", who="x") == before
    assert world.models.seq() == 3


def test_what_answers_can_be_neither_archived_nor_deleted(world: World) -> None:
    """Both are refused with what to do first, and work once another version answers."""
    world.add("iris", 1)
    world.add("iris", 2)
    for change in (world.models.archive, world.models.delete):
        with pytest.raises(Conflict, match=r"promote another one"):
            change("iris", "1", who="x")
    world.models.promote("iris", "2", who="x")
    assert world.models.archive("iris", "1", who="x").status == "archived"
    assert world.models.get("iris").previous is None
    world.models.delete("iris", "1", who="x")
    assert [version.version for version in world.models.versions("iris")] == ["2"]


def test_an_archived_version_leaves_the_history_and_comes_back_by_promotion(world: World) -> None:
    """Rollback steps over it; what then lies beside itself counts once."""
    world.add("iris", 1)
    world.add("iris", 2, promote=True)
    world.models.promote("iris", "1", who="x")
    world.models.archive("iris", "2", who="x")
    assert (world.models.get("iris").promoted, world.models.get("iris").previous) == ("1", None)
    _, [(model, versions)] = world.models.snapshot_rows()
    assert (model.promoted, [version.version for version in versions]) == ("1", ["1"])
    assert world.models.promote("iris", "2", who="x").previous == "1"
    assert world.models.version("iris", "2").status == "deployed"


def test_a_model_is_deleted_only_when_it_answers_no_more(world: World) -> None:
    """While loaded with a promoted version it is refused; afterwards neither number nor rows come back."""
    number = world.add("iris", 1).model_id
    with pytest.raises(Conflict, match=r"unload it first"):
        world.models.delete("iris", who="x")
    world.models.set_loaded("iris", False, who="x")
    world.models.delete("iris", who="x")
    assert world.models.list() == []
    assert world.add("iris", 2).model_id > number
    assert world.actions()[-6:-3] == [("model.unload", "iris"), ("version.delete", "iris/1"), ("model.delete", "iris")]


def test_a_counted_version_number_is_never_given_twice(world: World) -> None:
    """After deleting the newest the count goes on; a number taken by hand is stepped over."""
    world.add("iris", 1)
    world.add("iris", 2)
    world.models.delete("iris", "2", who="x")
    world.add("iris", 3, version="7")
    assert [world.add("iris", 4).version, world.add("iris", 5).version] == ["8", "9"]


def test_a_stale_etag_is_a_conflict(world: World) -> None:
    """Every change gives a new etag; the old one is refused, `*` always fits."""
    world.add("iris", 1)
    etags = [world.models.get("iris").etag]
    world.add("iris", 2)
    etags.append(world.models.get("iris").etag)
    with pytest.raises(Conflict, match=r"has changed since"):
        world.models.promote("iris", "2", who="x", if_match=etags[0])
    etags.append(world.models.promote("iris", "2", who="x", if_match=etags[1]).etag)
    etags.append(world.models.rollback("iris", who="x", if_match=etags[2]).etag)
    etags.append(world.models.set_loaded("iris", False, who="x").etag)
    etags.append(world.models.configure("iris", ModelConfig(timeout_ms=5), who="x", if_match=etags[4]).etag)
    world.models.tag("iris", "1", add=["gold"], who="x")
    etags.append(world.models.get("iris").etag)
    assert len(set(etags)) == len(etags)
    with pytest.raises(Conflict):
        world.models.configure("iris", ModelConfig(), who="x", if_match=etags[0])
    world.models.configure("iris", ModelConfig(), who="x", if_match=r"*")


def test_settings_follow_the_defaults_until_they_are_set(world: World) -> None:
    """What an owner set stays when defaults change; what he did not set follows them."""
    world.add("iris")
    config = ModelConfig(limits=Limits(queue=5), record=Recording(redact=("age",)))
    assert world.models.configure("iris", config, who="x").config == config
    world.models.override("iris", {"max_delay_ms": 2}, unset=["record.redact"], who="x")
    assert world.models.overrides("iris") == {"limits.queue": 5, "max_delay_ms": 2}
    assert world.models.get("iris").config == ModelConfig(limits=Limits(queue=5), max_delay_ms=2.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [("limits.queue", "many"), ("limits.queue", -1), ("limit.queue", 1), ("limits", 1), ("record.sample", 2)],
)
def test_a_wrong_setting_is_refused_and_changes_nothing(world: World, name: str, value: object) -> None:
    """The error names the setting; neither the journal nor the model moves."""
    world.add("iris")
    before = (world.models.get("iris"), world.models.seq())
    with pytest.raises(InvalidInput, match=name):
        world.models.override("iris", {name: value}, who="x")
    assert (world.models.get("iris"), world.models.seq()) == before


def test_unsetting_what_is_no_setting_is_refused(world: World) -> None:
    """A typing error does not pass in silence."""
    world.add("iris")
    with pytest.raises(InvalidInput, match=r"limits.queue"):
        world.models.override("iris", {}, unset=["limits.queues"], who="x")


def test_tags_are_added_and_removed(world: World) -> None:
    """Sorted, each once, removal wins; no change, no journal row."""
    world.add("iris")
    assert world.models.tag("iris", "1", add=["b", "a"], who="x").tags == ("a", "b")
    assert world.models.tag("iris", "1", add=["c"], remove=["c", "a"], who="x").tags == ("b",)
    seq = world.models.seq()
    world.models.tag("iris", "1", add=["b"], who="x")
    assert world.models.seq() == seq


def test_reprofiling_measures_the_stored_artefact(world: World) -> None:
    """The profiler is given the version and its folder; what it found replaces the old profile."""
    world.add("iris")
    size = world.file(1).stat().st_size
    assert world.models.reprofile("iris", "1", who="x").profile.us == (size, size)
    assert world.actions()[-1] == ("version.reprofile", "iris/1")


def test_garbage_is_what_no_version_refers_to_and_is_old(world: World) -> None:
    """A deleted version's artefact stays for an hour, then goes; referenced ones stay whatever their age."""
    kept, gone = world.add("iris", 1), world.add("iris", 2)
    left = world.folder / "imports" / "import-left"
    left.mkdir()
    for path in (world.artefacts.path(kept.artefact), world.artefacts.path(gone.artefact), left):
        os.utime(path, ns=(0, 0))
    world.models.delete("iris", "2", who="x")
    assert world.models.collect_garbage() == ()
    assert not left.exists()
    os.utime(world.artefacts.path(gone.artefact), ns=(0, 0))
    assert world.models.collect_garbage() == (gone.artefact,)
    assert world.artefacts.artefacts() == [kept.artefact]


def test_a_setting_of_the_next_release_is_left_alone(world: World) -> None:
    """Another node set what this one does not know: it is neither lost nor an error, and the others can be changed."""
    world.add("iris")
    world.models.override("iris", {"limits.queue": 3}, who="w")
    with world.database.write() as conn:
        conn.execute(update(models).values(overrides='{"limits.queue": 3, "of.the_next": 1}'))
    assert world.models.get("iris").config.limits.queue == 3
    assert world.models.override("iris", {"limits.queue": 4}, who="w").config.limits.queue == 4
    assert world.models.overrides("iris") == {"limits.queue": 4, "of.the_next": 1}
    with pytest.raises(InvalidInput, match="no such setting"):
        world.models.override("iris", {"of.another": 1}, who="w")


def test_the_difference_holds_what_has_changed(world: World) -> None:
    """Everything for who knows nothing; then the model that was touched, and its place; deleted ones are gone."""
    for name in ("b", "a", "c"):
        world.add(name, 1)
    everything = world.models.difference({})
    assert [model.name for model, _ in everything.changed] == ["a", "b", "c"]
    assert everything.changed == world.models.snapshot_rows()[1]
    known = {model.id: model.etag for model, _ in everything.changed}
    assert world.models.difference(known).changed == []
    world.models.tag("b", "1", add=["dear"], who="ann")
    world.models.set_loaded("c", False, who="ann")
    world.models.delete("c", who="ann")
    found = world.models.difference(known)
    assert [(model.name, versions[0].tags) for model, versions in found.changed] == [("b", ("dear",))]
    assert found.order == [everything.order[0], everything.order[1]]
    assert found.seq > everything.seq


def test_versions_are_counted(world: World) -> None:
    """By the model's number, archived ones too."""
    world.add("a", 1)
    world.add("a", 2)
    world.add("b", 1)
    world.models.archive("a", "2", who="ann")
    counts = world.models.version_counts()
    assert [counts[world.models.get(name).id] for name in ("a", "b")] == [2, 1]
