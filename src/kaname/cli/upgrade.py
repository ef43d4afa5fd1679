"""`kaname upgrade`: the schema of the database, forward or back."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import msgspec

from kaname.cli.output import print_json
from kaname.project import find, load_valid
from kaname.storage.sql.upgrade import Step, check, revisions, steps_from
from kaname.stores import database_of
from kaname.terminal import console


class Upgraded(msgspec.Struct, frozen=True, kw_only=True):
    """What was done, or would be."""

    database: str
    before: str | None
    after: str
    done: bool
    steps: list[Step]
    """The migrations, in the order in which they are made; undone ones when the schema goes back."""


def run(folder: Path, *, dry_run: bool, to: str | None, as_json: bool) -> None:
    """Print the steps, and make them unless `dry_run`. Raises what opening a database does."""
    project = load_valid(find(folder), os.environ)
    with closing(database_of(project, patient=True)) as database:
        before, target = database.revision(), to or revisions()[-1]
        check(target)
        if not dry_run and before != target:
            database.migrate(target)
        found = Upgraded(
            database=database.place, before=before, after=target, done=not dry_run, steps=_between(before, target)
        )
    if as_json:
        print_json(found)
    else:
        _say(found)


def _between(before: str | None, target: str) -> list[Step]:
    goal = "" if target == "base" else target
    forward = [step for step in steps_from(before) if step.revision <= goal]
    return forward or [step for step in reversed(steps_from(goal or None)) if step.revision <= (before or "")]


def _say(found: Upgraded) -> None:
    out = console()
    out.print(f"{found.database}: schema {found.before or 'none'}", highlight=False)
    sign = "-" if (found.before or "") > found.after else "+"
    for step in found.steps:
        out.print(f"  {sign} {step.revision}  {step.what}", highlight=False)
    if not found.steps:
        out.print("nothing to do")
    elif found.done:
        out.print(f"now at schema {found.after}")
