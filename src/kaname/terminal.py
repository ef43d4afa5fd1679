"""What people read: sentences and tables, on a terminal as wide as it is, in a pipe or a file never cut."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

UNCUT = 10_000
"""Columns of what is no terminal: more than any line needs."""


def console(*, stderr: bool = False) -> Console:
    """Where people read; colours only on a terminal, and lines that only the terminal itself wraps.

    Brackets in a string are text: names, paths and settings hold them. What has a style is a `Text`.
    """
    from rich.console import Console

    out = Console(stderr=stderr, highlight=False, soft_wrap=True, markup=False)
    if not out.is_terminal:
        out.width = UNCUT
    return out


def user() -> str:
    """The name of the person who sits there; empty where the system knows none, as in some containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


def table(*columns: str) -> Table:
    """An empty table in the house's style; a word is broken only where it is wider than its column."""
    from rich import box
    from rich.table import Table

    grid = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in columns:
        grid.add_column(column, overflow="fold")
    return grid


def show(what: RenderableType) -> None:
    """Print a table or a page: fitted to a terminal, else at its full width and without blanks at the ends of lines."""
    out = console()
    if out.is_terminal:
        out.print(what, soft_wrap=False)
        return
    with out.capture() as captured:
        out.print(what, soft_wrap=False)
    for line in captured.get().splitlines():
        sys.stdout.write(line.rstrip() + "\n")


@contextmanager
def working(what: str) -> Iterator[None]:
    """Say what takes a while: beside something that moves on a terminal, else as a line of its own."""
    out = console()
    if out.is_terminal:
        with out.status(what):
            yield
        return
    sys.stdout.write(f"{what} …\n")
    sys.stdout.flush()
    yield
