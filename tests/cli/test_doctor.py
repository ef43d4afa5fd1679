"""The doctor: on this machine all is answered, and each threshold has its advice."""

from __future__ import annotations

import socket
from datetime import timedelta
from pathlib import Path

import pytest

from kaname.cli import machine, upkeep
from kaname.cli.findings import Finding
from kaname.clock import SystemClock
from kaname.serving.workers.lock import ProjectLock
from kaname.settings import ArtefactSettings, ServerSettings, Settings, TlsSettings
from tests.certificates import Authority
from tests.cli.kaname import kaname

SUBJECTS = {"python", "onnxruntime", "libgomp", "cores", "open files", "disk", "file system", "fsync", "clock", "port"}


def test_this_machine_is_examined(tmp_path: Path) -> None:
    """Every subject is answered, a level that is not ok comes with advice, and nothing is left in the folder."""
    findings = list(machine.examine(tmp_path, Settings(), SystemClock()))
    assert {finding.subject for finding in findings} >= SUBJECTS
    assert [finding for finding in findings if finding.level != "ok" and not finding.advice] == []
    assert list(tmp_path.iterdir()) == []


def test_the_command_reports_as_table_and_as_json(tmp_path: Path) -> None:
    """People get a table and a summary, machines one document; no project is needed."""
    assert "to repair, for" in kaname("doctor", tmp_path).out
    findings = kaname("doctor", tmp_path, "--json").json()["findings"]
    assert {finding["subject"] for finding in findings} >= SUBJECTS
    assert kaname("doctor", tmp_path / "none").code == 2


def test_slow_disks_are_told_from_fast_ones() -> None:
    """The median decides, at 20 and 200 ms."""
    assert machine.judge_fsync(1.0, 500.0).level == "ok"
    assert machine.judge_fsync(25.0, 30.0).level == "warn"
    assert machine.judge_fsync(250.0, 300.0).level == "fail"


def test_clocks_that_lie_are_named() -> None:
    """Years behind, another opinion in the file system, and nothing that keeps it in step."""
    now = machine.BUILT_S + 1000.0
    assert machine.judge_clock(1.0, 0.0, in_step=True).level == "fail"
    assert machine.judge_clock(now, 5.0, in_step=True).level == "warn"
    assert machine.judge_clock(now, 0.1, in_step=False).level == "warn"
    assert machine.judge_clock(now, 0.1, in_step=None).level == "ok"


def test_little_room_and_few_files_are_named(tmp_path: Path) -> None:
    """Disk space has two thresholds, open files one."""
    assert machine.disk_space(tmp_path, free=10 * 1024**3).level == "ok"
    assert machine.disk_space(tmp_path, free=1024**3).level == "warn"
    assert machine.disk_space(tmp_path, free=1024).level == "fail"
    assert "ulimit -n" in machine.open_files(limit=256).advice


def test_a_port_that_the_projects_own_server_has_is_in_order(tmp_path: Path) -> None:
    """Nobody is told to choose another port for the server that runs."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = Settings(server=ServerSettings(port=taken.getsockname()[1]))
        assert _port(tmp_path, settings).level == "warn"
        lock = ProjectLock(tmp_path)
        lock.announce("http://127.0.0.1:1")
        assert _port(tmp_path, settings).level == "ok"
        lock.release()


def _port(folder: Path, settings: Settings) -> Finding:
    (found,) = [each for each in machine.examine(folder, settings, SystemClock()) if each.subject == "port"]
    return found


def test_a_taken_port_and_too_many_workers_are_named() -> None:
    """What would fail at the start is said before."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert machine.port("127.0.0.1", taken.getsockname()[1]).level == "warn"
    assert machine.cores(10_000).level == "warn"


@pytest.mark.parametrize(
    ("lasts", "level", "found"),
    [
        (timedelta(days=40, hours=1), "ok", "(40 days)"),
        (timedelta(days=3, hours=1), "warn", "(3 days)"),
        (timedelta(minutes=-30), "fail", "expired"),
    ],
)
def test_a_certificate_is_renewed_in_time(tmp_path: Path, lasts: timedelta, level: str, found: str) -> None:
    """How long it is valid is read from the pair that the server would show."""
    certificate, key = Authority(tmp_path).issue("server", lasts=lasts)
    tls = TlsSettings(certificate=certificate.name, key=key.name)
    (finding,) = upkeep.examine_project(tmp_path, Settings(server=ServerSettings(tls=tls)), SystemClock())
    assert (finding.subject, finding.level) == ("certificate", level)
    assert found in finding.found


def test_a_pair_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """A key of another certificate, a file that is not there; not one whose clients must show theirs."""
    authority = Authority(tmp_path)
    certificate, key = authority.issue("server", lasts=timedelta(days=99))
    _, other = authority.issue("other")
    strict = TlsSettings(certificate=certificate.name, key=key.name, client_ca=authority.file.name, clients="required")
    wrong = TlsSettings(certificate=certificate.name, key=other.name)
    missing = TlsSettings(certificate="none.pem")
    levels = [upkeep.certificate(tmp_path, tls, SystemClock()).level for tls in (strict, wrong, missing)]
    assert levels == ["ok", "fail", "fail"]


def test_the_cache_of_artefacts_is_measured(tmp_path: Path) -> None:
    """Where the artefacts lie elsewhere: what it holds of its budget, and whether the disk has the rest."""
    folder = tmp_path / "copies"
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "model.onnx").write_bytes(bytes(3 * 1024**2))
    artefacts = ArtefactSettings(url="s3://bucket", cache_folder=str(folder), cache_bytes=1024**3)
    (finding,) = upkeep.examine_project(tmp_path, Settings(artefacts=artefacts), SystemClock())
    assert (finding.subject, finding.found) == ("artefact cache", "3.0 MiB of 1.00 GiB")
    assert upkeep.judge_cache(0, 1024**3, 1024**2).level == "warn"
    assert list(upkeep.examine_project(tmp_path, Settings(), SystemClock())) == []
