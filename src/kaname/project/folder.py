"""The project folder: found from inside it, and its settings with the origin of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from kaname.addresses import is_confidential, is_loopback, is_url
from kaname.errors import InvalidInput, KanameError, NotFound, first_of
from kaname.project.document import Document, read
from kaname.project.environment import overrides_of
from kaname.project.secret_files import read_secret_files
from kaname.project.typed import problems_in
from kaname.secret import secret_hook
from kaname.settings import Settings

FILE = "kaname.yaml"

PROFILES: dict[str, dict[str, object]] = {"local": {}, "cluster": {"access.rate_rows_per_s": 1000.0}}
"""Defaults that a profile changes, by dotted name."""


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """One project folder and its settings."""

    root: Path
    settings: Settings
    origins: dict[str, str]
    """Dotted setting -> where its value came from: `kaname.yaml:3:9`, `KANAME_SERVER__PORT`, `profile cluster`,
    `command line`; a setting that is not here has its default."""

    @property
    def data(self) -> Path:
        """Where the embedded stores live; not in git."""
        return self.root / ".kaname"


def find(start: Path) -> Path:
    """The project folder at `start`, or the nearest one around it. Raises NotFound, which says how to make one."""
    start = start.resolve()
    for folder in (start, *start.parents):
        if (folder / FILE).is_file():
            return folder
    raise NotFound(f"no {FILE} here or in a folder above; `kaname init DIR` makes a project", where=str(start))


def load(
    root: Path, environ: Mapping[str, str], overrides: Mapping[str, object] | None = None
) -> tuple[Project, list[KanameError]]:
    """The project at `root`, and everything that is wrong with its settings.

    Later sources win: the profile's defaults, `kaname.yaml`, the environment, `overrides` (dotted names, from
    the command line). With problems, the project holds what the defaults and the valid sources say.
    """
    problems: list[KanameError] = []
    values: dict[str, object] = {}
    origins: dict[str, str] = {}
    try:
        document = read(root / FILE, shown=FILE)
    except KanameError as problem:
        problems.append(problem)
        document = Document(FILE, {}, {}, {})
    _, wrong = problems_in(document, Settings)
    problems += wrong
    if not wrong:
        for path, value in _leaves(document.value):
            values[".".join(path)], origins[".".join(path)] = value, str(document.place(path))
    variables, wrong = overrides_of(environ)
    problems += wrong
    for name, (variable, value) in variables.items():
        values[name], origins[name] = value, variable
    for name, value in (overrides or {}).items():
        values[name], origins[name] = value, "command line"
    profile = values.get("profile", "local")
    for name, value in PROFILES.get(str(profile), {}).items():
        if name not in values:
            values[name], origins[name] = value, f"profile {profile}"
    problems += read_secret_files(values, origins, root, Settings)
    try:
        settings = msgspec.convert(_nested(values), Settings, dec_hook=secret_hook)
    except msgspec.ValidationError as error:
        problems.append(InvalidInput(str(error), where="command line"))
        settings = Settings()
    problems += _contradictions(settings, origins)
    return Project(root=root, settings=settings, origins=origins), problems


def load_valid(root: Path, environ: Mapping[str, str], overrides: Mapping[str, object] | None = None) -> Project:
    """`load`, which raises the first problem."""
    project, problems = load(root, environ, overrides)
    if problems:
        raise first_of(problems)
    return project


def _contradictions(settings: Settings, origins: Mapping[str, str]) -> Iterator[KanameError]:
    """What no single value shows."""
    access = settings.access
    tls = settings.server.tls
    known = tls.certificate is not None and tls.client_ca is not None and tls.clients == "required"
    exposed = not is_loopback(settings.server.host) and not known
    if exposed and access.authentication == "off" and not access.allow_insecure_bind:
        yield InvalidInput(
            "anyone on the network would be admin",
            where=origins.get("server.host", "server.host"),
            found=f"host {settings.server.host} with authentication off",
            expected="host 127.0.0.1, access.authentication: required, or access.allow_insecure_bind: true",
        )
    for name in ("key", "key_password", "client_ca"):
        if tls.certificate is None and getattr(tls, name) is not None:
            where = origins.get(f"server.tls.{name}", f"server.tls.{name}")
            yield InvalidInput("no use without server.tls.certificate", where=where, expected="a certificate, too")
    if access.certificates and tls.client_ca is None:
        where = origins.get("access.certificates", "access.certificates")
        yield InvalidInput("nobody vouches for clients", where=where, expected="server.tls.client_ca")

    names: set[str] = set()
    for issuer in access.tokens:
        where = origins.get("access.tokens", "access.tokens")
        source = issuer.jwks or issuer.issuer
        if issuer.name in names:
            yield InvalidInput("two issuers of one name", where=where, found=issuer.name, expected="a name for each")
        if (is_url(source) or issuer.jwks is None) and not is_confidential(source):
            what = f"the keys of {issuer.name} could be replaced on the way"
            yield InvalidInput(what, where=where, found=source, expected="an https:// URL, or a file")
        names.add(issuer.name)


def _leaves(value: object, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    """Each value of nested mappings that is not a mapping, or an empty one, with its path."""
    if isinstance(value, dict) and (value or not path):
        for key, inner in value.items():
            yield from _leaves(inner, (*path, key))
    else:
        yield path, value


def _nested(values: Mapping[str, object]) -> dict[str, object]:
    """Dotted names as nested mappings."""
    out: dict[str, object] = {}
    for name, value in values.items():
        *groups, last = name.split(".")
        inner = out
        for group in groups:
            step = inner.setdefault(group, {})
            assert isinstance(step, dict)
            inner = step
        inner[last] = {} if value == {} else value
    return out
