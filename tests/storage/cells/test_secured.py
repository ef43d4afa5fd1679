"""Cassandra behind TLS and passwords: who knows both is let in, and who does not is told which setting is wrong."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, load_pem_private_key, pkcs12
from cryptography.x509 import load_pem_x509_certificate

from kaname.cli.upkeep import cells
from kaname.clock import SystemClock
from kaname.errors import InvalidInput, Unavailable
from kaname.platform import Platform
from kaname.secret import Secret
from kaname.settings import CellsSettings
from kaname.storage.cells.cassandra.driver import Session
from kaname.storage.cells.opening import open_cells
from tests.cassandra_servers import Cassandra
from tests.certificates import LOOPBACK, Authority
from tests.processes import until

PASSWORD = "p@ss/w:rd é"
SCHEMA = """
define relation user { id string key, age int32 };
define schema users for user on cells("main") { table "users", row id, family "f", value pack[] };
"""


class Secured:
    """A node that wants TLS and a password, and a role `kaname` that may make a keyspace."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder)
        self.other = Authority(folder, "other")
        self.folder = folder
        store = _keystore(*self.authority.issue("node", *LOOPBACK))
        self.server = Cassandra(folder / "node", AUTH="password", KEYSTORE=str(store))
        until(self._told, "the role is there", 60.0)

    def _told(self) -> bool:
        """Make the role; the first one of a new node comes a moment after it answers."""
        nodes = self.server.nodes(10.0)
        first = msgspec.structs.replace(
            nodes, user="cassandra", password=Secret("cassandra"), ca_file=str(self.authority.file)
        )
        try:
            with closing(Session(first)) as session:
                for role in ("kaname", "poor"):
                    session.run(f"CREATE ROLE IF NOT EXISTS {role} WITH PASSWORD = '{PASSWORD}' AND LOGIN = true")
                session.run("GRANT CREATE ON ALL KEYSPACES TO kaname")
        except Unavailable:
            return False
        return True

    def settings(self, **said: object) -> CellsSettings:
        """What lets everybody in who knows it, or else something else."""
        known = {"user": "kaname", "password": Secret(PASSWORD), "ca_file": str(self.authority.file), **said}
        there = {"kind": "cassandra", "addresses": (f"127.0.0.1:{self.server.port}",), "timeout_ms": 10_000}
        return CellsSettings(**there, **known)  # type: ignore[arg-type]  # as the caller says


def _keystore(certificate: Path, key: Path) -> Path:
    """Both as Java reads them."""
    private = load_pem_private_key(key.read_bytes(), None)
    shown = load_pem_x509_certificate(certificate.read_bytes())
    made = pkcs12.serialize_key_and_certificates(
        b"node",
        private,  # type: ignore[arg-type]  # an elliptic curve's
        shown,
        None,
        BestAvailableEncryption(b"kaname"),
    )
    path = certificate.with_suffix(".p12")
    path.write_bytes(made)
    return path


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """One for all tests."""
    made = Secured(tmp_path_factory.mktemp("secured"))
    yield made
    made.server.stop()


@pytest.mark.services
@pytest.mark.timeout(600)
def test_a_project_reads_and_writes_by_what_its_settings_say(secured: Secured, tmp_path: Path) -> None:
    """User, password in a file, authorities beside kaname.yaml: rows are written and read."""
    (tmp_path / "password").write_text(PASSWORD + "\n")
    (tmp_path / "ca.pem").write_bytes(secured.authority.file.read_bytes())
    known = f"user: kaname, password_file: {tmp_path / 'password'}, ca_file: ca.pem, timeout_ms: 10000"
    said = f'cells: {{main: {{kind: cassandra, addresses: ["127.0.0.1:{secured.server.port}"], {known}}}}}\n'
    (tmp_path / "kaname.yaml").write_text(said)
    (tmp_path / "features").mkdir()
    (tmp_path / "features" / "user.schema").write_text(SCHEMA)
    with Platform(tmp_path) as platform:
        users = platform.features.relation("user")
        users.insert([{"id": "u1", "age": 41}])
        assert users.get({"id": "u1"}) == {"id": "u1", "age": 41}


REFUSED = {
    "a wrong password": ({"password": Secret("wrong")}, "cells.main.password: Cassandra refuses this user or password"),
    "no password": ({"password": None}, "cells.main.password: Cassandra refuses this user or password"),
    "a user that is not there": ({"user": "nobody"}, "cells.main.password: Cassandra refuses this user or password"),
    "no user": ({"user": None, "password": None}, "cells.main.user: Cassandra wants to know who asks"),
}


@pytest.mark.services
@pytest.mark.parametrize(("said", "told"), REFUSED.values(), ids=REFUSED.keys())
def test_who_is_not_known_is_told_which_setting_is_wrong(
    secured: Secured, tmp_path: Path, said: dict[str, object], told: str, caplog: pytest.LogCaptureFixture
) -> None:
    """By whoever opens the store and by the doctor; no secret is shown, and nothing else is logged."""
    settings = secured.settings(**said)
    with pytest.raises(Unavailable) as error:
        open_cells(settings, tmp_path, SystemClock(), called="cells.main")
    assert str(error.value).startswith(told)
    assert "expected a role of Cassandra that may log in, and its password" in str(error.value)
    assert cells("main", settings).found.startswith(told)
    assert "wrong" not in str(error.value)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def opened(settings: CellsSettings, folder: Path) -> str:
    """Why a store cannot be opened."""
    with pytest.raises((Unavailable, InvalidInput)) as error:
        open_cells(settings, folder, SystemClock(), called="cells.main")
    return str(error.value)


@pytest.mark.services
def test_a_node_that_nobody_vouches_for_is_not_talked_to(secured: Secured, tmp_path: Path) -> None:
    """Authorities that did not issue its certificate; a file that holds none; no file, though it wants TLS."""
    said = opened(secured.settings(ca_file=str(secured.other.file)), tmp_path)
    assert said.startswith("cells.main.ca_file: nobody vouches for a node of Cassandra")
    assert f"127.0.0.1', {secured.server.port}" in said
    (tmp_path / "empty.pem").write_text("")
    for name in ("empty.pem", "missing.pem"):
        said = opened(secured.settings(ca_file=str(tmp_path / name)), tmp_path)
        assert said.startswith(f"cells.main.ca_file: unusable certificates; found {tmp_path / name}")
    said = opened(secured.settings(ca_file=None), tmp_path)
    assert said.startswith("cells.main.ca_file: a node of Cassandra hangs up before it is asked")


@pytest.mark.services
def test_tls_where_there_is_none_is_said(cassandra: Cassandra, tmp_path: Path) -> None:
    """A node without it is not talked to in the clear."""
    there = CellsSettings(kind="cassandra", addresses=(f"127.0.0.1:{cassandra.port}",))
    authority = Authority(tmp_path)
    said = opened(msgspec.structs.replace(there, ca_file=str(authority.file)), tmp_path)
    assert said.startswith("cells.main.ca_file: a node of Cassandra does not speak TLS")


@pytest.mark.services
def test_what_a_role_may_not_do_is_said(secured: Secured, tmp_path: Path) -> None:
    """With what it would have to be allowed."""
    said = opened(secured.settings(user="poor"), tmp_path)
    assert "Cassandra does not allow this" in said
    assert "expected CREATE, ALTER, DROP, SELECT and MODIFY on the keyspace" in said


def test_a_password_without_a_user_is_refused(tmp_path: Path) -> None:
    """Nobody would be asked for it."""
    said = opened(CellsSettings(kind="cassandra", password=Secret("x")), tmp_path)
    assert said.startswith("cells.main.user: a password of nobody")
