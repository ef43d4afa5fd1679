"""What the child process does with its job."""

from __future__ import annotations

import tempfile
import traceback
from pathlib import Path

from kaname.errors import KanameError, ModelFailed
from kaname.models.importing import choose, importers
from kaname.models.importing.detect import detect
from kaname.models.importing.labels import name_classes
from kaname.models.importing.optimize import optimize_here
from kaname.models.importing.process import (
    Failure,
    Job,
    Measured,
    OptimizeJob,
    Reply,
    ReprofileJob,
    decode_job,
    encode,
)
from kaname.models.importing.types import Imported, ImportRequest


def answer_to(raw: bytes, *, isolated: bool) -> bytes:
    """The encoded reply to an encoded job; every exception becomes a failure that names it."""
    try:
        return encode(_do(decode_job(raw), isolated=isolated))
    except KanameError as error:
        return encode(Reply(failure=Failure.of(error)))
    except MemoryError:
        return encode(Reply(failure=Failure.of(ModelFailed("there was not enough memory for this model"))))
    except Exception as error:  # noqa: BLE001  (the boundary of the process)
        traceback.print_exc()
        failed = ModelFailed(f"{type(error).__name__}: {error}")
        return encode(Reply(failure=Failure.of(failed)))


def _do(job: Job, *, isolated: bool) -> Reply:
    if isinstance(job, ReprofileJob):
        found, runtime, choices = choose.again(job.version, job.artefact, job.options)
        return Reply(measured=Measured(profile=found, runtime=runtime, choices=choices))
    if isinstance(job, OptimizeJob):
        return Reply(optimized=optimize_here(job.request, job.version, job.artefact, job.workdir))
    return Reply(imported=import_here(job.request, job.workdir, isolated=isolated))


def import_here(request: ImportRequest, workdir: Path, *, isolated: bool) -> Imported:
    """Import in this very process: read, convert, compare, profile, choose."""
    folder = Path(tempfile.mkdtemp(prefix="import-", dir=workdir))
    prepared = importers.prepare(detect(request.path), request, folder)
    name_classes(prepared, request.labels)
    if request.trust_pickle and not isolated:
        prepared.notes.append("this system does not allow a process without network: the pickle was read with it")
    return choose.finish(prepared, request)
