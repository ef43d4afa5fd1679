"""`kaname batch …`: jobs that a running server does."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.table import Table

from kaname.batch.api import JobView
from kaname.batch.types import options_of
from kaname.errors import Conflict, Unavailable
from kaname.terminal import show, table, user

if TYPE_CHECKING:
    from kaname.batch.jobs import Jobs
    from kaname.models.registry import Models

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="As `kaname batch list` shows it.", show_default=False)]


def commands(open_jobs: Callable[[], tuple[Jobs, Models]]) -> typer.Typer:
    """The `batch` group; `open_jobs` is called once per command. Errors are KanameErrors, left to the caller."""
    app = typer.Typer(no_args_is_help=True, help="Batch jobs: files of rows that the server predicts.")
    _making(app, open_jobs)
    _looking(app, open_jobs)
    return app


def _making(app: typer.Typer, open_jobs: Callable[[], tuple[Jobs, Models]]) -> None:
    @app.command()
    def create(
        name: Annotated[str, typer.Argument(help="Name or number of the model.", show_default=False)],
        source: Annotated[
            str, typer.Option("--input", "-i", metavar="FILE", help="Below data/ of the project.", show_default=False)
        ],
        version: Annotated[str | None, typer.Option(help="The version; without, the one that answers.")] = None,
        output_format: Annotated[str | None, typer.Option(help="csv, jsonl or parquet; without, the input's.")] = None,
        on_error: Annotated[str, typer.Option(help="With a bad row: fail, null or skip.")] = "fail",
        keep: Annotated[list[str] | None, typer.Option(help="Copy this column of the input; repeatable.")] = None,
        json: Json = False,
    ) -> None:
        """Queue a job; a running server, or the next one, does it."""
        jobs, models = open_jobs()
        model = models.get(name)
        wanted = version or model.promoted
        if wanted is None:
            raise Unavailable("no version of this model has been promoted", where=model.name, expected="--version")
        asked = {"on_error": on_error, "keep": keep or [], "output_format": output_format}
        options = options_of(Path(source), Path(source), asked)
        job = jobs.create(models.version(model.id, wanted), source, options, owner=_person())
        _say(JobView.of(job), json=json, text=job.id)

    @app.command()
    def cancel(job: JobId, json: Json = False) -> None:
        """End a job that has not ended."""
        found = JobView.of(open_jobs()[0].cancel(job, who=_person()))
        _say(found, json=json, text=f"{found.id}: {found.status}")


def _looking(app: typer.Typer, open_jobs: Callable[[], tuple[Jobs, Models]]) -> None:
    @app.command("list")
    def list_(
        limit: Annotated[int, typer.Option("-n", "--limit", min=1, max=1000, help="How many.")] = 100,
        json: Json = False,
    ) -> None:
        """List the jobs, the newest first."""
        found = [JobView.of(job) for job in open_jobs()[0].list(limit=limit)]
        if json:
            typer.echo(msgspec.json.encode(found).decode())
        else:
            show(_table(found))

    @app.command("show")
    def show_(job: JobId, json: Json = False) -> None:
        """Show how far a job is, or how it ended."""
        found = JobView.of(open_jobs()[0].get(job))
        if json:
            typer.echo(msgspec.json.encode(found).decode())
            return
        show(_table([found]))
        if found.error is not None:
            parts = (found.error.where, found.error.detail)
            typer.echo("error: " + ": ".join(part for part in parts if part))

    @app.command()
    def result(
        job: JobId,
        output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Copied to.", show_default=False)],
        errors: Annotated[bool, typer.Option("--errors", help="What is wrong with the bad rows instead.")] = False,
    ) -> None:
        """Copy the result of a job that is done."""
        path, _ = open_jobs()[0].result(job, errors=errors)
        if output.exists():
            raise Conflict("the output exists already", where=str(output), expected="another name")
        draft = output.with_name(output.name + ".draft")
        shutil.copyfile(path, draft)
        draft.replace(output)
        typer.echo(str(output))


def _person() -> str:
    return f"cli:{user()}".rstrip(":")


def _say(value: object, *, json: bool, text: str) -> None:
    typer.echo(msgspec.json.encode(value).decode() if json else text)


def _table(jobs: list[JobView]) -> Table:
    grid = table("job", "model", "status", "read", "rows", "bad", "created")
    for job in jobs:
        created = datetime.fromtimestamp(job.created_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S")
        share = f"{job.done_share:.0%}"
        grid.add_row(job.id, f"{job.model}/{job.version}", job.status, share, f"{job.rows:,}", f"{job.bad:,}", created)
    return grid
