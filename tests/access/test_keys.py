"""API keys in the database."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from kaname.access import tokens
from kaname.access.keys import Keys
from kaname.clock import ManualClock
from kaname.errors import InvalidInput, NotFound
from kaname.storage.sql import journal
from kaname.storage.sql.database import Database


def test_a_key_is_made_once_and_only_its_hash_is_kept(keys: Keys, database: Database, tmp_path: Path) -> None:
    """Neither the key nor its secret part is in any file of the database, nor in what is listed or journalled."""
    info, key = keys.create("shop", ["write", "predict:iris"], who="cli:me", rate_rows_per_s=5.5, burst_rows=7)
    assert info.scopes == ("predict:iris", "write")
    assert info.number == 1
    assert tokens.KEY.fullmatch(key)
    assert key.startswith(f"kn_{info.id}_")
    assert keys.list() == [info] == keys.rows()
    assert keys.get(info.id) == info
    secret = key.rpartition(f"{info.id}_")[2].encode()
    assert all(secret not in file.read_bytes() for file in tmp_path.iterdir() if file.is_file())
    assert tokens.digest(key.encode()) == info.hash
    with database.read() as conn:
        (change,) = journal.changes(conn)
    assert (change.who, change.action, change.subject) == ("cli:me", "key.create", info.id)
    assert change.detail["scopes"] == ["predict:iris", "write"]
    assert info.hash not in str(change)


def test_revoking_is_final_and_idempotent(keys: Keys, database: Database, clock: ManualClock) -> None:
    """A second time changes nothing and journals nothing; the key stays listed but is no longer valid."""
    info, _ = keys.create("k", ["read"], who="t")
    clock.advance(ms=5)
    revoked = keys.revoke(info.id, who="t")
    assert revoked.revoked_us == info.created_us + 5000
    clock.advance(ms=5)
    assert keys.revoke(info.id, who="t") == revoked
    assert keys.rows() == []
    assert keys.list() == [revoked]
    with database.read() as conn:
        assert journal.latest(conn) == 2


def test_an_unknown_id_names_the_nearest_and_never_repeats_a_key(keys: Keys) -> None:
    """Someone who pastes a whole key by mistake does not find it in the log."""
    info, key = keys.create("k", ["read"], who="t")
    wrong = info.id[:-1] + ("a" if info.id[-1] != "a" else "b")
    with pytest.raises(NotFound) as caught:
        keys.revoke(wrong, who="t")
    assert caught.value.expected == info.id
    with pytest.raises(NotFound) as caught:
        keys.revoke(key, who="t")
    assert key not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "scopes", "rate", "burst", "where"),
    [
        ("x" * 129, ["read"], None, None, "name"),
        ("a\nb", ["read"], None, None, "name"),
        ("a", ["root"], None, None, "scopes"),
        ("a", [], None, None, "scopes"),
        ("a", ["read"], 0.0, None, "rate_rows_per_s"),
        ("a", ["read"], float("nan"), None, "rate_rows_per_s"),
        ("a", ["read"], float("inf"), None, "rate_rows_per_s"),
        ("a", ["read"], 1.0, 0, "burst_rows"),
    ],
)
def test_senseless_keys_are_refused(
    keys: Keys, name: str, scopes: list[str], rate: float | None, burst: int | None, where: str
) -> None:
    """Nothing is stored, and the error names the field."""
    with pytest.raises(InvalidInput) as caught:
        keys.create(name, scopes, who="t", rate_rows_per_s=rate, burst_rows=burst)
    assert caught.value.where == where
    assert keys.list() == []


def test_the_local_admin_key_is_made_once_and_kept_private(keys: Keys, tmp_path: Path) -> None:
    """The file can be read by its owner only, and the same key comes back as long as it is valid."""
    folder = tmp_path / ".kaname"
    key = keys.ensure_local_admin(folder)
    path = folder / "admin.key"
    assert path.read_text().strip() == key
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    assert keys.ensure_local_admin(folder) == key
    assert path.stat().st_mode & 0o777 == 0o600
    assert [info.scopes for info in keys.list()] == [("admin",)]


@pytest.mark.parametrize("spoil", ["revoke", "delete", "garbage", "binary"])
def test_an_admin_file_that_is_no_longer_good_is_replaced(keys: Keys, tmp_path: Path, spoil: str) -> None:
    """A revoked key, a missing file and a file of other content each give a new valid key."""
    key = keys.ensure_local_admin(tmp_path)
    path = tmp_path / "admin.key"
    if spoil == "revoke":
        keys.revoke(keys.list()[0].id, who="t")
    elif spoil == "delete":
        path.unlink()
    else:
        path.write_bytes(b"garbage" if spoil == "garbage" else b"\xff\xfe")
    new = keys.ensure_local_admin(tmp_path)
    assert new != key
    assert new == path.read_text().strip()
    assert tokens.digest(new.encode()) in {row.hash for row in keys.rows()}


def test_starts_at_the_same_time_agree_on_one_admin_key(keys: Keys, tmp_path: Path) -> None:
    """Server and command line may both be the first."""
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(keys.ensure_local_admin(tmp_path / "x"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert len(keys.list()) == 1
