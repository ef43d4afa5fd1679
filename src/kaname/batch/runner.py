"""Does the queued jobs of a project, each in a process of its own, in one of the server's workers.

Whichever worker holds the lock is the one that runs jobs. When it dies so do its children, another worker gets the
lock, and goes on where they were.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from tempfile import TemporaryFile
from typing import IO, Protocol

import msgspec

from kaname.batch.child import ChildTask, Said, encode
from kaname.batch.jobs import Jobs
from kaname.batch.run import Task
from kaname.batch.store import JobError, JobInfo
from kaname.clock import Clock
from kaname.errors import Conflict, KanameError
from kaname.inference.residency import artefact_file
from kaname.models.registry import Models
from kaname.runtimes.catalog import REMOTE
from kaname.settings import RemoteSettings
from kaname.storage.blobs.types import Held
from kaname.storage.sole import Sole

LOG = logging.getLogger("kaname.batch")
LOOK_S = 0.2
TIDY_S = 3600.0
WRITE_S = 1.0
"""How often progress goes into the database."""
ATTEMPTS = 3
PAUSE_S = 5.0
"""How long a job waits before it is looked whether its tenant may have more rows: a limit may be raised."""
_TAIL_BYTES = 2_000


class Spends(Protocol):
    """Whose quota the rows of a job count for (`access.spending.Spending`)."""

    def spend(self, key_id: str, rows: int) -> float:
        """Count rows that were computed; returns in how many seconds there may be more, 0.0: now."""


class _Child:
    """A process and what it said."""

    def __init__(self, job: JobInfo, task: ChildTask, held: Held) -> None:
        self.job = job
        self._held = held
        self._log: IO[bytes] = TemporaryFile()  # noqa: SIM115  (closed with the child)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "kaname.batch.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=_environment(),
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(encode(task))
        self._process.stdin.close()
        self._said = self._process.stdout
        os.set_blocking(self._said.fileno(), False)
        self._rest = b""
        self.last = Said()
        self.written_ns = 0
        self.counted = job.rows
        """Rows of which the owner's tenant knows."""

    def listen(self) -> bool:
        """Read what it said; whether it has ended."""
        over = self._process.poll() is not None
        self._rest += self._said.read() or b""
        *lines, self._rest = self._rest.split(b"\n")
        for line in lines:
            self.last = msgspec.json.decode(line, type=Said)
        return over

    def fault(self) -> str:
        """How it ended when it said nothing, and the end of its log."""
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - _TAIL_BYTES))
        tail = self._log.read().decode(errors="replace").strip()
        return f"exit status {self._process.returncode}" + (f": {tail}" if tail else "")

    def end(self) -> None:
        """Kill it: what it has committed is kept."""
        self._process.kill()
        self._process.wait()
        self._said.close()
        self._log.close()
        self._held.release()


class Runner:
    """A thread that starts, watches and ends the processes of jobs."""

    def __init__(
        self,
        jobs: Jobs,
        models: Models,
        hold: Callable[[str], Held],
        clock: Clock,
        spending: Callable[[], Spends],
        remotes: tuple[RemoteSettings, ...] = (),
    ) -> None:
        """`hold` gives the verified folder of an artefact; `spending` is made by the one that runs jobs; `remotes` are
        what the servers of remote models are shown."""
        self._remotes = remotes
        self._jobs = jobs
        self._models = models
        self._hold = hold
        self._clock = clock
        self._leave = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kaname-batch-jobs", daemon=True)
        self._sole = Sole(jobs.folder / "runner.lock")
        self._children: dict[str, _Child] = {}
        self._attempts: dict[str, int] = {}
        self._paused: dict[str, int] = {}
        """Jobs that wait for rows of their tenants, and when to look again (monotonic)."""
        self._spending = spending
        self._spends: Spends | None = None
        self._heard = 0
        self._tidied_ns: int | None = None

    def start(self) -> None:
        """Begin to look for jobs."""
        self._thread.start()

    def stop(self) -> None:
        """End the processes; their jobs go on when a server runs again. Blocks for a moment."""
        self._leave.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._leave.wait(LOOK_S):
                try:
                    if self._leads():
                        self._turn()
                except Exception as error:  # noqa: BLE001  (the database may be away for a while)
                    LOG.warning("batch jobs cannot be looked after now: %s", error)
        finally:
            for child in self._children.values():
                child.end()
            self._sole.release()

    def _leads(self) -> bool:
        """Whether this worker is the one that runs jobs; nobody is before the first job was made."""
        return self._jobs.bell.exists() and self._sole.held()

    def _turn(self) -> None:
        rung = self._jobs.bell.stat().st_mtime_ns
        idle = not (self._children or self._attempts or self._due())
        if rung == self._heard and idle and self._tidied_ns is not None:
            if self._clock.monotonic_ns() - self._tidied_ns > TIDY_S * 1e9:
                self._tidy()
            return
        self._heard = rung
        if self._tidied_ns is None:
            self._tidy()
        waiting = {job.id for job in self._jobs.unfinished()} if self._children else set()
        for job_id, child in list(self._children.items()):
            self._attend(child, alive=job_id in waiting)
        unfinished = self._jobs.unfinished()
        self._paused = {job.id: self._paused[job.id] for job in unfinished if job.id in self._paused}
        for job in unfinished:
            if len(self._children) >= self._jobs.settings.jobs:
                break
            if job.id not in self._children and self._may_begin(job):
                self._begin(job)

    def _due(self) -> bool:
        return any(at <= self._clock.monotonic_ns() for at in self._paused.values())

    def _may_begin(self, job: JobInfo) -> bool:
        """Whether the job does not wait for rows of its tenant."""
        if self._paused.get(job.id, 0) > self._clock.monotonic_ns():
            return False
        self._paused.pop(job.id, None)
        return not self._pauses(job, 0)

    def _counts(self, child: _Child, rows: int) -> bool:
        """Let the tenant know of the rows since last time; whether the job has to wait."""
        fresh = rows - child.counted
        child.counted = max(rows, child.counted)
        return fresh > 0 and self._pauses(child.job, fresh)

    def _pauses(self, job: JobInfo, rows: int) -> bool:
        """Count rows for the job's owner; whether it has to wait."""
        if self._spends is None:
            self._spends = self._spending()
        wait_s = min(self._spends.spend(job.owner, rows), PAUSE_S)
        if wait_s:
            self._paused[job.id] = self._clock.monotonic_ns() + int(wait_s * 1e9)
        return wait_s > 0

    def _tidy(self) -> None:
        self._tidied_ns = self._clock.monotonic_ns()
        self._jobs.tidy()

    def _begin(self, job: JobInfo) -> None:
        try:
            task, held = self._task(job)
        except KanameError as error:
            self._attempts.pop(job.id, None)
            self._jobs.ended(job.id, "failed", error=_error(error))
            return
        if not self._jobs.started(job):  # cancelled meanwhile
            held.release()
            self._attempts.pop(job.id, None)
            self._jobs.remove(job.id)
            return
        self._attempts[job.id] = self._attempts.get(job.id, 0) + 1
        self._children[job.id] = _Child(job, task, held)

    def _task(self, job: JobInfo) -> tuple[ChildTask, Held]:
        version = self._models.version(job.model, job.version)
        if version.id != job.version_id:
            raise Conflict("the version was replaced meanwhile", where=f"{job.model}/{job.version}")
        task = Task(
            version=version,
            config=self._models.get(job.model).config,
            input=self._jobs.source(job),
            output=self._jobs.output(job).absolute(),
            options=job.options,
            threads=1 if version.runtime == "python" else self._jobs.settings.threads,
            restart=self._jobs.output(job).exists(),
        )
        held = self._hold(version.artefact)
        artefact = artefact_file(held.folder, version)
        remotes = self._remotes if version.runtime == REMOTE else ()
        return ChildTask(task=task, artefact=artefact.absolute(), parent=os.getpid(), remotes=remotes), held

    def _attend(self, child: _Child, *, alive: bool) -> None:
        job_id, over = child.job.id, child.listen()
        if not alive:  # cancelled
            self._forget(child)
            self._jobs.remove(job_id)
            return
        now = self._clock.monotonic_ns()
        if child.last.progress is not None and (over or now - child.written_ns > WRITE_S * 1e9):
            child.written_ns = now
            self._jobs.progressed(job_id, child.last.progress)
            if self._counts(child, child.last.progress.rows) and not over:
                LOG.info("the batch job %s waits: the daily quota of its tenant is spent", job_id)
                self._forget(child)
                self._jobs.paused(job_id)
                return
        if not over:
            return
        if child.last.done:
            self._jobs.ended(job_id, "done")
        elif child.last.error is not None and child.last.error.code != Conflict.code:
            self._jobs.ended(job_id, "failed", error=child.last.error)
        elif self._attempts[job_id] >= ATTEMPTS:
            fault = child.last.error or JobError(code="model_failed", detail=f"its process died: {child.fault()}")
            self._jobs.ended(job_id, "failed", error=fault)
        else:
            self._forget(child, again=True)
            return
        self._forget(child)

    def _forget(self, child: _Child, *, again: bool = False) -> None:
        child.end()
        del self._children[child.job.id]
        if not again:
            self._attempts.pop(child.job.id, None)


def _error(error: KanameError) -> JobError:
    return JobError(
        code=error.code, detail=error.message, where=error.where, found=error.found, expected=error.expected
    )


def _environment() -> dict[str, str]:
    quiet = {"ORT_DISABLE_TELEMETRY": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return {**os.environ, **quiet, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
