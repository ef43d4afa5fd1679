"""`kaname predict`: a file of rows through a version, here and now, beside a running server or without one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import typer

from kaname import terminal
from kaname.batch.run import Run, Task
from kaname.batch.types import ON_ERROR, Progress, Summary, options_of
from kaname.cli import objects, output
from kaname.errors import InvalidInput, Unavailable
from kaname.models.registry import Models
from kaname.models.types import VersionInfo

INTERRUPTED = 130


def run(
    name: str,
    version: str | None,
    source: Path,
    target: Path,
    asked: Mapping[str, object],
    *,
    threads: int | None,
    restart: bool,
    as_json: bool,
) -> None:
    """Do it, with a bar on a terminal; says at the end what was done."""
    if asked["on_error"] not in ON_ERROR:
        raise InvalidInput(
            "no such policy", where="--on-error", found=str(asked["on_error"]), expected=", ".join(ON_ERROR)
        )
    options = options_of(source, target, asked)
    stores = objects.open_stores()
    info = wanted(stores.models, name, version)
    task = Task(
        version=info,
        config=stores.models.get(info.model_id).config,
        input=source,
        output=target,
        options=options,
        threads=threads or threads_for(info),
        restart=restart,
    )
    try:
        with _bar(f"{info.model}/{info.version}", quiet=as_json) as progress:
            done = Run(task, lambda: stores.open_version(info), stores.clock, progress=progress).run()
    except KeyboardInterrupt:
        typer.echo("interrupted: the same command goes on from here", err=True)
        raise typer.Exit(INTERRUPTED) from None
    if as_json:
        output.print_json(done)
    else:
        for line in lines(done):
            typer.echo(line)


def wanted(models: Models, name: str, version: str | None) -> VersionInfo:
    """The version named, or the one that answers. Raises NotFound, or Unavailable when none answers."""
    model = models.get(name)
    found = version or model.promoted
    if found is None:
        raise Unavailable("no version of this model has been promoted", where=model.name, expected="--version")
    return models.version(model.id, found)


def threads_for(info: VersionInfo) -> int:
    """One per core that this process may use; a Python model computes under the interpreter's lock."""
    return 1 if info.runtime == "python" else len(os.sched_getaffinity(0))


def lines(done: Summary) -> Iterator[str]:
    """What was done, for people."""
    rows = done.rows - done.resumed_at
    rate = f"{rows / done.seconds:,.0f} rows/s" if done.seconds else ""
    resumed = f" (went on at row {done.resumed_at + 1:,})" if done.resumed_at else ""
    yield f"{done.rows:,} rows by {done.model}/{done.version} in {done.output}{resumed}: {done.seconds:.1f} s, {rate}"
    if done.errors is not None:
        yield f"{done.bad:,} of them are bad: {done.errors} says why"


@contextmanager
def _bar(what: str, *, quiet: bool) -> Iterator[Callable[[Progress], None]]:
    """A bar on a terminal, else nothing."""
    out = terminal.console(stderr=True)
    if quiet or not out.is_terminal:
        yield lambda _: None
        return
    from rich import progress as rich

    shown = rich.TextColumn("{task.fields[rows]:,} rows, {task.fields[bad]:,} bad")
    parts = (rich.TextColumn(what), rich.BarColumn(), rich.TaskProgressColumn(), shown, rich.TimeRemainingColumn())
    with rich.Progress(*parts, console=out) as bars:
        bar = bars.add_task(what, rows=0, bad=0, total=None)

        def show(at: Progress) -> None:
            bars.update(bar, completed=at.done, total=at.total, rows=at.rows, bad=at.bad)

        yield show
