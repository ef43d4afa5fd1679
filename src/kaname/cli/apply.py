"""`kaname apply`: the plan first, then its steps."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path

import typer
from rich.text import Text

from kaname.cli.check import problems_of
from kaname.cli.objects import SETTLE_S, stores_of
from kaname.cli.output import print_json, print_problems, problem_of
from kaname.models.plan import Plan
from kaname.project import find, load_valid
from kaname.terminal import console, user, working

TAKES_AWAY = frozenset({"archive", "unload"})
"""Steps after which something answers no longer."""


def run(folder: Path, *, yes: bool, dry_run: bool, as_json: bool) -> int:
    """Print the plan of the project at `folder` and carry it out. Returns the exit code."""
    root = find(folder)
    if problems := problems_of(root, os.environ):
        if as_json:
            print_json({"project": str(root), "problems": [problem_of(problem) for problem in problems]})
        else:
            print_problems(problems)
        return 1
    with stores_of(load_valid(root, os.environ)) as stores:
        declarations = stores.declarations()
        plan = declarations.plan()
        relations = [line for verdict in stores.features.verdicts().values() for line in verdict.changes]
        if not as_json:
            _print(plan, relations)
        if not (plan.steps or relations) or dry_run or not (yes or as_json or _agreed(plan)):
            return _done(plan, (), relations, applied=False, as_json=as_json)
        doing = nullcontext if as_json else working
        plan, notes = declarations.apply(who=f"apply:{user()}".rstrip(":"), doing=doing)
        relations = stores.features.apply()
        stores.settle(SETTLE_S)
    return _done(plan, notes, relations, applied=True, as_json=as_json)


def _print(plan: Plan, relations: list[str]) -> None:
    out = console()
    for line in relations:
        out.print(Text(f"  {line}", "green"))
    for step in plan.steps:
        out.print(Text(f"  {step}", "red" if step.action in TAKES_AWAY else "green"))
    for drift in plan.drift:
        out.print(Text.assemble(("  drift", "yellow"), f" {drift}; it stands until the file changes"))
    if not (plan.steps or relations):
        out.print("nothing to do: the registry is as the files say")


def _agreed(plan: Plan) -> bool:
    """Whether a person agrees to steps that take something away; nobody is asked about others."""
    takes = [step for step in plan.steps if step.action in TAKES_AWAY]
    return not takes or typer.confirm(f"{len(takes)} of these steps take something away. Go on?")


def _done(plan: Plan, notes: tuple[str, ...], relations: list[str], *, applied: bool, as_json: bool) -> int:
    if as_json:
        print_json(
            {"applied": applied, "steps": plan.steps, "drift": plan.drift, "notes": notes, "relations": relations}
        )
        return 0
    for note in notes:
        console().print(f"  {note}")
    if applied:
        steps = len(plan.steps) + len(relations)
        console().print(Text.assemble(("done", "green"), f": {steps} step{'s' * (steps > 1)}"))
    return 0
