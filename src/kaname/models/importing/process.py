"""Runs an import or a profile in a child process: a model that crashes, hangs or fills memory harms nobody else."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, Any

import msgspec

from kaname import errors
from kaname.errors import KanameError
from kaname.models.importing import trust
from kaname.models.importing.detect import detect
from kaname.models.importing.remote import import_remote, measure_remote
from kaname.models.importing.types import Imported, ImportRequest, Optimized, OptimizeRequest
from kaname.models.types import RuntimeChoice, VersionInfo
from kaname.runtimes.catalog import REMOTE
from kaname.runtimes.types import PLAIN, Profile, SessionOptions

_TAIL_BYTES = 2_000


class ImportJob(msgspec.Struct, frozen=True, kw_only=True, tag="import"):
    """Import one file into a folder."""

    request: ImportRequest
    workdir: Path


class ReprofileJob(msgspec.Struct, frozen=True, kw_only=True, tag="reprofile"):
    """Measure a version again on this machine."""

    version: VersionInfo
    artefact: Path
    options: SessionOptions


class OptimizeJob(msgspec.Struct, frozen=True, kw_only=True, tag="optimize"):
    """Make a version smaller or faster, in a folder."""

    request: OptimizeRequest
    version: VersionInfo
    artefact: Path
    workdir: Path


Job = ImportJob | ReprofileJob | OptimizeJob


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What a profile job found."""

    profile: Profile
    runtime: str
    choices: tuple[RuntimeChoice, ...]


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """A KanameError on its way through a pipe."""

    code: str
    message: str
    where: str | None = None
    found: str | None = None
    expected: str | None = None

    @classmethod
    def of(cls, error: KanameError) -> Failure:
        """The fields of `error`."""
        return cls(
            code=error.code, message=error.message, where=error.where, found=error.found, expected=error.expected
        )

    def error(self) -> KanameError:
        """The error again, of the class that has the code."""
        kinds = {
            kind.code: kind
            for kind in vars(errors).values()
            if isinstance(kind, type) and issubclass(kind, KanameError)
        }
        kind = kinds.get(self.code, KanameError)
        return kind(self.message, where=self.where, found=self.found, expected=self.expected)


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What the child writes: exactly one of the fields is set."""

    imported: Imported | None = None
    measured: Measured | None = None
    optimized: Optimized | None = None
    failure: Failure | None = None


def run_import(request: ImportRequest, workdir: Path, options: SessionOptions = PLAIN) -> Imported:
    """Import `request.path` in a child process; the artefact's files lie in a new folder under `workdir`. `options` say
    how sessions will use the machine, and how remote models are asked, which needs no process.

    Raises the child's KanameError (InvalidInput for what cannot be imported, MissingDependency, CorruptData),
    ModelFailed when the child died, DeadlineExceeded when it took longer than `request.timeout_s`.
    """
    kind = detect(request.path)
    trust.demand(kind, request)
    workdir.mkdir(parents=True, exist_ok=True)
    if kind == REMOTE:
        return import_remote(request, workdir, options)
    # A folder of the child's own: what it leaves behind when it dies goes with it.
    with tempfile.TemporaryDirectory(prefix="job-", dir=workdir.resolve()) as own:
        asked = msgspec.structs.replace(request, options=_here(options))
        job = ImportJob(request=asked, workdir=Path(own))
        # A Python model is the owner's own code and may need the network to load; nothing else does.
        reply = _ask(job, f"importing {request.path.name}", request.timeout_s, isolate=kind != "python")
        if reply.imported is None:
            raise KanameError("the importing process answered something else")
        files = reply.imported.files.rename(workdir.resolve() / reply.imported.files.name)
    return msgspec.structs.replace(reply.imported, files=files)


def reprofile(
    version: VersionInfo, artefact: Path, options: SessionOptions = PLAIN, *, timeout_s: float = 300.0
) -> tuple[Profile, str, tuple[RuntimeChoice, ...]]:
    """Measure every runtime of `version` again in a child process: (profile, fastest runtime, choices).

    `options`: how sessions will use the machine. A runtime that failed parity at import stays out. Raises as
    `run_import` does.
    """
    if version.runtime == REMOTE:
        found, choice = measure_remote(version, artefact, options)
        return found, REMOTE, (choice,)
    job = ReprofileJob(version=version, artefact=artefact.resolve(), options=_here(options))
    what = f"profiling {version.model} version {version.version}"
    reply = _ask(job, what, timeout_s, isolate=version.source != "python")
    if reply.measured is None:
        raise KanameError("the profiling process answered something else")
    return reply.measured.profile, reply.measured.runtime, reply.measured.choices


def run_optimize(request: OptimizeRequest, version: VersionInfo, artefact: Path, workdir: Path) -> Optimized:
    """Optimise a version in a child process; the new artefact's files lie in a new folder under `workdir`.

    Raises as `run_import` does.
    """
    with tempfile.TemporaryDirectory(prefix="job-", dir=workdir.resolve()) as own:
        request = msgspec.structs.replace(request, options=_here(request.options))
        job = OptimizeJob(request=request, version=version, artefact=artefact.resolve(), workdir=Path(own))
        reply = _ask(job, f"optimising {version.model} version {version.version}", request.timeout_s, isolate=True)
        if reply.optimized is None:
            raise KanameError("the optimising process answered something else")
        imported = reply.optimized.imported
        files = imported.files.rename(workdir.resolve() / imported.files.name)
    return msgspec.structs.replace(reply.optimized, imported=msgspec.structs.replace(imported, files=files))


def _here(options: SessionOptions) -> SessionOptions:
    """What of them a child process needs: no other machine's credentials."""
    return msgspec.structs.replace(options, remotes=())


def encode(message: Job | Reply) -> bytes:
    """One message of the pipe."""
    return msgspec.msgpack.encode(message, enc_hook=_path_out)


def decode_job(raw: bytes) -> Job:
    """The job that `encode` wrote."""
    job: Job = msgspec.msgpack.decode(raw, type=Job, dec_hook=_path_in)
    return job


def _path_out(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(type(value).__name__)


def _path_in(kind: type, value: Any) -> object:
    if kind is object:  # the values of a sample: plain JSON already
        return value
    if issubclass(kind, Path):
        return Path(value)
    raise NotImplementedError(kind.__name__)


def _ask(job: Job, what: str, timeout_s: float, *, isolate: bool) -> Reply:
    command = [sys.executable, "-m", "kaname.models.importing.child", *(["--isolate"] if isolate else [])]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(  # noqa: S603  (this interpreter, a fixed module)
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=_environment(),
            start_new_session=True,
        )
        try:
            raw, _ = process.communicate(encode(job), timeout=timeout_s)
        except subprocess.TimeoutExpired:
            _kill(process)
            raise errors.DeadlineExceeded(
                f"{what} took longer than {timeout_s:g} s and was ended", found=_tail(log) or None
            ) from None
        except BaseException:
            _kill(process)
            raise
        return _reply(raw, process.returncode, what, log)


def _reply(raw: bytes, code: int, what: str, log: IO[bytes]) -> Reply:
    try:
        reply = msgspec.msgpack.decode(raw, type=Reply, dec_hook=_path_in)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise errors.ModelFailed(f"{what}: the child process {_how_it_ended(code)}", found=_tail(log) or None) from None
    if reply.failure is not None:
        raise reply.failure.error()
    return reply


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"ended with exit status {code} before it answered"
    name = signal.Signals(-code).name
    hint = " (out of memory?)" if name == "SIGKILL" else ""
    return f"was ended by {name}{hint}"


def _environment() -> dict[str, str]:
    """One thread, so that a profile measures what a worker will see; the search path as here."""
    quiet = {
        "ORT_DISABLE_TELEMETRY": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONWARNINGS": "ignore",
    }
    return {**os.environ, **quiet, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def _tail(log: IO[bytes]) -> str:
    size = log.seek(0, os.SEEK_END)
    log.seek(max(0, size - _TAIL_BYTES))
    return log.read().decode(errors="replace").strip()
