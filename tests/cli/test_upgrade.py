"""`kaname upgrade`: the schema of a project's database, forward and back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kaname.storage.sql.upgrade import revisions
from tests.cli.kaname import kaname
from tests.databases import PASSWORD, DatabaseServer

NEWEST = revisions()[-1]


def test_a_dry_run_says_what_an_upgrade_then_does(tmp_path: Path) -> None:
    """Nothing, then every migration, then none; back to an older schema, and forward from there."""
    project = _project(tmp_path)
    planned = kaname("upgrade", project, "--dry-run", "--json").json()
    assert (planned["before"], planned["after"], planned["done"]) == (None, NEWEST, False)
    assert [step["revision"] for step in planned["steps"]] == revisions()
    assert kaname("upgrade", project, "--json").json()["steps"] == planned["steps"]
    assert "nothing to do" in kaname("upgrade", project).out
    back = kaname("upgrade", project, "--to", "0003", "--json").json()
    assert [step["revision"] for step in back["steps"]] == revisions()[:2:-1]
    again = kaname("upgrade", project)
    assert f"now at schema {NEWEST}" in again.out
    assert "+ 0004" in again.out


def test_a_revision_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    """Also by a dry run."""
    for options in ([], ["--dry-run"]):
        ran = kaname("upgrade", _project(tmp_path), "--to", "0404", *options)
        assert ran.code == 2
        assert "no such schema revision" in ran.err


@pytest.mark.slow
def test_the_database_of_the_settings_is_upgraded(tmp_path: Path, postgres: DatabaseServer) -> None:
    """A server is named without its password, which comes from a file."""
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    url = postgres.create()
    project = _project(tmp_path, f"database:\n  url: {url}\n  password_file: {tmp_path / 'password'}\n")
    ran = kaname("upgrade", project)
    assert f"{url}: schema none" in ran.out
    assert f"now at schema {NEWEST}" in ran.out
    assert PASSWORD not in ran.out
    name = url.rpartition("/")[2]
    assert postgres.run("SELECT version_num FROM alembic_version", name) == [(NEWEST,)]


def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The reason and the place, no traceback."""
    ran = kaname("upgrade", _project(tmp_path, "database: {url: 'postgresql://me@127.0.0.1:1/x'}\n"), "--json")
    problem = json.loads(ran.out)
    assert (ran.code, problem["code"], problem["where"]) == (1, "unavailable", "postgresql://me@127.0.0.1:1/x")


def _project(folder: Path, text: str = "") -> Path:
    folder.joinpath("kaname.yaml").write_text(f"name: x\n{text}")
    return folder
