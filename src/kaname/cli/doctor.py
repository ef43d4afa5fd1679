"""`kaname doctor`: examine this machine and say what to do."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from rich.text import Text

from kaname.cli.machine import examine
from kaname.cli.output import print_json
from kaname.cli.upkeep import examine_project
from kaname.clock import SystemClock
from kaname.errors import InvalidInput, NotFound
from kaname.project import find, load
from kaname.settings import Settings
from kaname.terminal import console, show, table

STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def run(folder: Path, *, as_json: bool) -> int:
    """Examine the machine for the project at `folder`, or for the folder itself. Returns 1 when something fails."""
    if not folder.is_dir():
        raise InvalidInput("no such folder", where=str(folder))
    root, settings = _project(folder)
    clock = SystemClock()
    findings = [*examine(root, settings, clock), *examine_project(root, settings, clock)]
    count = Counter(finding.level for finding in findings)
    if as_json:
        print_json({"folder": str(root), "findings": findings})
        return int(count["fail"] > 0)
    grid = table("", "subject", "found", "what to do")
    for finding in findings:
        level = Text(finding.level, STYLES[finding.level])
        grid.add_row(level, finding.subject, finding.found, finding.advice)
    show(grid)
    console().print(f"{count['ok']} ok, {count['warn']} to look at, {count['fail']} to repair, for {root}")
    return int(count["fail"] > 0)


def _project(folder: Path) -> tuple[Path, Settings]:
    """The project's folder and settings; this folder and the defaults where there is no project."""
    try:
        root = find(folder)
    except NotFound:
        return folder.resolve(), Settings()
    return root, load(root, os.environ)[0].settings
