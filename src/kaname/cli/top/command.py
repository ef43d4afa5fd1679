"""`kaname top`: live on a terminal, once elsewhere."""

from __future__ import annotations

import os
import time
from pathlib import Path

from kaname.cli.output import print_json
from kaname.cli.top.columns import sort_column
from kaname.cli.top.figures import between
from kaname.cli.top.screen import Asked, Screen
from kaname.cli.top.screen import run as run_live
from kaname.cli.top.source import Other, Own, Source
from kaname.cli.top.tables import Shown, frame
from kaname.client import Client
from kaname.clock import SystemClock
from kaname.errors import InvalidInput
from kaname.project import find, load_valid
from kaname.terminal import console, show

TIMEOUT_S = 10.0


def run(
    folder: Path,
    asked: Asked,
    *,
    interval_s: float,
    once: bool,
    as_json: bool,
    server: str | None,
    key: str | None,
    ca: Path | None,
) -> None:
    """Show the server at `server`, or that of the project in `folder`."""
    sort_column(asked.sort)  # before anything is asked
    source = _source(folder, server, key, ca)
    first = source.look()
    if not (once or as_json) and console().is_terminal:
        run_live(Screen(first, asked), source, interval_s)
        return
    time.sleep(interval_s)
    window = between(first, source.look(), versions=asked.versions, model=asked.model)
    if as_json:
        print_json(window)
    else:
        show(frame(window, Shown(asked.sort), console().width))


def _source(folder: Path, server: str | None, key: str | None, ca: Path | None) -> Source:
    clock = SystemClock()
    if server is not None:
        return Other(server, Client(server, key, timeout_s=TIMEOUT_S, ca=ca), clock)
    for name, given in (("--key", key), ("--ca", ca)):
        if given is not None:
            raise InvalidInput("is for another server than the project's", where=name, expected="--server URL")
    return Own(load_valid(find(folder), os.environ), clock)
