"""`kaname model …`: what people do with models at a terminal, and scripts with `--json`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import RenderableType

from kaname import terminal
from kaname.errors import InvalidInput, NotFound
from kaname.models import tables
from kaname.models.config import parse
from kaname.models.importing.types import MAX_SHARE, TOLERANCE, Method, OptimizeRequest
from kaname.models.optimizing import optimize
from kaname.models.registry import Models
from kaname.models.types import VersionInfo

Name = Annotated[str, typer.Argument(help="Name or number of the model.", show_default=False)]
Version = Annotated[str, typer.Argument(help="The version.", show_default=False)]
MaybeVersion = Annotated[str | None, typer.Argument(help="The version; without it, the whole model.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
IfMatch = Annotated[
    str | None, typer.Option("--if-match", help="Refuse unless the model's etag is still this one.", show_default=False)
]

HowToAsk = Callable[[VersionInfo, bool], list[str]]
"""Lines that tell a person how to ask a version, which answers for its model or not."""

CheckView = Callable[[str], object]
"""Raises NotFound for a view that the project does not declare."""


def commands(
    open_models: Callable[[], Models],
    how_to_ask: HowToAsk | None = None,
    check_view: CheckView = lambda _: None,
) -> typer.Typer:
    """The sub-application; `open_models` is called once per command. Errors are KanameErrors, left to the caller."""
    app = typer.Typer(no_args_is_help=True, help="Register models, and choose the version that answers.")
    for register in (_reading, _optimizing, _choosing, _changing):
        register(app, open_models)
    _adding(app, open_models, how_to_ask, check_view)
    _setting(app, open_models, check_view)
    return app


def who() -> str:
    """Who changes something from a terminal, for the journal."""
    return f"cli:{terminal.user()}".rstrip(":")


def _show(json: bool, value: object, page: str | Callable[[], RenderableType]) -> None:
    if json:
        typer.echo(msgspec.json.encode(value).decode())
    elif isinstance(page, str):
        typer.echo(page)
    else:
        terminal.show(page())


def _reading(app: typer.Typer, open_models: Callable[[], Models]) -> None:
    @app.command("list")
    def list_(json: Json = False) -> None:
        """List all models and what answers."""
        found = open_models().list()
        _show(json, found, lambda: tables.models_table(found))

    @app.command()
    def sample(name: Name, version: MaybeVersion = None) -> None:
        """Print a request that a model answers, as JSON: the body of `predict`."""
        models = open_models()
        wanted = version or models.get(name).promoted
        if wanted is None:
            raise NotFound("no version of the model was promoted yet", where=name, expected="a version's name")
        body = models.version(name, wanted).sample
        if body is None:
            raise NotFound("this version has no sample", where=f"{name}/{wanted}")
        typer.echo(msgspec.json.encode(body).decode())

    @app.command()
    def show(name: Name, version: MaybeVersion = None, json: Json = False) -> None:
        """Show a model and its versions, or one version: its signature, its runtime and why."""
        models = open_models()
        if version is not None:
            one = models.version(name, version)
            _show(json, one, lambda: tables.version_page(one))
            return
        model, versions = models.get(name), models.versions(name)
        _show(json, {"model": model, "versions": versions}, lambda: tables.versions_table(model, versions))


def _adding(
    app: typer.Typer, open_models: Callable[[], Models], how_to_ask: HowToAsk | None, check_view: CheckView
) -> None:
    @app.command()
    def add(
        name: Annotated[str, typer.Argument(help="Name of the model, new or not.", show_default=False)],
        path: Annotated[
            str, typer.Argument(help="The model's file, folder or URL, or file.py:Class.", show_default=False)
        ],
        sample: Annotated[
            Path | None, typer.Option(help="Rows that the model can answer: JSON, CSV, .npy, .npz.")
        ] = None,
        metric: Annotated[list[str] | None, typer.Option(help="A figure to keep, as NAME=NUMBER; repeatable.")] = None,
        version: Annotated[str | None, typer.Option(help="Its name; without, the next number.")] = None,
        tag: Annotated[list[str] | None, typer.Option(help="A tag; repeatable.")] = None,
        trust_pickle: Annotated[
            bool, typer.Option("--trust-pickle", help="Read a pickle or a program: it runs the code in it.")
        ] = False,
        tolerance: Annotated[
            float, typer.Option(min=0, help="Largest difference accepted from the original, relative above 1.")
        ] = TOLERANCE,
        max_share: Annotated[
            float, typer.Option(min=0, max=1, help="Share of rows that may differ more, without another runtime.")
        ] = MAX_SHARE,
        promote: Annotated[
            bool | None, typer.Option("--promote/--no-promote", help="Let it answer; without, only if nothing does.")
        ] = None,
        view: Annotated[
            str | None, typer.Option(help="The view by which requests may name an entity (setting `view`).")
        ] = None,
        json: Json = False,
    ) -> None:
        """Import a model file as a new version."""
        models, metrics = open_models(), _metrics(metric or [])
        if view:
            check_view(view)
        with nullcontext() if json else terminal.working(f"importing {path}: converting, comparing, measuring"):
            info, notes = models.add(
                name,
                path,
                who=who(),
                sample=sample,
                metrics=metrics,
                version=version,
                tags=tag or [],
                trust_pickle=trust_pickle,
                tolerance=tolerance,
                max_share=max_share,
                promote=promote,
            )
        if view is not None:
            models.override(info.model, {"view": view}, who=who())
        _show(json, {"version": info, "notes": notes}, lambda: tables.version_page(info))
        if not json:
            answers = _say_what_answers(models, info.model, info.version, notes)
            for line in how_to_ask(info, answers) if how_to_ask else ():
                typer.echo(line)

    @app.command()
    def profile(name: Name, version: Version, json: Json = False) -> None:
        """Measure a version anew on this machine: batch sizes, and which runtime is fastest."""
        info = open_models().reprofile(name, version, who=who())
        _show(json, info, lambda: tables.version_page(info))


def _optimizing(app: typer.Typer, open_models: Callable[[], Models]) -> None:
    @app.command("optimize")
    def optimize_(
        target: Annotated[str, typer.Argument(metavar="NAME@VERSION", help="Of what.", show_default=False)],
        method: Annotated[
            Method, typer.Option("--to", help="Rewritten once, weights in eight bits, or half precision.")
        ] = "graph",
        calibration: Annotated[
            Path | None, typer.Option(help="Rows like those that are asked: int8 then covers activations, too.")
        ] = None,
        data: Annotated[Path | None, typer.Option(help="Rows to compare on: JSON, CSV, .npy, .npz.")] = None,
        min_agreement: Annotated[
            float, typer.Option(min=0, max=1, help="Smallest share of rows that must be answered as before.")
        ] = 0.99,
        version: Annotated[str | None, typer.Option(help="Name of the new version; without, the next number.")] = None,
        json: Json = False,
    ) -> None:
        """Make a smaller or faster form of a version, compare the two, and keep it as a new version."""
        name, at, original = target.partition("@")
        if not at or not original:
            raise InvalidInput("which version", where="NAME@VERSION", found=target, expected=f"{name}@1")
        request = OptimizeRequest(method=method, calibration=calibration, data=data, min_agreement=min_agreement)
        with nullcontext() if json else terminal.working(f"optimising {target}: converting, comparing, measuring"):
            made = optimize(open_models(), name, original, request, who=who(), name=version)
        _show(json, made, lambda: tables.comparison(made, original))


def _say_what_answers(models: Models, name: str, version: str, notes: Sequence[str]) -> bool:
    for note in notes:
        typer.echo(f"note: {note}")
    promoted = models.get(name).promoted
    if promoted == version:
        typer.echo(f"{name}/{version} answers")
    else:
        typer.echo(f"{promoted or 'nothing'} answers; to change that: kaname model promote {name} {version}")
    return promoted == version


def _choosing(app: typer.Typer, open_models: Callable[[], Models]) -> None:
    @app.command()
    def promote(name: Name, version: Version, if_match: IfMatch = None, json: Json = False) -> None:
        """Let a version answer."""
        model = open_models().promote(name, version, who=who(), if_match=if_match)
        _show(json, model, f"{model.name}: version {model.promoted} answers, before it {model.previous or 'nothing'}")

    @app.command()
    def rollback(name: Name, if_match: IfMatch = None, json: Json = False) -> None:
        """Let the version answer that was promoted before; again, and the one before that."""
        model = open_models().rollback(name, who=who(), if_match=if_match)
        _show(json, model, f"{model.name}: version {model.promoted} answers again")

    @app.command()
    def load(name: Name, json: Json = False) -> None:
        """Let an unloaded model answer again."""
        model = open_models().set_loaded(name, True, who=who())
        _show(json, model, f"{model.name}: loaded")

    @app.command()
    def unload(name: Name, json: Json = False) -> None:
        """Refuse requests for a model and free its memory."""
        model = open_models().set_loaded(name, False, who=who())
        _show(json, model, f"{model.name}: unloaded; requests are refused until kaname model load {model.name}")


def _setting(app: typer.Typer, open_models: Callable[[], Models], check_view: CheckView) -> None:
    @app.command("set")
    def set_(
        name: Name,
        settings: Annotated[list[str] | None, typer.Argument(help="limits.queue=100 …", show_default=False)] = None,
        unset: Annotated[list[str] | None, typer.Option(help="Return a setting to its default; repeatable.")] = None,
        if_match: IfMatch = None,
        json: Json = False,
    ) -> None:
        """Change settings of a model, or with none given show them."""
        models = open_models()
        given = [_pair(text, "limits.queue=100") for text in settings or []]
        fields = {key: parse(key, value) for key, value in given}
        if view := fields.get("view"):
            check_view(str(view))
        if fields or unset:
            models.override(name, fields, unset=unset or [], who=who(), if_match=if_match)
        model, own = models.get(name), models.overrides(name)
        lines = [f"{key}={msgspec.json.encode(value).decode()}" for key, value in sorted(own.items())]
        _show(json, model, "\n".join([f"{model.name}: {len(own)} settings differ from the defaults", *lines]))


def _changing(app: typer.Typer, open_models: Callable[[], Models]) -> None:
    @app.command()
    def tag(
        name: Name,
        version: Version,
        add: Annotated[list[str] | None, typer.Argument(help="Tags to add.", show_default=False)] = None,
        remove: Annotated[list[str] | None, typer.Option(help="A tag to remove; repeatable.")] = None,
        json: Json = False,
    ) -> None:
        """Add and remove tags of a version."""
        info = open_models().tag(name, version, add=add or [], remove=remove or [], who=who())
        _show(json, info, f"{info.model}/{info.version}: {', '.join(info.tags) or 'no tags'}")

    @app.command()
    def archive(name: Name, version: Version, json: Json = False) -> None:
        """Put a version away: it is not loaded any more, and no rollback returns to it."""
        info = open_models().archive(name, version, who=who())
        _show(json, info, f"{info.model}/{info.version}: archived")

    @app.command()
    def delete(name: Name, version: MaybeVersion = None, json: Json = False) -> None:
        """Delete a version, or an unloaded model with all its versions."""
        open_models().delete(name, version, who=who())
        subject = name if version is None else f"{name}/{version}"
        _show(json, {"deleted": subject}, f"{subject}: deleted")


def _metrics(texts: Sequence[str]) -> dict[str, float]:
    found = {}
    for text in texts:
        key, value = _pair(text, "rmse=41.2")
        try:
            found[key] = float(value)
        except ValueError as error:
            raise InvalidInput("a metric is a number", where="--metric", found=text, expected="rmse=41.2") from error
    return found


def _pair(text: str, example: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise InvalidInput("not NAME=VALUE", found=text, expected=f"for example {example}")
    return key, value
