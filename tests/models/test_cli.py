"""`kaname model …` at a terminal and for scripts, on a real registry."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from kaname.errors import Conflict, InvalidInput, KanameError, NotFound
from kaname.models import tables
from kaname.models.cli import commands
from tests.models.world import World


class Terminal:
    """Runs commands as a person would type them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._app = commands(lambda: world.models, check_view=self._check_view)

    def __call__(self, *words: str) -> str:
        result = CliRunner().invoke(self._app, list(words), env={"COLUMNS": "200"})
        if isinstance(result.exception, KanameError):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.output

    @staticmethod
    def _check_view(name: str) -> None:
        if name != "buyer":
            raise NotFound("no such view", where="view", found=name, expected="buyer")

    def json(self, *words: str) -> Any:
        return json.loads(self(*words, "--json"))


@pytest.fixture
def kaname(tmp_path: Path) -> Iterator[Terminal]:
    world = World(tmp_path)
    yield Terminal(world)
    world.close()


def test_a_model_is_added_and_shown_to_a_person(kaname: Terminal) -> None:
    """The answer says what was stored, what the import noted, and what answers or how to make it answer."""
    assert "no models yet" in kaname("list")
    out = kaname("add", "iris", str(kaname.world.file(1)), "--metric", "rmse=41.2", "--tag", "gold")
    assert "note: one input" in out
    assert "iris/1 answers" in out
    assert "kaname model promote iris 2" in kaname("add", "iris", str(kaname.world.file(2)))
    shown = kaname("show", "iris")
    assert "version 1 answers" in shown
    assert "rmse 41.2" in shown
    assert "gold" in shown
    page = kaname("show", "iris", "1")
    assert "x FP32[-1, 1]" in page
    assert "the only one" in page
    assert "iris" in kaname("list")


def test_a_terminal_of_80_columns_is_wide_enough(kaname: Terminal) -> None:
    """No line is longer, and no metric, tag or moment is broken."""
    metrics = [f"a_rather_long_name_{number}=0.{number}23456" for number in range(1, 6)]
    kaname("add", "iris", str(kaname.world.file(1)), *(word for one in metrics for word in ("--metric", one)))
    kaname("add", "iris", str(kaname.world.file(2)), "--tag", "candidate", "--tag", "trained-on-monday")
    models = kaname.world.models
    for page in (
        tables.versions_table(models.get("iris"), models.versions("iris")),
        tables.version_page(models.version("iris", "1")),
    ):
        narrow = Console(width=80, file=io.StringIO())
        narrow.print(page)
        lines = narrow.file.getvalue().splitlines()  # type: ignore[attr-defined]  # it is the StringIO
        assert max(map(len, lines)) <= 80
        words = {word.strip(",") for line in lines for word in line.split()}
        assert words >= {f"a_rather_long_name_{number}" for number in range(1, 6)}
        assert words >= {f"0.{number}23456" for number in range(1, 6)}
        assert tables.moment(models.version("iris", "1").created_us).split()[0] in words


def test_what_may_differ_reaches_the_import(kaname: Terminal) -> None:
    """`--tolerance` and `--max-share` as given, else the defaults; a share above 1 is refused."""
    model = str(kaname.world.file(1))
    kaname("add", "iris", model)
    kaname("add", "iris", model, "--version", "b", "--tolerance", "0.5", "--max-share", "0.25")
    assert [(each.tolerance, each.max_share) for each in kaname.world.requests] == [(1e-4, 0.001), (0.5, 0.25)]
    with pytest.raises(AssertionError, match="max-share"):
        kaname("add", "iris", model, "--max-share", "2")


def test_a_view_that_is_not_declared_is_refused_before_anything_changes(kaname: Terminal) -> None:
    """Where a model is added, no version is; where it is set, the view stays; no view at all is none to look for."""
    model = str(kaname.world.file(1))
    with pytest.raises(NotFound, match="no such view"):
        kaname("add", "iris", model, "--view", "byer")
    assert kaname.json("list") == []
    kaname("add", "iris", model, "--view", "buyer")
    with pytest.raises(NotFound, match="no such view"):
        kaname("set", "iris", "view=byer")
    assert 'view="buyer"' in kaname("set", "iris")
    assert 'view=""' in kaname("set", "iris", "view=")


def test_the_sample_is_printed_as_the_body_of_a_request(kaname: Terminal) -> None:
    """Of the version that answers, or of the one named; without either it is said."""
    kaname("add", "iris", str(kaname.world.file(1)), "--no-promote")
    assert json.loads(kaname("sample", "iris", "1")) == {"instances": [[1.0]]}
    with pytest.raises(NotFound, match="promoted yet"):
        kaname("sample", "iris")
    kaname("promote", "iris", "1")
    assert json.loads(kaname("sample", "iris")) == {"instances": [[1.0]]}


def test_machines_get_json_of_the_same_facts(kaname: Terminal) -> None:
    """Each command's `--json` is one document."""
    added = kaname.json("add", "iris", str(kaname.world.file(1)), "--version", "a")
    assert (added["version"]["version"], added["notes"]) == ("a", ["one input"])
    kaname.json("add", "iris", str(kaname.world.file(2)), "--version", "b", "--no-promote")
    assert kaname.json("promote", "iris", "b")["previous"] == "a"
    assert kaname.json("rollback", "iris")["promoted"] == "a"
    assert kaname.json("tag", "iris", "b", "x", "y", "--remove", "y")["tags"] == ["x"]
    assert kaname.json("profile", "iris", "b")["profile"]["best_rows"] == 1
    assert kaname.json("archive", "iris", "b")["status"] == "archived"
    assert kaname.json("unload", "iris")["loaded"] is False
    assert kaname.json("load", "1")["loaded"] is True
    assert kaname.json("set", "iris", "limits.queue=5", "record.redact=age,name")["config"]["record"]["redact"] == [
        "age",
        "name",
    ]
    assert [each["version"] for each in kaname.json("show", "iris")["versions"]] == ["a", "b"]
    assert kaname.json("delete", "iris", "b") == {"deleted": "iris/b"}
    assert [each["name"] for each in kaname.json("list")] == ["iris"]


def test_settings_are_shown_set_and_unset(kaname: Terminal) -> None:
    """Only what differs from the defaults is listed, as it would be typed."""
    kaname("add", "iris", str(kaname.world.file(1)))
    assert "0 settings differ" in kaname("set", "iris")
    out = kaname("set", "iris", "limits.queue=5", "description=two words")
    assert 'description="two words"\nlimits.queue=5' in out
    assert "1 settings differ" in kaname("set", "iris", "--unset", "limits.queue")


def test_people_see_one_sentence_per_change(kaname: Terminal) -> None:
    """Each change says what holds now."""
    kaname("add", "iris", str(kaname.world.file(1)))
    kaname("add", "iris", str(kaname.world.file(2)))
    assert kaname("promote", "iris", "2") == "iris: version 2 answers, before it 1\n"
    assert kaname("rollback", "iris") == "iris: version 1 answers again\n"
    assert kaname("archive", "iris", "2") == "iris/2: archived\n"
    assert "requests are refused until" in kaname("unload", "iris")
    assert kaname("delete", "iris") == "iris: deleted\n"
    assert all(change.who.startswith("cli") for change in kaname.world.models.changes())


def test_errors_come_through_for_the_program_to_print(kaname: Terminal) -> None:
    """A wrong word, a stale etag and a refused change are errors of the platform, not tracebacks of their own."""
    model = str(kaname.world.file(1))
    kaname("add", "iris", model)
    for words in (["--metric", "rmse"], ["--metric", "rmse=low"], ["--metric", "=1"]):
        with pytest.raises(InvalidInput, match=r"rmse=|limits.queue"):
            kaname("add", "iris", model, *words)
    with pytest.raises(Conflict, match="promote another one"):
        kaname("delete", "iris", "1")
    with pytest.raises(Conflict, match="has changed since"):
        kaname("promote", "iris", "1", "--if-match", "0-0")
