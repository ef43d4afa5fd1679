"""HTTP resources of batch jobs: `/api/v1/batch-jobs…`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from kaname.batch.jobs import Jobs
from kaname.batch.store import JobError, JobInfo, JobStatus
from kaname.batch.types import Format, OnError, Options, options_of
from kaname.call import Principal
from kaname.errors import Forbidden, InvalidInput, NotFound, Unavailable
from kaname.models.registry import Models
from kaname.models.types import VersionInfo
from kaname.web.paging import Limit, Listed
from kaname.web.resources import Asked, Reply, Resource, Upload

JOBS = "/api/v1/batch-jobs"
JOB = JOBS + "/{job}"

OutputFormat = Annotated[Format | None, Meta(description="Format of the result; that of the input when left out.")]
Policy = Annotated[
    OnError, Meta(description="With a bad row: end the job, answer null, or leave the row out of the result.")
]
Keep = Annotated[tuple[str, ...], Meta(description="Columns of the input to copy beside the answers.")]
Delimiter = Annotated[str | None, Meta(description="Between the cells of a CSV input; a comma when left out.")]
Nulls = Annotated[tuple[str, ...], Meta(description="Cells of a CSV input that mean null, beside empty ones.")]


class NewJob(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A job on a file that lies in the project."""

    model: str
    input: Annotated[str, Meta(description="A file below the project's `data/`.")]
    version: Annotated[str | None, Meta(description="The one that answers now when left out.")] = None
    input_format: Annotated[Format | None, Meta(description="What the file's ending says when left out.")] = None
    output_format: OutputFormat = None
    on_error: Policy = "fail"
    keep: Keep = ()
    keep_all: bool = False
    delimiter: Delimiter = None
    nulls: Nulls = ()


class UploadQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is said about a file that comes with the request."""

    input_format: Annotated[Format, Meta(description="Format of the body.")]
    version: Annotated[str | None, Meta(description="The one that answers now when left out.")] = None
    output_format: OutputFormat = None
    on_error: Policy = "fail"
    keep: Keep = ()
    keep_all: bool = False
    delimiter: Delimiter = None
    null: Nulls = ()


class JobView(msgspec.Struct, frozen=True, kw_only=True):
    """One batch job. Times are microseconds since the Unix epoch, UTC."""

    id: str
    model: str
    version: str
    status: JobStatus
    owner: Annotated[str, Meta(description="The id of the API key that made it.")]
    input: Annotated[str, Meta(description="The file below `data/`; empty for one that came with the request.")]
    options: Options
    rows: Annotated[int, Meta(description="Rows that were read, bad ones too.")]
    bad: Annotated[int, Meta(description="Rows without an answer; `…/errors` says why.")]
    done_share: Annotated[float, Meta(description="Share of the input that is read, 0 to 1.")]
    error: JobError | None
    created_us: int
    started_us: int | None
    ended_us: int | None

    @classmethod
    def of(cls, job: JobInfo) -> JobView:
        """What is shown of a job."""
        share = 1.0 if job.status == "done" else job.done / job.total if job.total else 0.0
        shown = {name: getattr(job, name) for name in cls.__struct_fields__ if name != "done_share"}
        return cls(**shown, done_share=round(share, 4))


class JobPage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which jobs are asked for, the newest first."""

    limit: Limit = 100
    after: Annotated[str, Meta(max_length=20, description="The `next` of the page before.")] = ""


def resources(jobs: Jobs, models: Models) -> list[Resource]:
    """All resources over `jobs`."""
    return [*_making(jobs, models), *_looking(jobs), *_files(jobs)]


# --- make -----------------------------------------------------------------------------------------------


def _making(jobs: Jobs, models: Models) -> list[Resource]:
    def create(asked: Asked) -> Reply:
        body = asked.body(NewJob)
        version = _version(models, asked.principal, body.model, body.version)
        source = Path(body.input)
        given = msgspec.structs.asdict(body)
        options = _options(source, given, body.output_format or body.input_format)
        return _made(jobs.create(version, body.input, options, owner=_owner(asked), who=asked.who))

    def upload(asked: Asked) -> Reply:
        query = asked.query(UploadQuery)
        version = _version(models, asked.principal, asked.path["model"], query.version)
        given = {**msgspec.structs.asdict(query), "nulls": query.null}
        options = _options(Path("body"), given, query.output_format or query.input_format)
        assert asked.file is not None
        return _made(jobs.create(version, asked.file, options, owner=_owner(asked), who=asked.who, uploaded=True))

    made = Resource(
        method="POST",
        path=JOBS,
        summary="Predict every row of a file of the project",
        description=f"At most {jobs.settings.jobs_per_min} jobs a minute per key. Needs `predict:<model>`.",
        handler=create,
        scope="any",
        body=NewJob,
        answer=JobView,
        status=201,
        example={"model": "iris", "input": "flowers.csv", "output_format": "parquet"},
    )
    return [
        made,
        msgspec.structs.replace(
            made,
            path="/api/v1/models/{model}/batch-jobs",
            summary="Predict every row of the file in the body",
            handler=upload,
            body=Upload(
                media_types=(
                    "application/octet-stream",
                    "text/csv",
                    "application/x-ndjson",
                    "application/jsonl",
                    "application/vnd.apache.parquet",
                ),
                description="The rows: CSV with a header, JSON lines or Parquet.",
            ),
            query=UploadQuery,
            tag="batch-jobs",
            example=None,
        ),
    ]


def _options(source: Path, given: dict[str, object], output: Format | None) -> Options:
    wanted = {name: given[name] for name in Options.__struct_fields__ if given.get(name) is not None}
    if output is None:
        wanted.pop("output_format", None)
    result = source if output is None else Path(f"result.{output}")
    return options_of(source, result, {**wanted, "keep": tuple(given["keep"]), "nulls": tuple(given["nulls"])})  # type: ignore[arg-type]  # tuples of texts


def _version(models: Models, who: Principal, ref: str, version: str | None) -> VersionInfo:
    """The version asked for, for those who may predict with the model; others do not learn whether it exists."""
    refused = Forbidden("the API key lacks a scope", where="Authorization", expected=f"predict:{ref}")
    try:
        model = models.get(ref)
    except NotFound:
        if who.may_predict is None:
            raise
        raise refused from None
    if who.may_predict is not None and model.name not in who.may_predict:
        raise refused
    if not model.loaded:
        raise Unavailable("the model is unloaded", where=model.name, expected="a load of the model first")
    wanted = version or model.promoted
    if wanted is None:
        raise Unavailable("no version of this model has been promoted", where=model.name)
    found = models.version(model.id, wanted)
    if not found.signature.batched:
        raise InvalidInput("this model takes one request at a time, not rows", where=model.name)
    return found


def _owner(asked: Asked) -> str:
    return asked.principal.key_id or asked.principal.name


def _made(job: JobInfo) -> Reply:
    return Reply(value=JobView.of(job), location=f"{JOBS}/{job.id}")


# --- look and cancel ------------------------------------------------------------------------------------


def _looking(jobs: Jobs) -> list[Resource]:
    def listed(asked: Asked) -> Listed[JobView]:
        page = asked.query(JobPage)
        if page.after and not page.after.isdecimal():
            raise InvalidInput("no such page", where="query.after", found=page.after, expected="the `next` of a page")
        owner = None if "admin" in asked.principal.scopes else _owner(asked)
        before = int(page.after) if page.after else None
        found = jobs.list(owner=owner, before=before, limit=page.limit + 1)
        kept = found[: page.limit]
        more = str(kept[-1].number) if len(found) > page.limit else None
        return Listed(items=[JobView.of(job) for job in kept], next=more)

    def show(asked: Asked) -> JobView:
        return JobView.of(_mine(jobs, asked))

    def cancel(asked: Asked) -> JobView:
        return JobView.of(jobs.cancel(_mine(jobs, asked).id, who=asked.who))

    one = Resource(method="GET", path=JOB, summary="Show a batch job", handler=show, scope="any", answer=JobView)
    replace = msgspec.structs.replace
    return [
        replace(
            one,
            path=JOBS,
            summary="List batch jobs",
            handler=listed,
            query=JobPage,
            answer=Listed[JobView],
            description="The newest first; a key that is not `admin` sees its own.",
        ),
        one,
        replace(one, method="POST", path=JOB + "/cancel", summary="Cancel a batch job", handler=cancel),
    ]


def _mine(jobs: Jobs, asked: Asked) -> JobInfo:
    """The job, for its owner and for admins."""
    job = jobs.get(asked.path["job"])
    if "admin" not in asked.principal.scopes and job.owner != _owner(asked):
        raise NotFound("no such batch job", where="job", found=job.id)
    return job


# --- files ----------------------------------------------------------------------------------------------


def _files(jobs: Jobs) -> list[Resource]:
    def file(*, errors: bool) -> Callable[[Asked], Reply]:
        def reply(asked: Asked) -> Reply:
            path, media_type = jobs.result(_mine(jobs, asked).id, errors=errors)
            return Reply(file=path, media_type=media_type)

        return reply

    result = Resource(
        method="GET",
        path=JOB + "/result",
        summary="Download the result of a batch job",
        description="Ranges are honoured.",
        handler=file(errors=False),
        scope="any",
        download=True,
    )
    why = msgspec.structs.replace(
        result, path=JOB + "/errors", summary="Download what is wrong with the bad rows", handler=file(errors=True)
    )
    return [result, why]
