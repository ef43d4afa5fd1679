"""`kaname artefacts …`: take a project's artefacts to a bucket."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import msgspec
import typer

from kaname.errors import InvalidInput
from kaname.storage.blobs.bucket import BucketArtefacts
from kaname.storage.blobs.file import ArtefactStore
from kaname.storage.blobs.types import Artefacts

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]


def commands(open_artefacts: Callable[[], tuple[ArtefactStore, Artefacts]]) -> typer.Typer:
    """The `artefacts` group. `open_artefacts` opens those in the project's folder, and those that the settings name.

    Errors leave as KanameError; the caller prints them.
    """
    app = typer.Typer(help="The files of versions.", no_args_is_help=True)

    @app.callback()
    def _group() -> None:  # keeps a single command a command
        pass

    @app.command()
    def push(json: Json = False) -> None:
        """Send the artefacts in the project's folder to the bucket of artefacts.url; what is there is skipped."""
        folder, bucket = open_artefacts()
        if not isinstance(bucket, BucketArtefacts):
            raise InvalidInput(
                "there is no bucket to send them to", where="artefacts.url", expected="s3://bucket/prefix"
            )
        sent = []
        for artefact in folder.artefacts():
            with folder.hold(artefact) as files:
                if bucket.adopt(artefact, files):
                    sent.append(artefact)
                    _say(f"sent {artefact}", json=json)
        if json:
            typer.echo(msgspec.json.encode({"sent": sent}).decode())
        else:
            typer.echo(f"{len(sent)} sent, {len(folder.artefacts()) - len(sent)} were there")

    return app


def _say(line: str, *, json: bool) -> None:
    if not json:
        typer.echo(line)
