"""Batch jobs: what people and programs ask for; a server's job runner does them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from sqlalchemy import Connection

from kaname.batch import store
from kaname.batch.journal import Files
from kaname.batch.store import ENDED, JobError, JobInfo, JobStatus
from kaname.batch.types import Format, Options, Progress
from kaname.clock import Clock
from kaname.errors import Conflict, InvalidInput, NotFound, RateLimited
from kaname.ids import request_ids
from kaname.models.types import VersionInfo
from kaname.settings import BatchSettings
from kaname.storage.sql import journal
from kaname.storage.sql.database import Database

JobList = list[JobInfo]
_WINDOW_S = 60
_MEDIA = {"csv": "text/csv", "jsonl": "application/x-ndjson", "parquet": "application/vnd.apache.parquet"}


class Jobs:
    """The jobs of a project. Files of a job lie in a folder of its own below `folder`."""

    def __init__(
        self, database: Database, clock: Clock, folder: Path, data: Path, settings: BatchSettings, node: str
    ) -> None:
        """`data`: the folder of the project whose files jobs may read; `node`: who has these folders."""
        self._database = database
        self._clock = clock
        self._ids = request_ids(clock)
        self.folder = folder
        self._data = data
        self.settings = settings
        self._node = node

    # --- ask ----------------------------------------------------------------------------------------------

    def create(
        self,
        version: VersionInfo,
        source: str | Path,
        options: Options,
        *,
        owner: str,
        who: str | None = None,
        uploaded: bool = False,
    ) -> JobInfo:
        """Queue a job on a file below the project's `data/`, or on an `uploaded` one, which is moved away.

        The change journal names `who`; the owner, where that is None. Raises InvalidInput when there is no such file
        there, RateLimited when the owner made too many this minute.
        """
        path = Path(source) if uploaded else self.input_path(str(source))
        job_id = self._ids()
        values = {
            "id": job_id,
            "owner": owner,
            "model": version.model,
            "version": version.version,
            "version_id": version.id,
            "input": "" if uploaded else str(source),
            "options": options,
            "node": self._node,
        }
        home = self.folder / job_id
        with self._database.write() as conn:
            now_us = self._clock.time_ns() // 1000
            self._admit(*store.created_since(conn, owner, now_us - _WINDOW_S * 1_000_000), now_us)
            home.mkdir(parents=True)
            if uploaded:
                path.rename(self._uploaded(job_id, options.input_format))
            job = store.add(conn, {**values, "created_us": now_us})
            self._log(conn, "batch.create", job, who or owner, now_us)
        self._ring()
        return job

    def _admit(self, count: int, first_us: int | None, now_us: int) -> None:
        if count < self.settings.jobs_per_min:
            return
        wait_s = _WINDOW_S if first_us is None else (first_us - now_us) / 1e6 + _WINDOW_S
        raise RateLimited(
            "too many batch jobs",
            where="batch-jobs",
            found=f"{count} in the last minute",
            expected=f"at most {self.settings.jobs_per_min} a minute",
            retry_after_s=max(wait_s, 0.001),
        )

    def get(self, job_id: str) -> JobInfo:
        """One job. Raises NotFound."""
        with self._database.read() as conn:
            return store.find(conn, job_id)

    def list(self, *, owner: str | None = None, before: int | None = None, limit: int = 100) -> JobList:
        """Up to `limit` jobs with numbers below `before`, the newest first; of one owner, or of all."""
        with self._database.read() as conn:
            return store.newest(conn, owner, before, limit)

    def _log(self, conn: Connection, action: str, job: JobInfo, who: str, at_us: int) -> None:
        detail = {"model": job.model, "version": job.version, "input": job.input, "owner": job.owner}
        journal.append(conn, at_us=at_us, who=who, action=action, subject=job.id, detail=detail)

    def cancel(self, job_id: str, *, who: str) -> JobInfo:
        """End a job that has not ended. Raises Conflict when it has otherwise."""
        with self._database.write() as conn:
            now_us = self._clock.time_ns() // 1000
            cancelled = store.change(conn, job_id, status="cancelled", ended_us=now_us)
            job = store.find(conn, job_id)
            if cancelled:
                self._log(conn, "batch.cancel", job, who, now_us)
            elif job.status != "cancelled":
                raise Conflict("the job has ended", where=job_id, found=job.status, expected="queued or running")
        self._ring()
        return job

    def result(self, job_id: str, *, errors: bool = False) -> tuple[Path, str]:
        """The file of answers (or of bad rows) of a job that is done, and its media type.

        Raises Conflict when the job is not done, NotFound when there is no such file (any more).
        """
        job = self.get(job_id)
        if job.status != "done":
            raise Conflict("the job is not done", where=job_id, found=job.status, expected="done")
        files = Files(self.output(job))
        path = files.errors if errors else files.output
        if not path.is_file():
            expected = "a job with bad rows" if errors else f"within {self.settings.keep_days:g} days of its end"
            if job.node not in (None, self._node):
                expected = f"asked of node {job.node}, which did the job"
            raise NotFound("the job has no such file", where=job_id, expected=expected)
        return path, _MEDIA["jsonl" if errors else job.options.output_format]

    # --- do -----------------------------------------------------------------------------------------------

    def unfinished(self) -> JobList:
        """Jobs of this node that have not ended, in the order they were made."""
        with self._database.read() as conn:
            return store.unfinished(conn, self._node)

    def started(self, job: JobInfo) -> bool:
        """A job runs, for the first time or again; False: it has been cancelled meanwhile."""
        now_us = self._clock.time_ns() // 1000
        with self._database.write() as conn:
            return store.change(conn, job.id, status="running", started_us=job.started_us or now_us)

    def paused(self, job_id: str) -> None:
        """A job that runs waits from now on."""
        with self._database.write() as conn:
            store.change(conn, job_id, only=("running",), status="queued")

    def progressed(self, job_id: str, at: Progress) -> None:
        """How far a job is."""
        with self._database.write() as conn:
            store.change(conn, job_id, rows=at.rows, bad=at.bad, done=at.done, total=at.total)

    def ended(self, job_id: str, status: JobStatus, *, error: JobError | None = None) -> None:
        """A job is over. One that was cancelled meanwhile stays so, and its files go."""
        with self._database.write() as conn:
            now_us = self._clock.time_ns() // 1000
            over = store.change(conn, job_id, status=status, error=error, ended_us=now_us)
            cancelled = not over and store.find(conn, job_id).status == "cancelled"
        if cancelled:
            self.remove(job_id)

    def tidy(self) -> None:
        """Remove the files of jobs that were cancelled, or ended long ago."""
        if not self.folder.is_dir():
            return
        with self._database.read() as conn:
            old = set(store.ended_before(conn, self._clock.time_ns() // 1000 - int(self.settings.keep_days * 86_400e6)))
        for home in self.folder.iterdir():
            if home.is_dir() and home.name in old:
                self.remove(home.name)

    def remove(self, job_id: str) -> None:
        """Remove a job's files."""
        shutil.rmtree(self.folder / job_id, ignore_errors=True)

    # --- places -------------------------------------------------------------------------------------------

    @property
    def bell(self) -> Path:
        """A file that is touched when a job is made or cancelled: cheaper to look at than the database."""
        return self.folder / "bell"

    def _ring(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.bell.touch()
        os.utime(self.bell)

    def source(self, job: JobInfo) -> Path:
        """The file that a job reads. Raises InvalidInput when it is gone."""
        return self.input_path(job.input) if job.input else self._uploaded(job.id, job.options.input_format)

    def output(self, job: JobInfo) -> Path:
        """The file that a job writes."""
        return self.folder / job.id / f"result.{job.options.output_format}"

    def _uploaded(self, job_id: str, form: Format) -> Path:
        return self.folder / job_id / f"input.{form}"

    def input_path(self, name: str) -> Path:
        """The file `name` below the project's `data/`; what a link leads to counts. Raises InvalidInput."""
        folder = self._data.resolve()
        path = (folder / name).resolve()
        if not path.is_relative_to(folder) or not path.is_file():
            raise InvalidInput(
                "no such input file",
                where="input",
                found=name,
                expected=f"a file inside {self._data.name}/ of the project",
            )
        return path


def is_over(job: JobInfo) -> bool:
    """Whether a job has ended, in whichever way."""
    return job.status in ENDED
