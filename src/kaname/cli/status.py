"""`kaname status`: what runs and what would answer, seen from the project's folder."""

from __future__ import annotations

import http.client
import os
import ssl
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from kaname.cli import objects
from kaname.cli.asking import address_of
from kaname.cli.output import print_json
from kaname.models.types import ModelInfo
from kaname.project import Project, find, load_valid
from kaname.repositories.store import Repository
from kaname.serving.workers.lock import Holder, holder
from kaname.terminal import console, show, table

WAIT_S = 2.0


class ModelLine(msgspec.Struct, frozen=True, kw_only=True):
    """One model as `status` shows it."""

    name: str
    answers: str | None
    versions: int
    loaded: bool


class RepositoryLine(msgspec.Struct, frozen=True, kw_only=True):
    """One repository that models come from."""

    path: str
    kind: str
    models: int
    problems: list[str]
    """Why it cannot be read, and what of its models was refused or is not finished."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The project at one moment."""

    project: str
    address: str
    server: str
    """`ready`, `not ready: …`, `starting`, `not answering` or `not running`."""
    models: list[ModelLine]
    repositories: list[RepositoryLine]
    journal: int
    """Number of the last change of the control plane."""


def report(project: Project) -> Report:
    """What is known of `project`; opens its registry and asks its server."""
    with objects.stores_of(project) as stores:
        models = stores.models
        counts = models.version_counts()
        lines = [_line(model, counts.get(model.id, 0)) for model in models.list()]
        journal = models.seq()
        repositories = [_repository(each) for each in stores.repositories.list()]
    return Report(
        project=str(project.root),
        address=address_of(project),
        server=server_of(holder(project.root), own_certificate(project)),
        models=lines,
        repositories=repositories,
        journal=journal,
    )


def _line(model: ModelInfo, versions: int) -> ModelLine:
    return ModelLine(name=model.name, answers=model.promoted, versions=versions, loaded=model.loaded)


def _repository(found: Repository) -> RepositoryLine:
    problems = [found.fault] if found.fault else []
    for model in found.models:
        if model.refused:
            problems.append(f"{model.model}: {model.refused}")
        problems += [
            f"{model.model}/{version.version} {version.outcome}: {version.reason}"
            for version in model.versions
            if version.outcome in ("refused", "pending")
        ]
    return RepositoryLine(path=found.path, kind=found.kind, models=len(found.models), problems=problems)


def own_certificate(project: Project) -> ssl.SSLContext | None:
    """Believes the project's own server, by whatever name it is called; None where it has no certificate."""
    tls = project.settings.server.tls
    if tls.certificate is None:
        return None
    return believing(project.root / tls.certificate)


def believing(certificate: Path) -> ssl.SSLContext:
    """Believes whoever has this very certificate, whatever names are in it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(certificate)
    return context


def server_of(running: Holder | None, tls: ssl.SSLContext | None = None) -> str:
    """The state of a project's server, in a word or a line."""
    if running is None:
        return "not running"
    return ask_ready(running.url, tls) if running.url else "starting"


def ask_ready(address: str, tls: ssl.SSLContext | None = None) -> str:
    """What `/health/ready` of the server at `address` says, in one line; `tls`: whom to believe."""
    where = urlsplit(address)
    host = "127.0.0.1" if where.hostname in ("0.0.0.0", "::") else str(where.hostname)  # noqa: S104  (compared, not bound)
    connection = http.client.HTTPConnection(host, where.port, timeout=WAIT_S)
    if where.scheme == "https":
        connection = http.client.HTTPSConnection(host, where.port, timeout=WAIT_S, context=tls)
    met = False
    try:
        connection.connect()
        met = where.scheme == "https"
        connection.request("GET", "/health/ready")
        answer = connection.getresponse()
        body = answer.read(4096).decode("utf-8", "replace").strip()
    except (OSError, http.client.HTTPException):  # a server that wants a certificate says so after the handshake
        return "ready for clients with certificates" if met else "not answering"
    finally:
        connection.close()
    return "ready" if answer.status == 200 else f"not ready: {answer.status} {body}"


def run(folder: Path, *, as_json: bool) -> int:
    """Print the report; the exit code is 0 when the server is ready, else 1."""
    found = report(load_valid(find(folder), os.environ))
    code = int(not found.server.startswith("ready"))
    if as_json:
        print_json(found)
        return code
    out = console()
    out.print(f"{found.project}: {found.server} at {found.address}, {found.journal} changes so far")
    if found.models:
        grid = table("model", "answers", "versions", "loaded")
        for model in found.models:
            grid.add_row(
                model.name, model.answers or "nothing yet", str(model.versions), "yes" if model.loaded else "no"
            )
        show(grid)
    else:
        out.print("no models yet: kaname model add NAME PATH, or declare them in models/ and kaname apply")
    for repository in found.repositories:
        out.print(f"{repository.path}: {repository.models} models come from there")
        for problem in repository.problems:
            out.print(f"  {problem}")
    return code
