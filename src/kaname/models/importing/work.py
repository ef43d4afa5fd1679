"""What the child process does with its job."""

from __future__ import annotations

import tempfile
import traceback
from importlib import import_module
from pathlib import Path
from typing import cast

from kaname.errors import KanameError, ModelFailed
from kaname.models.importing import choose, trust
from kaname.models.importing.detect import detect
from kaname.models.importing.process import (
    Failure,
    ImportJob,
    Measured,
    Reply,
    ReprofileJob,
    decode_job,
    encode,
)
from kaname.models.importing.types import Imported, ImportRequest, Kind, Prepared


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


def _do(job: ImportJob | ReprofileJob, *, isolated: bool) -> Reply:
    if isinstance(job, ReprofileJob):
        found, runtime, choices = choose.again(job.version, job.artefact)
        return Reply(measured=Measured(profile=found, runtime=runtime, choices=choices))
    return Reply(imported=import_here(job.request, job.workdir, isolated=isolated))


def import_here(request: ImportRequest, workdir: Path, *, isolated: bool) -> Imported:
    """Import in this very process: read, convert, compare, profile, choose."""
    folder = Path(tempfile.mkdtemp(prefix="import-", dir=workdir))
    prepared = _prepare(request, folder)
    if request.trust_pickle and not isolated:
        prepared.notes.append("this system does not allow a process without network: the pickle was read with it")
    return choose.finish(prepared, request)


_IMPORTERS: dict[Kind, tuple[str, str]] = {
    "onnx": ("onnx", "prepare"),
    "python": ("python_model", "prepare"),
    "lightgbm": ("lightgbm", "from_text"),
    "xgboost": ("xgboost", "from_file"),
    "litert": ("litert", "prepare"),
    "pickle": ("pickles", "prepare"),
    "pytorch": ("pytorch", "prepare"),
    "torchscript": ("torchscript", "prepare"),
    "torch_pickle": ("torch_module", "prepare"),
}
"""The module and the function that import each kind; only the one that is needed is loaded."""


def _prepare(request: ImportRequest, folder: Path) -> Prepared:
    kind = detect(request.path)
    trust.demand(kind, request)
    module, function = _IMPORTERS[kind]
    prepare = getattr(import_module(f"kaname.models.importing.{module}"), function)
    return cast("Prepared", prepare(request, folder))
