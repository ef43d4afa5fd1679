"""What a person at the command line is told beside the result: the near word, the whole table, the next step."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import shlex
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from kaname.cli import asking
from kaname.cli.status import report
from kaname.models.types import VersionInfo
from kaname.project import Project, load_valid
from kaname.serving.workers.lock import ProjectLock
from kaname.terminal import show, table, working
from tests.cli.kaname import COMMAND, kaname
from tests.models.world import World


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project as `kaname init` makes it, on a port of its own."""
    assert kaname("init", tmp_path / "shop").code == 0
    return load_valid(tmp_path / "shop", {"KANAME_SERVER__PORT": "18431"})


@pytest.fixture
def version(tmp_path: Path) -> Iterator[VersionInfo]:
    """A version with a sample."""
    (tmp_path / "world").mkdir()
    world = World(tmp_path / "world")
    yield world.add("iris", version="a")
    world.close()


@pytest.mark.parametrize(
    ("words", "near"), [(["sevre"], "serve"), (["moddel"], "model"), (["model", "promot"], "promote")]
)
def test_a_wrong_word_is_answered_with_the_near_one(words: list[str], near: str) -> None:
    """At every level, also where the commands are imported only when used."""
    ran = kaname(*words)
    assert ran.code == 2
    assert f"Did you mean '{near}'?" in ran.err


def test_what_is_no_terminal_gets_whole_tables(project: Project) -> None:
    """However narrow the shell is: a line per setting, with its sentence to the end."""
    ran = kaname("settings", project.root, COLUMNS="40")
    (line,) = [line for line in ran.out.splitlines() if line.startswith("server.host ")]
    assert line.endswith("Anything but loopback needs `access.authentication: required`.")
    assert not [line for line in ran.out.splitlines() if line != line.rstrip()]


def test_a_terminal_gets_what_fits(project: Project) -> None:
    """On a narrow terminal each setting has two lines, none longer than the terminal is wide."""
    ours, theirs = pty.openpty()
    command = [*COMMAND, "settings", str(project.root)]
    ran = subprocess.Popen(command, stdout=theirs, env={"COLUMNS": "60", "TERM": "xterm"})
    os.close(theirs)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", _all(ours).decode()).splitlines()
    assert ran.wait(timeout=60) == 0
    assert max(map(len, lines)) <= 60
    assert any(line.startswith("server.port = 8080") for line in lines)


def _all(terminal: int) -> bytes:
    """What is written until the other side closes, which a terminal reports as an error."""
    out = b""
    with contextlib.suppress(OSError):
        while piece := os.read(terminal, 65536):
            out += piece
    os.close(terminal)
    return out


def test_only_what_differs_from_its_default_has_changed(tmp_path: Path) -> None:
    """A file that repeats a default changes nothing."""
    (tmp_path / "kaname.yaml").write_text("server: {port: 8080}\n")
    assert "every setting has its default" in kaname("settings", tmp_path, "--changed").out
    assert kaname("settings", tmp_path, "--changed", "--json").json() == {"settings": []}


def test_status_tells_starting_from_not_running(project: Project) -> None:
    """From the moment when a server takes the project until it answers; another server on the port is another's."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        elsewhere = load_valid(project.root, {"KANAME_SERVER__PORT": str(other.getsockname()[1])})
        assert report(elsewhere).server == "not running"
    lock = ProjectLock(project.root)
    try:
        assert report(project).server == "starting"
        lock.announce("http://127.0.0.1:9")
        assert report(project).server == "not answering"
    finally:
        lock.release()
    assert report(project).server == "not running"


def test_work_that_takes_a_while_is_announced(capsys: pytest.CaptureFixture[str]) -> None:
    """Away from a terminal as a line, before the work begins."""
    with working("importing"):
        assert capsys.readouterr().out == "importing …\n"


def test_a_table_has_no_blanks_at_the_ends_of_its_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """So that a diff and an editor are content."""
    grid = table("name", "what it is")
    grid.add_row("a", "x" * 200)
    grid.add_row("b", "short")
    show(grid)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2].endswith("x" * 200)
    assert lines[-1].split() == ["b", "short"]
    assert lines[-1] == lines[-1].rstrip()


def test_the_next_step_is_a_command_that_can_be_pasted(project: Project, version: VersionInfo) -> None:
    """The port of the settings, the key's file, the version's sample; `kaname serve` first when no server runs."""
    start, _, command = asking.lines(project, version, answers=True, here=project.root)
    assert start.endswith("kaname serve")
    words = shlex.split(command.replace("\\\n", ""))
    assert words[:3] == ["curl", "-s", "http://127.0.0.1:18431/api/v1/models/iris/predict"]
    assert words[3:5] == ["-H", "Authorization: Bearer $(cat .kaname/admin.key)"]
    assert (words[5], msgspec.json.decode(words[6])) == ("--json", version.sample)


def test_the_next_step_elsewhere_names_the_project(project: Project, version: VersionInfo, tmp_path: Path) -> None:
    """From another folder, for a version that does not answer, with a sample too long to show."""
    version = msgspec.structs.replace(version, sample={"features": {"x": list(range(500))}})
    lines = asking.lines(project, version, answers=False, here=tmp_path / "world")
    assert lines[0].endswith(f"kaname serve {project.root}")
    assert f"kaname -C {project.root} model sample iris a | curl" in lines[2]
    assert "/versions/a/predict" in lines[2]
    assert str(project.root / ".kaname" / "admin.key") in lines[2]
    assert lines[2].endswith("--json @-")


def test_a_running_server_is_asked_where_it_answers(project: Project, version: VersionInfo) -> None:
    """Its own address counts, and nobody is told to start it."""
    lock = ProjectLock(project.root)
    lock.announce("http://0.0.0.0:18432")
    try:
        told = asking.lines(project, version, answers=True, here=project.root)
    finally:
        lock.release()
    assert told[0] == "Try it:"
    assert "curl -s http://127.0.0.1:18432/" in told[1]


@pytest.mark.slow
def test_brackets_are_text(tmp_path: Path) -> None:
    """A folder, a setting or a name may hold what looks like markup: it is printed as it is and stops nothing."""
    folder = tmp_path / "shop [v1] [" / "bold]"
    said = kaname("init", folder)
    assert f"A project in {folder}: " in said.out
    assert f"kaname serve {folder}" in said.out
    assert kaname("check", folder).out == f"ok 2 files of {folder}\n"
    with (folder / "models" / "iris.yaml").open("a") as file:
        file.write('config: {description: "see [docs] and [/docs]"}\n')
    ran = kaname("apply", folder, "--dry-run")
    assert ran.code == 0, ran.err
    assert 'description="see [docs] and [/docs]"' in ran.out
    assert kaname("status", folder, KANAME_SERVER__PORT="1").out.startswith(f"{folder}: not running at ")


@pytest.mark.slow
def test_somebody_without_a_name_may_change_things(project: Project) -> None:
    """In a container with a user id that no list of users holds, the journal says what, if not who."""
    away = ["unshare", "--user", "--map-user=54321"]
    if subprocess.run([*away, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this system does not allow a process to have another user id")
    names = ("LOGNAME", "USER", "LNAME", "USERNAME")
    nameless = {name: value for name, value in os.environ.items() if name not in names}
    for words in (["apply"], ["key", "create", "--scope", "read"], ["model", "set", "iris", "description=x"]):
        done = subprocess.run(
            [*away, *COMMAND, *words], cwd=project.root, env=nameless, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
