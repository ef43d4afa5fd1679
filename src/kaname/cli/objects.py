"""Opens a project's stores for the length of one command, beside a running server or without one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from kaname.cli.ending import ending
from kaname.errors import InvalidInput
from kaname.project import Project, find, load_valid

if TYPE_CHECKING:
    from kaname.access.keys import Keys
    from kaname.access.signing import SigningKeys
    from kaname.access.tenants import Tenants
    from kaname.access.usage import Usage
    from kaname.batch.jobs import Jobs
    from kaname.features.opened import Features
    from kaname.features.relayout.running import Relayouts
    from kaname.models.registry import Models
    from kaname.models.types import VersionInfo
    from kaname.predictions.reader import PredictionReader
    from kaname.predictions.shards.log import SqlLog
    from kaname.storage.blobs.file import ArtefactStore
    from kaname.storage.blobs.types import Artefacts
    from kaname.storage.sealing.rotation import Encryption
    from kaname.stores import Stores


SETTLE_S = 2.0
"""Longest wait for workers that are behind."""


class Chosen:
    """The folder given with `kaname --project DIR`, or as the argument of a command."""

    folder = Path()
    given = False


def choose(folder: Path | None) -> None:
    """Let the command be about `folder`, unless that is None. Raises InvalidInput when another one was named before."""
    if folder is None:
        return
    if Chosen.given and folder.resolve() != Chosen.folder.resolve():
        raise InvalidInput(
            "two folders are named", where="DIR", found=str(folder), expected=f"none beside --project {Chosen.folder}"
        )
    Chosen.folder, Chosen.given = folder, True


@contextmanager
def stores_of(project: Project) -> Iterator[Stores]:
    """The stores of `project`."""
    from kaname.stores import Stores

    stores = Stores(project)
    try:
        yield stores
    finally:
        stores.close()


def _chosen() -> Project:
    return load_valid(find(Chosen.folder), os.environ)


def open_models() -> Models:
    """The registry of the chosen project, until the command ends."""
    return _open().models


def open_keys() -> Keys:
    """The keys of the chosen project, until the command ends."""
    return _open().keys


def open_tenants() -> tuple[Tenants, Usage]:
    """The tenants of the chosen project and what they have used, until the command ends."""
    stores = _open()
    return stores.tenants, stores.usage()


def open_signing() -> SigningKeys:
    """The keys of the chosen project's token endpoint; made when there are none. Needs the extra `security`."""
    from kaname.access.bearer import signing_keys

    project = _chosen()
    return signing_keys(project.settings.access, project.data)


def open_reader() -> PredictionReader:
    """The prediction record of the chosen project, until the command ends."""
    return _open().predictions


def open_sql_log() -> SqlLog:
    """The prediction log in SQL of the chosen project, until the command ends. Raises InvalidInput without one."""
    from kaname.errors import InvalidInput
    from kaname.stores import Stores

    stores = Stores(_chosen(), patient=True)  # a registry that is away keeps no events from the tables
    ending.callback(stores.close)
    log = stores.sql_log
    if log is None:
        raise InvalidInput("this project keeps no prediction log in SQL", where="record.sql.urls", expected="URLs")
    return log


def open_jobs() -> tuple[Jobs, Models]:
    """The batch jobs and the registry of the chosen project, until the command ends."""
    stores = _open()
    return stores.jobs, stores.models


def open_artefacts() -> tuple[ArtefactStore, Artefacts]:
    """The artefacts in the chosen project's folder, and those in the store that its settings name."""
    stores = _open()
    return stores.local_artefacts(), stores.artefacts


def open_features() -> Features:
    """The relations and views of the chosen project, until the command ends."""
    return _open().features


def open_relayouts() -> Relayouts:
    """Changes of layouts of the chosen project's relations, until the command ends."""
    return _open().relayouts()


def open_encryption() -> Encryption:
    """The encryption at rest of the chosen project, until the command ends."""
    return _open().encryption


def open_stores() -> Stores:
    """All stores of the chosen project, until the command ends."""
    return _open()


def check_view(name: str) -> None:
    """Raise NotFound unless the chosen project declares a view called so, and what is wrong with its files."""
    _open().features.declared(name)


def how_to_ask(version: VersionInfo, answers: bool) -> list[str]:
    """How a person asks a version of the chosen project with curl."""
    from kaname.cli.asking import lines

    return lines(_chosen(), version, answers=answers, here=Path.cwd())


def _open() -> Stores:
    """The stores of the chosen project, closed when the command ends: once the workers know what it has changed, so
    that a key that was made is good for the next command."""
    from kaname.stores import Stores

    stores = Stores(_chosen())
    ending.callback(stores.close)
    ending.callback(stores.settle, SETTLE_S)
    return stores
