"""Where a project's server answers, and the curl command that asks it: which key, which body."""

from __future__ import annotations

import shlex
from pathlib import Path

import msgspec

from kaname.models.types import VersionInfo
from kaname.project import Project
from kaname.serving.workers.lock import holder

LONG = 400
"""Characters of a sample beyond which it is piped in instead of shown."""


def lines(project: Project, version: VersionInfo, *, answers: bool, here: Path) -> list[str]:
    """Lines for a person in the folder `here`; `answers`: the version answers for its model, without being named."""
    if version.sample is None:
        return []
    running = holder(project.root)
    folder = "" if here == project.root else f" {shlex.quote(str(project.root))}"
    first = [] if running is not None else [f"Start the server: kaname serve{folder}"]
    if running is None and project.settings.server.port == 0:
        return first
    return [*first, "Try it:", *_curl(project, version, answers, here)]


def address_of(project: Project) -> str:
    """Where the project's server answers: as it says itself while it runs, else as the settings say."""
    running = holder(project.root)
    server = project.settings.server
    scheme = "http" if server.tls.certificate is None else "https"
    host = f"[{server.host}]" if ":" in server.host else server.host
    return running.url if running is not None and running.url else f"{scheme}://{host}:{server.port}"


def _curl(project: Project, version: VersionInfo, answers: bool, here: Path) -> list[str]:
    named = "" if answers else f"/versions/{version.version}"
    url = f"{_reachable(address_of(project))}/api/v1/models/{version.model}{named}/predict"
    body = msgspec.json.encode(version.sample).decode()
    within = "" if here == project.root else f" -C {shlex.quote(str(project.root))}"
    pipe = f"kaname{within} model sample {version.model} {version.version} | "
    parts = [
        f"{pipe if len(body) > LONG else ''}curl -s {url}",
        *_authorization(project, here),
        f"--json {'@-' if len(body) > LONG else shlex.quote(body)}",
    ]
    return ["  " + " \\\n    ".join(parts)]


def _authorization(project: Project, here: Path) -> list[str]:
    if project.settings.access.authentication == "off":
        return []
    key = project.data / "admin.key"
    shown = key.relative_to(here) if key.is_relative_to(here) else key
    return [f'-H "Authorization: Bearer $(cat {shlex.quote(str(shown))})"']


def _reachable(address: str) -> str:
    """The address as a client on this machine writes it."""
    return address.replace("://0.0.0.0:", "://127.0.0.1:").replace("://[::]:", "://[::1]:")
