"""`kaname nodes`: who serves from the project's database, and who is late."""

from __future__ import annotations

import os
from pathlib import Path

from kaname.cli.objects import stores_of
from kaname.cli.output import print_json
from kaname.project import find, load_valid
from kaname.serving.nodes.types import NodeView
from kaname.terminal import console, show, table


def run(folder: Path, *, as_json: bool) -> int:
    """Print the nodes; the exit code is 0 when all of them answer from the last change, else 1."""
    with stores_of(load_valid(find(folder), os.environ)) as stores:
        found, shared = stores.nodes.list(), stores.nodes.shared
    if as_json:
        print_json({"nodes": found})
    elif not found:
        console().print("no node serves" if shared else "the database is a file: only this project's server uses it")
    else:
        _print(found)
    return int(any(node.state != "ready" for node in found))


def _print(nodes: list[NodeView]) -> None:
    grid = table("node", "id", "address", "release", "workers", "state", "change", "seen")
    for node in nodes:
        change = f"{node.applied} of {node.newest}"
        seen = f"{node.seen_s:g} s ago"
        grid.add_row(node.name, node.id, node.address or "-", node.release, str(node.workers), node.state, change, seen)
    show(grid)
