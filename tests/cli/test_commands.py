"""The command line as people and scripts meet it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kaname import __version__
from tests.cli.kaname import COMMAND, kaname

ALL = [
    "init",
    "serve",
    "predict",
    "import",
    "batch",
    "check",
    "apply",
    "status",
    "settings",
    "doctor",
    "model",
    "key",
    "predictions",
]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project as `kaname init` makes it; tests of this module do not change its files."""
    folder = tmp_path_factory.mktemp("cli") / "shop"
    assert kaname("init", folder).code == 0
    return folder


@pytest.fixture(scope="module")
def applied(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same project, applied; tests work on copies."""
    folder = tmp_path_factory.mktemp("applied") / "shop"
    shutil.copytree(project, folder)
    assert kaname("apply", folder).code == 0
    return folder


@pytest.mark.parametrize("command", ALL)
def test_every_command_explains_itself(command: str) -> None:
    """`--help` of each command says what it does and lists its options."""
    ran = kaname(command, "--help")
    assert ran.code == 0, ran.err
    assert f"kaname {command}" in ran.out
    assert "--help" in ran.out


def test_the_first_page_lists_every_command_and_how_to_start() -> None:
    """`kaname` alone shows the commands."""
    ran = kaname("--help")
    assert ran.code == 0
    assert all(f" {command} " in ran.out for command in ALL)
    assert "kaname init my-project" in ran.out


def test_help_imports_nothing_heavy() -> None:
    """The first page costs no import of the stores, the runtime or the server."""
    code = (
        "import sys\nfrom kaname.cli.main import app\n"
        "try:\n    app(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'numpy', 'sqlalchemy', 'onnxruntime', 'msgspec', 'yaml', 'starlette', 'uvicorn'} & set(sys.modules)\n"
        "sys.exit(str(sorted(heavy)) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.serial
def test_help_starts_fast() -> None:
    """The first page takes little beyond the two libraries that print it."""
    libraries = [sys.executable, "-c", "import typer, rich.console, rich.table, rich.panel"]
    bare = min(_cpu_s(libraries) for _ in range(3))
    assert min(_cpu_s([*COMMAND, "--help"]) for _ in range(5)) < 0.1 + 2 * bare


def _cpu_s(command: list[str]) -> float:
    before = os.times()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def test_the_version_is_printed() -> None:
    """`kaname --version` names the version of the package."""
    assert kaname("--version").out.strip() == f"kaname {__version__}"


def test_shell_completion_is_offered() -> None:
    """The completion script for a shell can be printed."""
    assert "kaname" in kaname("--show-completion", "bash", _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1").out


def test_init_makes_a_project_that_passes_its_check(project: Path) -> None:
    """The new project has all its files, no fault, and a README that fits on a screen."""
    assert (project / ".gitignore").read_text().endswith(".kaname/\n")
    assert len((project / "README.md").read_text().splitlines()) <= 30
    ran = kaname("check", project)
    assert (ran.code, ran.err) == (0, "")
    assert "ok 2 files" in ran.out


def test_init_refuses_a_folder_with_something_in_it(tmp_path: Path) -> None:
    """Nothing of a person's is overwritten; the file that was there is untouched and alone."""
    (tmp_path / "mine.txt").write_text("mine")
    ran = kaname("init", tmp_path)
    assert ran.code == 1
    assert "the folder is not empty" in ran.err
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]
    assert kaname("init", tmp_path / "mine.txt").code == 1


def test_init_accepts_an_empty_folder_and_speaks_json(tmp_path: Path) -> None:
    """An existing empty folder is fine; `--json` lists what was made."""
    ran = kaname("init", tmp_path, "--json")
    assert "models/iris.onnx" in ran.json()["files"]
    assert all((tmp_path / file).is_file() for file in ran.json()["files"])


def test_check_lists_every_fault_of_every_file(tmp_path: Path) -> None:
    """Settings, environment, declarations and the files they name: one run shows all, with places."""
    assert kaname("init", tmp_path).code == 0
    (tmp_path / "kaname.yaml").write_text("server:\n  prot: 1\n")
    (tmp_path / "models" / "a.yaml").write_text("name: iris\nversions: []\n")
    (tmp_path / "models" / "b.yaml").write_text("name: b\nversions:\n  - {version: 1, path: x.onnx}\npromotd: a\n")
    (tmp_path / "models" / "c.yaml").write_text("name: c\nversions:\n  - {version: a, path: x.onnx, sample: y.csv}\n")
    (tmp_path / "models" / "d.yaml").write_text("name: ../d\nversions: []\n")
    (tmp_path / "models" / "e.yaml").write_text("\tname: e\n")
    (tmp_path / "features").mkdir()
    (tmp_path / "features" / "a.schema").write_text("define relation a {\n  k strng key,\n  k json key\n};\n")
    (tmp_path / "features" / "b.schema").write_text("define relation b\n")
    (tmp_path / "features" / "c.schema").write_bytes(b"# \xff\n")
    ran = kaname("check", "--json", cwd=tmp_path, KANAME_SERVER__PORT="x")
    assert ran.code == 1
    assert [problem["where"] for problem in ran.json()["problems"]] == [
        "kaname.yaml:2:3",
        "KANAME_SERVER__PORT",
        "models/b.yaml:3:15",
        "models/b.yaml:4:1",
        "models/c.yaml:3:24",
        "models/c.yaml:3:40",
        "models/d.yaml:1:7",
        "models/e.yaml:1:1",
        "models/iris.yaml:3:7",
        "features/b.schema:1:17",
        "features/c.schema:1:3",
        "features/a.schema:2:5",
        "features/a.schema:3:3",
        "features/a.schema:3:5",
    ]
    text = kaname("check", cwd=tmp_path)
    assert "models/b.yaml:4:1: unknown key `promotd`\n    expected  `promoted`\n" in text.out
    assert "13 problems" in text.out


def test_outside_a_project_the_error_says_how_to_make_one(tmp_path: Path) -> None:
    """A short message, no traceback, exit code 1; as JSON when asked."""
    for command in ("check", "status", "settings", "apply", "serve"):
        ran = kaname(command, cwd=tmp_path)
        assert ran.code == 1
        assert "kaname init DIR" in ran.err
        assert "Traceback" not in ran.err
    assert kaname("check", "--json", cwd=tmp_path).json()["code"] == "not_found"


def test_a_fault_in_the_settings_stops_serve_before_it_begins(tmp_path: Path) -> None:
    """`kaname serve` on a project with faults lists them and leaves nothing behind."""
    (tmp_path / "kaname.yaml").write_text("server: {port: http}\n")
    ran = kaname("serve", tmp_path)
    assert ran.code == 1
    assert "kaname.yaml:1:16" in ran.out
    assert not (tmp_path / ".kaname").exists()


def test_wrong_usage_exits_with_2() -> None:
    """Unknown commands and options are told apart from failures."""
    assert kaname("sevre").code == 2
    assert kaname("serve", "--prot", "1").code == 2


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    """KANAME_DEBUG=1 is for those who repair kaname."""
    assert "Traceback" in kaname("check", cwd=tmp_path, KANAME_DEBUG="1").err


def test_settings_show_value_origin_unit_and_default(project: Path) -> None:
    """Every setting is listed with its meaning; those that were set name the place."""
    ran = kaname("settings", project, "--json", KANAME_RECORD__COMMIT_MS="20")
    lines = {line["name"]: line for line in ran.json()["settings"]}
    assert lines["record.commit_ms"]["origin"] == "KANAME_RECORD__COMMIT_MS"
    assert (lines["record.commit_ms"]["value"], lines["record.commit_ms"]["default"]) == (20.0, 40.0)
    assert lines["record.commit_ms"]["unit"] == "ms"
    assert lines["server.port"]["origin"].startswith("kaname.yaml:")
    assert lines["server.workers"]["origin"] == "default"
    assert [name for name, line in lines.items() if not line["doc"]] == []
    changed = kaname("settings", project, "--changed", KANAME_RECORD__COMMIT_MS="20").out
    assert "record.commit_ms" in changed
    assert "server.port" not in changed, "the file names the default"


@pytest.mark.slow
def test_apply_shows_its_plan_and_is_idempotent(tmp_path: Path) -> None:
    """A dry run changes nothing, the first run does everything, the second nothing."""
    kaname("init", tmp_path)
    dry = kaname("apply", tmp_path, "--dry-run", "--json").json()
    assert (dry["applied"], [step["action"] for step in dry["steps"]]) == (False, ["add", "promote"])
    first = kaname("apply", tmp_path)
    assert first.code == 0, first.err
    assert "add iris/1" in first.out
    assert "nothing to do" in kaname("apply", tmp_path).out
    report = kaname("status", tmp_path, "--json", KANAME_SERVER__PORT="1").json()
    assert report["models"] == [{"name": "iris", "answers": "1", "versions": 1, "loaded": True}]
    assert report["server"] == "not running"


@pytest.mark.slow
def test_apply_asks_before_it_takes_something_away(applied: Path, tmp_path: Path) -> None:
    """A declaration that is gone unloads its model: not without a yes."""
    shop = Path(shutil.copytree(applied, tmp_path / "shop"))
    (shop / "models" / "iris.yaml").unlink()
    assert kaname("apply", shop).code != 0
    assert kaname("status", shop, "--json").json()["models"][0]["loaded"] is True
    assert kaname("apply", shop, "--yes").code == 0
    assert kaname("status", shop, "--json").json()["models"][0]["loaded"] is False


@pytest.mark.slow
def test_capabilities_work_on_the_chosen_project(applied: Path, tmp_path: Path) -> None:
    """`--project` serves model, key and predictions alike."""
    shop = Path(shutil.copytree(applied, tmp_path / "shop"))
    assert "iris" in kaname("-C", shop, "model", "list").out
    assert kaname("-C", shop, "key", "create", "--scope", "read", "--json").json()["info"]["scopes"] == ["read"]
    assert kaname("-C", shop, "predictions", "tail").code == 0


def test_the_chosen_project_is_that_of_every_command(project: Path, tmp_path: Path) -> None:
    """`-C DIR` stands for the folder of `check`, `apply` and the others; two different folders are refused."""
    assert kaname("-C", project, "check", cwd=tmp_path).code == 0
    plan = kaname("-C", project, "apply", "--dry-run", "--json", cwd=tmp_path)
    assert [step["action"] for step in plan.json()["steps"]] == ["add", "promote"]
    assert kaname("-C", project, "settings", "--json", cwd=tmp_path).code == 0
    assert kaname("-C", project, "check", project, cwd=tmp_path).code == 0
    other = kaname("-C", project, "check", tmp_path, cwd=tmp_path)
    assert other.code == 2
    assert "two folders are named" in other.err
