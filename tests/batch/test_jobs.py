"""Batch jobs in the database: whose they are, what the journal says of them, which node does them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kaname.batch.jobs import Jobs
from kaname.batch.store import JobInfo
from kaname.batch.types import Options, Progress
from kaname.clock import ManualClock
from kaname.errors import Conflict, NotFound, RateLimited
from kaname.models.types import VersionInfo
from kaname.settings import BatchSettings
from kaname.storage.sql import journal
from kaname.storage.sql.database import Database
from tests.databases import open_at
from tests.models.world import PROFILE

OPTIONS = Options(input_format="csv", output_format="csv")


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    opened = open_at(url)
    yield opened
    opened.close()


@pytest.fixture
def version() -> VersionInfo:
    from kaname.signature import Signature

    return VersionInfo(
        id=7,
        model="iris",
        model_id=3,
        version="1",
        status="deployed",
        artefact="a" * 64,
        source="onnx",
        runtime="onnx",
        signature=Signature(task="regression", inputs=(), outputs=()),
        profile=PROFILE,
        created_us=1,
    )


def jobs_of(database: Database, folder: Path, node: str = "here", **settings: int) -> Jobs:
    (folder / "data").mkdir(parents=True, exist_ok=True)
    (folder / "data" / "rows.csv").write_text("x\n1\n")
    return Jobs(database, ManualClock(), folder / "batch", folder / "data", BatchSettings(**settings), node)


def test_the_journal_says_who_made_and_who_cancelled_a_job(
    database: Database, tmp_path: Path, version: VersionInfo
) -> None:
    """Once each, with the model and the file; cancelling twice is no second change, and an ended job stays ended."""
    jobs = jobs_of(database, tmp_path)
    made = jobs.create(version, "rows.csv", OPTIONS, owner="key1", who="ann (key1)")
    assert jobs.cancel(made.id, who="bob").status == "cancelled"
    assert jobs.cancel(made.id, who="eve").status == "cancelled"
    with database.read() as conn:
        changes = journal.changes(conn)
    detail = {"model": "iris", "version": "1", "input": "rows.csv", "owner": "key1"}
    assert [(c.who, c.action, c.subject, c.detail) for c in changes] == [
        ("ann (key1)", "batch.create", made.id, detail),
        ("bob", "batch.cancel", made.id, detail),
    ]
    done = jobs.create(version, "rows.csv", OPTIONS, owner="cli:x")
    jobs.ended(done.id, "done")
    with pytest.raises(Conflict, match="ended"):
        jobs.cancel(done.id, who="bob")
    with database.read() as conn:
        assert [change.who for change in journal.changes(conn, 2)] == ["cli:x"]


def raced(*steps: Callable[[], object]) -> None:
    """Do all at once, each on a thread."""
    line = threading.Barrier(len(steps))

    def step(one: Callable[[], object]) -> None:
        line.wait(20)
        one()

    with ThreadPoolExecutor(len(steps)) as pool:
        for done in [pool.submit(step, one) for one in steps]:
            done.result(60)


def test_who_cancels_and_who_ends_a_job_agree(
    url: str, database: Database, tmp_path: Path, version: VersionInfo
) -> None:
    """Two processes at once, again and again: a job is over once, in one way, of which both sides and the journal know;
    a cancelled one leaves no files."""
    other = open_at(url)
    doing, asking = jobs_of(database, tmp_path, jobs_per_min=1000), jobs_of(other, tmp_path, jobs_per_min=1000)
    for _ in range(25):
        job = asking.create(version, "rows.csv", OPTIONS, owner="k")
        began: list[bool] = []
        refused: list[Conflict] = []

        def work(job: JobInfo = job, began: list[bool] = began) -> None:
            began.append(doing.started(job))
            doing.paused(job.id)
            doing.progressed(job.id, Progress(rows=1, bad=0, done=1, total=1))
            doing.ended(job.id, "done")

        def cancel(job: JobInfo = job, refused: list[Conflict] = refused) -> None:
            try:
                assert asking.cancel(job.id, who="bob").status == "cancelled"
            except Conflict as error:
                refused.append(error)

        raced(work, cancel)
        found = doing.get(job.id)
        assert found.status == ("done" if refused else "cancelled")
        assert found.status == "cancelled" or began == [True]
        assert (doing.folder / job.id).exists() is bool(refused)
        with database.read() as conn:
            told = [change for change in journal.changes(conn, 0) if change.subject == job.id]
        assert [change.action for change in told] == ["batch.create", *([] if refused else ["batch.cancel"])]
    other.close()


def test_a_cancelled_job_does_not_begin(database: Database, tmp_path: Path, version: VersionInfo) -> None:
    """Whoever was about to start it is told; nothing of it changes any more."""
    jobs = jobs_of(database, tmp_path)
    job = jobs.create(version, "rows.csv", OPTIONS, owner="k")
    cancelled = jobs.cancel(job.id, who="bob")
    assert not jobs.started(job)
    jobs.paused(job.id)
    jobs.ended(job.id, "failed")
    assert jobs.get(job.id) == cancelled


def test_a_job_is_done_by_the_node_that_has_its_files(database: Database, tmp_path: Path, version: VersionInfo) -> None:
    """Every node lists it and may cancel it; one alone finds it to do, and has its result."""
    here, there = jobs_of(database, tmp_path / "a"), jobs_of(database, tmp_path / "b", "there")
    job = here.create(version, "rows.csv", OPTIONS, owner="k")
    assert [found.id for found in there.list()] == [job.id]
    assert [found.id for found in here.unfinished()] == [job.id]
    assert there.unfinished() == []
    here.started(job)
    here.ended(job.id, "done")
    with pytest.raises(NotFound, match="asked of node here"):
        there.result(job.id)


def test_one_job_too_many_is_refused_and_leaves_nothing(
    database: Database, tmp_path: Path, version: VersionInfo
) -> None:
    """Neither a row nor a change nor a folder."""
    jobs = jobs_of(database, tmp_path, jobs_per_min=1)
    made = jobs.create(version, "rows.csv", OPTIONS, owner="k")
    with pytest.raises(RateLimited):
        jobs.create(version, "rows.csv", OPTIONS, owner="k")
    assert [job.id for job in jobs.list()] == [made.id]
    assert database.journal_number() == 1
    assert [path.name for path in jobs.folder.iterdir() if path.is_dir()] == [made.id]
