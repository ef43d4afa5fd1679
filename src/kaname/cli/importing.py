"""`kaname import` and `kaname serve --from`: repositories of other servers, taken into a project."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from kaname.cli import objects
from kaname.cli.output import print_json
from kaname.errors import Conflict, InvalidInput, NotFound
from kaname.project import FILE, find
from kaname.repositories.detect import KINDS, existing
from kaname.repositories.tables import report_page
from kaname.repositories.types import How, Kind
from kaname.terminal import show, user, working


def run(
    source: Path, *, kind: str | None, only: Sequence[str], trust_pickle: bool, dry_run: bool, as_json: bool
) -> int:
    """Take a repository into the chosen project and report; the exit code is 1 when a model or version was refused."""
    doing = nullcontext if as_json else working
    how = How(who=who("import"), trust_pickle=trust_pickle, dry_run=dry_run, doing=doing)
    repositories = objects.open_stores().repositories
    report = repositories.take_over(source, how, kind=_kind(kind) if kind else None, only=only)
    if as_json:
        print_json(report)
    else:
        show(report_page(report))
    return int(not report.whole)


def who(verb: str) -> str:
    """Who changes something, for the journal."""
    return f"{verb}:{user()}".rstrip(":")


def _kind(name: str) -> Kind:
    for kind in KINDS:
        if kind == name:
            return kind
    raise InvalidInput("no such kind of repository", where="--kind", found=name, expected=", ".join(KINDS))


# --- a project for a repository -------------------------------------------------------------------------


def project_for(source: Path, folder: Path | None) -> Path:
    """The project that serves `source`: `folder`, else the one around here, else a new one here, named after it.

    Makes it where there is none. Raises Conflict when something else is in that place.
    """
    existing(source)
    if folder is None:
        try:
            return find(Path())
        except NotFound:
            folder = Path(f"kaname-{source.resolve().name}")
    if folder.exists():
        try:
            return find(folder)
        except NotFound:
            if not folder.is_dir() or any(folder.iterdir()):
                raise Conflict(
                    "not a project, and not empty", where=str(folder), expected="a project, or a new or empty folder"
                ) from None
    return _made(source.resolve(), folder)


def _made(source: Path, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    name = source.name.replace('"', "'") or "models"
    (folder / ".gitignore").write_text(".kaname/\n")
    lines = (f"# Made to serve {source}; `kaname import` takes over what changes there.", f'name: "{name}"')
    (folder / FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder.resolve()
