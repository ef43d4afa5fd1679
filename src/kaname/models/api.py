"""HTTP resources of models: `/api/v1/models…`, everything that `kaname model …` does, and the change journal."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from kaname.errors import Conflict, Forbidden, NotFound, PreconditionFailed
from kaname.models.optimizing import Derived, optimize_with
from kaname.models.registry import Models
from kaname.models.types import ModelInfo, VersionInfo
from kaname.models.uploads import AddQuery, check, unpacked
from kaname.models.views import Added, After, Applied, Changed, Metadata, Optimize, Overrides, Wait
from kaname.settings import ModelConfig
from kaname.storage.sql.journal import Change
from kaname.web.paging import Listed, Page, page
from kaname.web.resources import Asked, Reply, Resource, Upload

Settled = Callable[[int, float], list[str]]
"""Waits until every live worker has applied the change of this journal number, for at most so many seconds;
returns the names of the workers that have not."""

T = TypeVar("T")

MODEL = "/api/v1/models/{model}"
VERSION = MODEL + "/versions/{version}"


def resources(models: Models, settled: Settled) -> list[Resource]:
    """All resources over `models`; `settled` waits for the workers."""
    return [*_reading(models), *_answering(models, settled), *_changing(models), *_deleting(models)]


# --- read -----------------------------------------------------------------------------------------------


def _reading(models: Models) -> list[Resource]:
    def listed(asked: Asked) -> Listed[ModelInfo]:
        return page(models.list(), lambda model: model.name, asked.query(Page))

    def show(asked: Asked) -> Reply:
        model = models.get(asked.path["model"])
        return Reply(value=model, etag=model.etag)

    def versions(asked: Asked) -> Listed[VersionInfo]:
        return page(models.versions(asked.path["model"]), lambda version: f"{version.id:012d}", asked.query(Page))

    def version(asked: Asked) -> VersionInfo:
        return models.version(asked.path["model"], asked.path["version"])

    def metadata(asked: Asked) -> Metadata:
        model = _visible(models, asked)
        wanted = asked.path.get("version") or model.promoted
        if wanted is None:
            raise NotFound("no version of the model was promoted yet", where=model.name, expected="a promoted version")
        return Metadata.of(models.version(model.id, wanted), named="version" in asked.path)

    def changes(asked: Asked) -> Listed[Change]:
        query = asked.query(After)
        found = models.changes(query.after, query.limit)
        more = len(found) == query.limit and found[-1].seq < models.seq()
        return Listed(items=found, next=str(found[-1].seq) if more else None)

    def get(path: str, summary: str, handler: Callable[[Asked], object], answer: object) -> Resource:
        return Resource(method="GET", path=path, summary=summary, handler=handler, answer=answer)

    replace = msgspec.structs.replace
    about = "With the signature and a sample that works when posted to `predict`."
    return [
        replace(get("/api/v1/models", "List the models", listed, Listed[ModelInfo]), query=Page),
        replace(get(MODEL, "Show a model", show, ModelInfo), etag=True),
        replace(
            get(MODEL + "/metadata", "Describe the version that answers", metadata, Metadata),
            scope="any",
            description=about,
        ),
        replace(get(MODEL + "/versions", "List a model's versions", versions, Listed[VersionInfo]), query=Page),
        get(VERSION, "Show a version", version, VersionInfo),
        replace(
            get(VERSION + "/metadata", "Describe a version", metadata, Metadata),
            scope="any",
            description=about,
        ),
        replace(
            get("/api/v1/changes", "List who changed what and when", changes, Listed[Change]),
            query=After,
            tag="changes",
        ),
    ]


def _visible(models: Models, asked: Asked) -> ModelInfo:
    """The model, for those who may read or may predict with it; others do not learn whether it exists."""
    who = asked.principal
    if "read" in who.scopes or who.may_predict is None:
        return models.get(asked.path["model"])
    try:
        model = models.get(asked.path["model"])
    except NotFound:
        model = None
    if model is None or model.name not in who.may_predict:
        expected = f"read or predict:{asked.path['model']}"
        raise Forbidden("the API key lacks a scope", where="Authorization", expected=expected)
    return model


# --- which version answers ------------------------------------------------------------------------------


def _answering(models: Models, settled: Settled) -> list[Resource]:
    def applied(wait_s: float) -> Applied:
        seq = models.seq()
        laggards = settled(seq, wait_s)
        return Applied(seq=seq, complete=not laggards, laggards=laggards)

    def changed(asked: Asked, change: Callable[[], ModelInfo]) -> Reply:
        model = _matching(models, asked, change)
        done = applied(asked.query(Wait).wait_s)
        return Reply(value=Changed(model=model, applied=done), etag=model.etag, status=200 if done.complete else 202)

    def add(asked: Asked) -> Reply:
        query = asked.query(AddQuery)
        check(asked, query)
        metrics = query.metrics()
        with unpacked(asked, query) as (path, sample):
            version, notes = models.add(
                asked.path["model"],
                path,
                who=asked.who,
                sample=sample,
                metrics=metrics,
                version=query.version,
                tags=query.tag,
                trust_pickle=query.trust_pickle,
                tolerance=query.tolerance,
                max_share=query.max_share,
                promote=query.promote,
            )
        location = f"/api/v1/models/{version.model}/versions/{version.version}"
        return Reply(value=Added(version=version, notes=notes, applied=applied(query.wait_s)), location=location)

    def promote(asked: Asked) -> Reply:
        ref, version = asked.path["model"], asked.path["version"]
        return changed(asked, lambda: models.promote(ref, version, who=asked.who, if_match=asked.if_match))

    def rollback(asked: Asked) -> Reply:
        return changed(asked, lambda: models.rollback(asked.path["model"], who=asked.who, if_match=asked.if_match))

    def load(asked: Asked) -> Reply:
        return changed(asked, lambda: models.set_loaded(asked.path["model"], True, who=asked.who))

    def unload(asked: Asked) -> Reply:
        return changed(asked, lambda: models.set_loaded(asked.path["model"], False, who=asked.who))

    def post(path: str, summary: str, handler: Callable[[Asked], Reply], *, etag: bool = False) -> Resource:
        return Resource(
            method="POST",
            path=path,
            summary=summary,
            handler=handler,
            scope="write",
            query=Wait,
            answer=Changed,
            etag=etag,
            description="Waits until all workers have applied it, and names those that have not.",
        )

    return [
        Resource(
            method="POST",
            path=MODEL + "/versions",
            summary="Add a version",
            description="The body is the model's file; the model is made when there is none of that name.",
            handler=add,
            scope="write",
            body=Upload(
                media_types=("application/octet-stream", "application/x-onnx", "application/onnx"),
                description="The file: ONNX, a LightGBM text model or an XGBoost model.",
            ),
            query=AddQuery,
            answer=Added,
            status=201,
        ),
        post(VERSION + "/promote", "Let a version answer", promote, etag=True),
        post(MODEL + "/rollback", "Let the previously promoted version answer again", rollback, etag=True),
        post(MODEL + "/load", "Load a model that was unloaded", load),
        post(MODEL + "/unload", "Unload a model: it refuses requests and frees its memory", unload),
    ]


def _matching(models: Models, asked: Asked, change: Callable[[], T]) -> T:
    """Do `change`; a Conflict over a stale If-Match is said as what it is."""
    try:
        return change()
    except Conflict as error:
        if asked.if_match is None or models.get(asked.path["model"]).etag == asked.if_match:
            raise
        raise PreconditionFailed(error.message, where="If-Match", found=asked.if_match, expected=error.found) from error


# --- settings, tags, profile ----------------------------------------------------------------------------


def _changing(models: Models) -> list[Resource]:
    def show_config(asked: Asked) -> Reply:
        model = models.get(asked.path["model"])
        return Reply(value=model.config, etag=model.etag)

    def configured(asked: Asked, change: Callable[[], ModelInfo]) -> Reply:
        model = _matching(models, asked, change)
        return Reply(value=model.config, etag=model.etag)

    def put_config(asked: Asked) -> Reply:
        ref, config = asked.path["model"], asked.body(ModelConfig)
        return configured(asked, lambda: models.configure(ref, config, who=asked.who, if_match=asked.if_match))

    def patch_config(asked: Asked) -> Reply:
        ref, body = asked.path["model"], asked.body(Overrides)
        return configured(
            asked, lambda: models.override(ref, body.set, unset=body.unset, who=asked.who, if_match=asked.if_match)
        )

    def tag(asked: Asked) -> VersionInfo:
        return models.tag(asked.path["model"], asked.path["version"], add=(asked.path["tag"],), who=asked.who)

    def untag(asked: Asked) -> VersionInfo:
        return models.tag(asked.path["model"], asked.path["version"], remove=(asked.path["tag"],), who=asked.who)

    def profile(asked: Asked) -> VersionInfo:
        return models.reprofile(asked.path["model"], asked.path["version"], who=asked.who)

    def optimize(asked: Asked) -> Derived:
        return optimize_with(models, asked.path["model"], asked.path["version"], asked.body(Optimize), who=asked.who)

    config = Resource(
        method="GET",
        path=MODEL + "/config",
        summary="Show a model's settings",
        handler=show_config,
        answer=ModelConfig,
        etag=True,
    )
    one = Resource(
        method="PUT",
        path=VERSION + "/tags/{tag}",
        summary="Tag a version",
        handler=tag,
        scope="write",
        answer=VersionInfo,
    )
    replace = msgspec.structs.replace
    return [
        config,
        replace(
            config,
            method="PUT",
            summary="Replace a model's settings",
            handler=put_config,
            scope="write",
            body=ModelConfig,
            description="Fields left out get the platform's defaults.",
            example={"limits": {"rate_rows_per_s": 1000}},
        ),
        replace(
            config,
            method="PATCH",
            summary="Change single settings of a model",
            handler=patch_config,
            scope="write",
            body=Overrides,
            example={"set": {"limits.queue": 500}},
        ),
        one,
        replace(one, method="DELETE", summary="Remove a tag of a version", handler=untag),
        Resource(
            method="POST",
            path=VERSION + "/optimize",
            summary="Make a smaller or faster form of a version",
            handler=optimize,
            scope="write",
            body=Optimize,
            answer=Derived,
            status=201,
            description="Registered as another version, which answers once it is promoted. Refused when too many rows"
            " would be answered differently.",
            example={"method": "graph"},
        ),
        replace(
            one,
            method="POST",
            path=VERSION + "/profile",
            summary="Measure a version anew on this machine",
            handler=profile,
        ),
    ]


# --- put away and delete --------------------------------------------------------------------------------


def _deleting(models: Models) -> list[Resource]:
    def archive(asked: Asked) -> VersionInfo:
        return models.archive(asked.path["model"], asked.path["version"], who=asked.who)

    def delete_version(asked: Asked) -> None:
        models.delete(asked.path["model"], asked.path["version"], who=asked.who)

    def delete_model(asked: Asked) -> None:
        models.delete(asked.path["model"], who=asked.who)

    def delete(path: str, summary: str, handler: Callable[[Asked], None], description: str) -> Resource:
        return Resource(
            method="DELETE",
            path=path,
            summary=summary,
            handler=handler,
            scope="write",
            status=204,
            description=description,
        )

    return [
        Resource(
            method="POST",
            path=VERSION + "/archive",
            summary="Put a version away",
            handler=archive,
            scope="write",
            answer=VersionInfo,
            description="It is not loaded any more. Refused while it answers.",
        ),
        delete(VERSION, "Delete a version", delete_version, "Refused while it answers."),
        delete(MODEL, "Delete a model and its versions", delete_model, "Refused while it is loaded and answers."),
    ]
