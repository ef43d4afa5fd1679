"""What `kaname doctor` finds out about a project: how long its certificate is valid, its copies of artefacts, and
its stores of cells."""

from __future__ import annotations

import shutil
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

from kaname.cli.findings import Finding
from kaname.cli.status import believing
from kaname.clock import Clock
from kaname.errors import KanameError
from kaname.inference.shelf import in_units
from kaname.serving.certificates import Certificates
from kaname.serving.workers.types import data_folder
from kaname.settings import CellsSettings, Settings, TlsSettings
from kaname.storage.cells.opening import danger_of, located

SOON_DAYS = 14
DURABLE = "set `commitlog_sync: group` or `batch` in the cassandra.yaml of every node"
_DAY_S = 86_400
_NOT_YET_VALID, _EXPIRED = 9, 10
"""What OpenSSL's verification says (X509_V_ERR_…)."""


def examine_project(root: Path, settings: Settings, clock: Clock) -> Iterator[Finding]:
    """Every finding about the project in `root`."""
    if settings.server.tls.certificate is not None:
        yield certificate(root, settings.server.tls, clock)
    if settings.artefacts.url:
        yield artefact_cache(Path(settings.artefacts.cache_folder or data_folder(root) / "cache"), settings)
    for name, store in settings.cells.items():
        yield cells(name, located(store, root))


def cells(name: str, store: CellsSettings) -> Finding:
    """Whether the servers of a store of cells answer, and keep what they confirm."""
    subject = f"cells {name}"
    try:
        danger = danger_of(store, called=f"cells.{name}")
    except KanameError as error:
        advice = f"look at cells.{name} in kaname.yaml, and at the servers"
        return Finding(subject=subject, level="fail", found=str(error), advice=advice)
    if danger:
        return Finding(subject=subject, level="warn", found=danger, advice=DURABLE)
    return Finding(subject=subject, level="ok", found=store.kind)


def certificate(root: Path, tls: TlsSettings, clock: Clock) -> Finding:
    """Whether the server's certificate can be used, and for how long."""
    assert tls.certificate is not None
    try:
        until_s = _valid_until_s(Certificates(tls, root).context, root / tls.certificate)
    except ssl.SSLCertVerificationError as error:
        if error.verify_code not in (_NOT_YET_VALID, _EXPIRED):
            raise
        found = "expired" if error.verify_code == _EXPIRED else "not valid yet"
        advice = "renew it: clients refuse it; new files are taken without a restart"
        return Finding(subject="certificate", level="fail", found=found, advice=advice)
    except (KanameError, OSError) as error:
        return Finding(subject="certificate", level="fail", found=str(error), advice="set server.tls to a usable pair")
    return judge_certificate(until_s, clock.time_ns() / 1e9)


def judge_certificate(until_s: float, now_s: float) -> Finding:
    """What the end of a certificate's time means now."""
    days = (until_s - now_s) / _DAY_S
    found = f"valid until {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime(until_s))} ({days:.0f} days)"
    if days < SOON_DAYS:
        advice = "renew it: new files are taken without a restart"
        return Finding(subject="certificate", level="warn", found=found, advice=advice)
    return Finding(subject="certificate", level="ok", found=found)


def _valid_until_s(server: ssl.SSLContext, certificate: Path) -> float:
    """When the certificate that a server shows ends: a handshake with oneself, in memory."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = believing(certificate).wrap_bio(to_client, to_server)
    answering = server.wrap_bio(to_server, to_client, server_side=True)
    for side in (client, answering, client):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    shown = client.getpeercert()
    assert shown is not None
    return ssl.cert_time_to_seconds(str(shown["notAfter"]))


def artefact_cache(folder: Path, settings: Settings) -> Finding:
    """How full the node's copies of artefacts are, and whether the disk has the room that they may take."""
    used = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) if folder.is_dir() else 0
    place = next(each for each in (folder, *folder.absolute().parents) if each.is_dir())
    return judge_cache(used, settings.artefacts.cache_bytes, shutil.disk_usage(place).free)


def judge_cache(used: int, budget: int, free: int) -> Finding:
    """What these bytes mean."""
    found = f"{in_units(used)} of {in_units(budget)}"
    if free < budget - used:
        advice = f"the disk has {in_units(free)} left: make room, or lower artefacts.cache_bytes"
        return Finding(subject="artefact cache", level="warn", found=found, advice=advice)
    return Finding(subject="artefact cache", level="ok", found=found)
