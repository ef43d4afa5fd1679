"""`kaname key …`."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner, Result

from kaname.access.cli import commands
from kaname.access.keys import Keys
from kaname.errors import InvalidInput


def run(keys: Keys, *arguments: str) -> Result:
    """The result of one command."""
    return CliRunner().invoke(commands(lambda: keys), list(arguments))


def test_create_prints_the_key_alone_on_standard_output(keys: Keys) -> None:
    """So that `KEY=$(kaname key create …)` works; what it means goes to standard error."""
    done = run(keys, "create", "--scope", "predict:iris", "-s", "read", "--name", "shop", "--rate", "5")
    assert done.exit_code == 0
    (info,) = keys.list()
    assert done.stdout.startswith(f"kn_{info.id}_")
    assert done.stdout.count("\n") == 1
    assert "predict:iris, read" in done.stderr
    assert (info.name, info.rate_rows_per_s) == ("shop", 5.0)


def test_create_for_machines(keys: Keys) -> None:
    """With --json everything is in one document, the hash excepted."""
    found = json.loads(run(keys, "create", "--scope", "admin", "--json").stdout)
    assert found["key"].startswith("kn_")
    assert found["info"]["scopes"] == ["admin"]
    assert "hash" not in found["info"]


def test_listings_never_show_keys_or_hashes(keys: Keys) -> None:
    """The table and the JSON tell what a key may do and when it ended."""
    info, key = keys.create("shop", ["read"], who="t")
    run(keys, "revoke", info.id)
    for arguments in (["list"], ["list", "--json"]):
        out = run(keys, *arguments).stdout
        assert info.id in out
        assert "read" in out
        assert key[12:] not in out
        assert info.hash not in out
    assert json.loads(run(keys, "list", "--json").stdout)[0]["revoked_us"] is not None


def test_a_revoked_key_is_said(keys: Keys) -> None:
    """And is revoked."""
    info, _ = keys.create("shop", ["read"], who="t")
    assert f"Key {info.id} is revoked." in run(keys, "revoke", info.id).stdout
    assert keys.rows() == []


def test_errors_leave_as_they_are(keys: Keys) -> None:
    """The program around the commands prints them all in one way."""
    done = run(keys, "create", "--scope", "root")
    assert isinstance(done.exception, InvalidInput)


@pytest.mark.parametrize("arguments", [["create"], ["revoke"], ["nonsense"]])
def test_wrong_usage_explains_itself(keys: Keys, arguments: list[str]) -> None:
    """Exit code 2 and a usage line, as every command line does."""
    done = run(keys, *arguments)
    assert done.exit_code == 2
    assert "Usage" in done.stderr
