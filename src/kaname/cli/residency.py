"""`kaname residency`: what the workers of a running server hold in memory, and why the rest left."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from kaname.cli.output import print_json
from kaname.errors import Unavailable
from kaname.inference.shelf import in_units
from kaname.project import Project, find, load_valid
from kaname.serving.residency.account import VersionAccount, WorkerAccount, summed, total
from kaname.serving.residency.published import accounts_folder, ask
from kaname.serving.workers.board import running_board
from kaname.serving.workers.types import data_folder
from kaname.terminal import console, show, table

if TYPE_CHECKING:
    from rich.table import Table

MOST = 40
"""Versions in the table; `--all` and `--json` show every one."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A node's memory. The workers' own lists of versions say what each of them has."""

    workers: list[WorkerAccount]
    total: WorkerAccount
    versions: list[VersionAccount]


def report(folder: Path, model: str | None) -> Report:
    """Ask the workers of the project in `folder`. Raises Unavailable where no server runs."""
    _, workers = accounts(load_valid(find(folder), os.environ))
    versions = [version for version in summed(workers) if model in (None, version.model)]
    versions.sort(key=lambda version: (-version.resident_bytes, -(version.last_used_us or 0), version.name))
    return Report(workers=workers, total=total(workers), versions=versions)


def accounts(project: Project) -> tuple[list[int], list[WorkerAccount]]:
    """The slots of the project's workers, and the accounts of those who answer in time. Raises Unavailable without."""
    board = running_board(project.root)
    if board is None:
        raise Unavailable("no server runs on this project", where=str(project.root), expected="kaname serve")
    slots = [view.slot for view in board.ready()]
    board.close()
    return slots, ask(accounts_folder(data_folder(project.root)), slots)


def run(folder: Path, model: str | None, *, everything: bool, as_json: bool) -> None:
    """Print the report."""
    found = report(folder, model)
    if as_json:
        print_json(found)
        return
    show(_workers(found))
    console().print()
    shown = found.versions if everything else found.versions[:MOST]
    show(_versions(shown, on_device=found.total.device_budget > 0))
    if len(shown) < len(found.versions):
        console().print(f"and {len(found.versions) - len(shown)} more: --all")


def _workers(found: Report) -> Table:
    heads = ["worker", "in use", "interpreter", "models", "slack", "unaccounted", "budget", "versions", "evictions"]
    on_device = found.total.device_budget > 0
    grid = table(*heads, *(["on device", "device budget"] if on_device else []))
    rows = [*found.workers, found.total] if len(found.workers) > 1 else found.workers
    for worker in rows:
        memory = worker.memory
        other = memory.resident - memory.accounted
        sizes = (memory.resident, memory.interpreter, memory.sessions, memory.slack)
        grid.add_row(
            "all" if worker.slot < 0 else str(worker.slot),
            *map(in_units, sizes),
            f"{'-' if other < 0 else ''}{in_units(abs(other))}",
            in_units(worker.budget),
            str(worker.resident),
            str(worker.evictions),
            *(map(in_units, (worker.device_bytes, worker.device_budget)) if on_device else ()),
        )
    return grid


def _versions(versions: list[VersionAccount], *, on_device: bool) -> Table:
    heads = ["workers", "loads", "last load", "last asked", "evictions", "why"]
    grid = table("version", "state", "bytes", *(["on device"] if on_device else []), *heads)
    now = time.time()
    for version in versions:
        grid.add_row(
            version.name,
            version.state + (", pinned" if version.pinned else ""),
            in_units(version.bytes),
            *([in_units(version.device_bytes)] if on_device else []),
            str(version.workers),
            str(version.loads),
            f"{version.load_ms:.1f} ms" if version.loads else "-",
            "never" if version.last_used_us is None else _ago(now - version.last_used_us / 1e6),
            str(version.evictions),
            version.why,
        )
    return grid


def _ago(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{max(seconds, 0):.0f} s ago"
