"""The entry point `kaname`: every command with its options and help. Bodies import what they need when they run."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from kaname import __version__
from kaname.cli.ending import ending
from kaname.cli.lazy import Commands
from kaname.errors import KanameError

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="One platform for models in production: a folder describes them, one command serves them, "
    "every prediction is recorded.",
    epilog="Start with: kaname init my-project && kaname serve my-project",
)

START, WORK, LOOK = "Start", "Work", "Look"
TRUST = "Read pickles; they run the code in them."
Folder = Annotated[
    Path | None,
    typer.Argument(metavar="DIR", help="The project folder, or one inside it.", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"kaname {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    project: Annotated[
        Path | None,
        typer.Option(
            "--project", "-C", metavar="DIR", help="The project of any command; without, the one around here."
        ),
    ] = None,
    version: Annotated[  # noqa: ARG001  (its callback prints it)
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    from kaname.cli import objects

    objects.choose(project)


def _at(folder: Path | None) -> Path:
    """The folder that a command is about: its own argument, else the one that `-C` names."""
    from kaname.cli import objects

    objects.choose(folder)
    return objects.Chosen.folder


def _chosen() -> bool:
    """Whether `-C` named a project."""
    from kaname.cli import objects

    return objects.Chosen.given


@app.command(rich_help_panel=START)
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder.")],
    as_json: Json = False,
) -> None:
    """Make a project that runs: settings, a small model, a README."""
    from kaname.cli.init import run

    run(folder, as_json=as_json)


@app.command(rich_help_panel=START)
def serve(
    folder: Folder = None,
    host: Annotated[str | None, typer.Option(help="Address to bind.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="TCP port; 0 picks a free one.")] = None,
    grpc_port: Annotated[int | None, typer.Option(min=0, max=65535, help="TCP port of gRPC; 0: none.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes; one per core at most.")] = None,
    source: Annotated[
        Path | None, typer.Option("--from", metavar="DIR", help="Take over a model repository first.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="With --from: go on following it.")] = False,
    trust_pickle: Annotated[bool, typer.Option("--trust-pickle", help=f"With --from. {TRUST}")] = False,
) -> None:
    """Apply what the folder declares and answer requests until stopped."""
    from kaname.cli.serve import run, run_from

    given = {"server.host": host, "server.port": port, "server.grpc_port": grpc_port, "server.workers": workers}
    overrides: dict[str, object] = {name: value for name, value in given.items() if value is not None}
    if source is None:
        raise typer.Exit(run(_at(folder), overrides))
    chosen = None if folder is None and not _chosen() else _at(folder)
    raise typer.Exit(run_from(source, chosen, overrides, watch=watch, trust_pickle=trust_pickle))


@app.command(rich_help_panel=START)
def check(folder: Folder = None, as_json: Json = False) -> None:
    """Validate every file of a project; each fault with file, line and column."""
    from kaname.cli.check import run

    raise typer.Exit(run(_at(folder), as_json=as_json))


@app.command(rich_help_panel=START)
def apply(
    folder: Folder = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before something is deleted.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop.")] = False,
    as_json: Json = False,
) -> None:
    """Show what the files of models/ would change, and change it."""
    from kaname.cli.apply import run

    raise typer.Exit(run(_at(folder), yes=yes, dry_run=dry_run, as_json=as_json))


@app.command(rich_help_panel=WORK)
def upgrade(
    folder: Folder = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done and stop.")] = False,
    to: Annotated[str | None, typer.Option(metavar="REVISION", help="Not to the newest schema; may be older.")] = None,
    as_json: Json = False,
) -> None:
    """Bring the database's tables to what this release uses; `serve` does so, too."""
    from kaname.cli.upgrade import run

    run(_at(folder), dry_run=dry_run, to=to, as_json=as_json)


@app.command(rich_help_panel=WORK)
def predict(
    name: Annotated[str, typer.Argument(help="Name or number of the model.", show_default=False)],
    source: Annotated[
        Path,
        typer.Option("--input", "-i", metavar="FILE", help="Rows: CSV, JSON lines or Parquet.", show_default=False),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Answers, in any of the formats.", show_default=False)
    ],
    version: Annotated[str | None, typer.Option(help="The version; without, the one that answers.")] = None,
    keep: Annotated[list[str] | None, typer.Option(help="Copy this column of the input; repeatable.")] = None,
    keep_all: Annotated[bool, typer.Option("--keep-all", help="Copy every column of the input.")] = False,
    on_error: Annotated[str, typer.Option(help="With a bad row: fail, null (no answer) or skip (no row).")] = "fail",
    input_format: Annotated[
        str | None, typer.Option(help="csv, jsonl or parquet; without, as the ending says.")
    ] = None,
    output_format: Annotated[str | None, typer.Option(help="Likewise.")] = None,
    delimiter: Annotated[str | None, typer.Option(help="Between the cells of a CSV input.", show_default=False)] = None,
    null: Annotated[list[str] | None, typer.Option(help="A CSV cell that means null, as NA; repeatable.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads that predict; without, one per core.")] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Begin anew, in place of what an earlier run left.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Predict every row of a file; a run that was interrupted goes on where it was."""
    from kaname.cli.predict import run

    asked: dict[str, object] = {"keep": keep or [], "delimiter": delimiter, "nulls": null or []}
    asked |= {"on_error": on_error, "input_format": input_format, "output_format": output_format, "keep_all": keep_all}
    run(name, version, source, output, asked, threads=threads, restart=restart, as_json=as_json)


@app.command("import", rich_help_panel=WORK)
def import_(
    source: Annotated[Path, typer.Argument(metavar="DIR", help="The repository's folder.", show_default=False)],
    kind: Annotated[
        str | None,
        typer.Option(help="triton, mlserver, tensorflow, mlflow or folders; without, what it looks like."),
    ] = None,
    only: Annotated[list[str] | None, typer.Option(help="Only this model; repeatable.")] = None,
    trust_pickle: Annotated[bool, typer.Option("--trust-pickle", help=TRUST)] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what could be taken over and stop.")] = False,
    as_json: Json = False,
) -> None:
    """Take over a model repository of Triton, MLServer, TensorFlow Serving or MLflow."""
    from kaname.cli.importing import run

    asked = {"trust_pickle": trust_pickle, "dry_run": dry_run, "as_json": as_json}
    raise typer.Exit(run(source, kind=kind, only=only or [], **asked))


@app.command(rich_help_panel=LOOK)
def status(folder: Folder = None, as_json: Json = False) -> None:
    """Say whether the server runs and which version of each model answers."""
    from kaname.cli.status import run

    raise typer.Exit(run(_at(folder), as_json=as_json))


@app.command(rich_help_panel=LOOK)
def nodes(folder: Folder = None, as_json: Json = False) -> None:
    """List the nodes that share the database, and who of them is late."""
    from kaname.cli.nodes import run

    raise typer.Exit(run(_at(folder), as_json=as_json))


@app.command(rich_help_panel=LOOK)
def residency(
    model: Annotated[str | None, typer.Argument(help="Only versions of this model.", show_default=False)] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every version that was ever asked.")] = False,
    as_json: Json = False,
) -> None:
    """Show what is in memory: bytes, loads, last use, and why versions left."""
    from kaname.cli.objects import Chosen
    from kaname.cli.residency import run

    run(Chosen.folder, model, everything=everything, as_json=as_json)


@app.command(rich_help_panel=LOOK)
def top(
    model: Annotated[str | None, typer.Argument(help="Only this model.", show_default=False)] = None,
    interval: Annotated[float, typer.Option(min=0.1, max=3600, help="Seconds between two looks.")] = 2.0,
    sort: Annotated[
        str, typer.Option(help="model, rate, rows, errors, p50, p99, batch, queue, busy, cached, loads or memory.")
    ] = "rate",
    versions: Annotated[bool, typer.Option("--versions", help="A line for each version, not for each model.")] = False,
    once: Annotated[bool, typer.Option("--once", help="Look over one interval, print and end.")] = False,
    server: Annotated[
        str | None, typer.Option(metavar="URL", help="Another server than the project's.", show_default=False)
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(envvar="KANAME_KEY", help="Its key, with the scope read.", show_default=False),
    ] = None,
    ca: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Whose certificates to believe.", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Watch the server: rate, errors, latency, batches, queue and memory of each model, live."""
    from kaname.cli.objects import Chosen
    from kaname.cli.top.command import run
    from kaname.cli.top.screen import Asked

    asked = Asked(model, sort, versions)
    run(Chosen.folder, asked, interval_s=interval, once=once, as_json=as_json, server=server, key=key, ca=ca)


@app.command(rich_help_panel=LOOK)
def settings(
    folder: Folder = None,
    changed: Annotated[bool, typer.Option("--changed", help="Only those that differ from their default.")] = False,
    as_json: Json = False,
) -> None:
    """Print each setting with its value, where it came from, unit and default."""
    from kaname.cli.settings import run

    run(_at(folder), changed=changed, as_json=as_json)


@app.command(rich_help_panel=LOOK)
def doctor(folder: Folder = None, as_json: Json = False) -> None:
    """Check this machine: libraries, disk, clock, limits; and say what to do."""
    from kaname.cli.doctor import run

    raise typer.Exit(run(_at(folder), as_json=as_json))


def main() -> NoReturn:
    """Run the command line; errors become a short message and an exit code, never a traceback.

    `KANAME_DEBUG=1` shows tracebacks.
    """
    try:
        with ending:
            app()
    except KanameError as error:
        _leave(error)
    except OSError as error:
        _leave(KanameError(error.strerror or str(error), where=str(error.filename) if error.filename else None))
    except Exception as error:  # noqa: BLE001  (the last guard before a person)
        _leave(KanameError(f"a fault in kaname itself: {type(error).__name__}: {error}; KANAME_DEBUG=1 shows where"))
    sys.exit(0)


def _leave(error: KanameError) -> NoReturn:
    """Report the error being handled and exit."""
    from kaname.cli.output import report

    if os.environ.get("KANAME_DEBUG") == "1":
        raise
    sys.exit(report(error, as_json="--json" in sys.argv))
