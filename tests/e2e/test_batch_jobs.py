"""Batch jobs over HTTP and at the command line: made, watched, cancelled, continued after a crash, downloaded."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Serve
from tests.e2e.server import ROW, Server
from tests.processes import until

pytestmark = pytest.mark.slow

JOBS = "/api/v1/batch-jobs"
LONG = 1_500_000
"""Rows that take long enough to be disturbed in the middle, however fast the machine."""
WAITING = 400_000
"""Rows that take longer than until it is first looked how many there are."""
HEADER = ",".join(f"input[{at}]" for at in range(4)) + ",name\n"


def rows(path: Path, count: int) -> Path:
    """Flowers as a CSV file."""
    draw = random.Random(3)
    path.parent.mkdir(exist_ok=True)
    flowers = [",".join(f"{draw.uniform(0, 7):.2f}" for _ in range(4)) for _ in range(min(count, 10_000))]
    path.write_text(HEADER + "".join(f"{flowers[n % len(flowers)]},n{n}\n" for n in range(count)))
    return path


def ended(client: httpx.Client, job_id: str) -> dict[str, Any]:
    """The job once it is over."""

    def look() -> dict[str, Any] | None:
        job: dict[str, Any] = client.get(f"{JOBS}/{job_id}").json()
        return job if job["status"] not in ("queued", "running") else None

    found = until(look, "the job ends", 60.0)
    assert found is not None
    return found


def test_a_job_from_its_making_to_its_result(serve: Serve, project: Path) -> None:
    """A file of the project and one in the body give what the command gives; idempotency, ranges and scopes hold."""
    source = rows(project / "data" / "flowers.csv", 500)
    server = serve()
    with server.client() as client:
        body = {"model": "iris", "input": "flowers.csv", "output_format": "jsonl", "keep": ["name"]}
        made = client.post(JOBS, json=body, headers={"idempotency-key": "once"})
        assert made.status_code == 201, made.text
        again = client.post(JOBS, json=body, headers={"idempotency-key": "once"})
        assert (again.json()["id"], again.headers["idempotency-replayed"]) == (made.json()["id"], "true")
        job = ended(client, made.headers["location"].rpartition("/")[2])
        assert (job["status"], job["rows"], job["bad"], job["done_share"]) == ("done", 500, 0, 1.0), job
        result = client.get(f"{JOBS}/{job['id']}/result")
        assert result.headers["content-type"].startswith("application/x-ndjson")
        server.run("predict", "iris", "-i", source, "-o", project / "out.jsonl", "--keep", "name")
        assert result.content == (project / "out.jsonl").read_bytes()
        part = client.get(f"{JOBS}/{job['id']}/result", headers={"range": "bytes=10-19"})
        assert (part.status_code, part.content) == (206, result.content[10:20])
        assert client.get(f"{JOBS}/{job['id']}/errors").status_code == 404

        sent = client.post(
            "/api/v1/models/iris/batch-jobs?input_format=csv&output_format=jsonl&keep=name", content=source.read_bytes()
        )
        assert sent.status_code == 201, sent.text
        assert ended(client, sent.json()["id"])["status"] == "done"
        assert client.get(f"{JOBS}/{sent.json()['id']}/result").content == result.content
        listed = client.get(JOBS, params={"limit": 1}).json()
        assert [one["id"] for one in listed["items"]] == [sent.json()["id"]]
        rest = client.get(JOBS, params={"after": listed["next"]}).json()
        assert ([one["id"] for one in rest["items"]], rest["next"]) == ([job["id"]], None)
    told = server.run("batch", "list", "--json").out
    assert job["id"] in told
    server.run("batch", "result", job["id"], "-o", project / "copy.jsonl")
    assert (project / "copy.jsonl").read_bytes() == result.content


def test_a_job_belongs_to_its_key(serve: Serve, project: Path) -> None:
    """Scope `predict:<model>` is needed, and what others made is not there."""
    rows(project / "data" / "flowers.csv", 5)
    server = serve()
    keys = {
        scope: server.run("key", "create", "-s", scope).out.strip() for scope in ("predict:iris", "predict:*", "read")
    }
    body = {"model": "iris", "input": "flowers.csv"}
    with server.client(keys["predict:iris"]) as mine, server.client(keys["predict:*"]) as other:
        job = mine.post(JOBS, json=body).json()
        assert ended(mine, job["id"])["status"] == "done"
        assert other.get(f"{JOBS}/{job['id']}").status_code == 404
        assert other.get(f"{JOBS}/{job['id']}/result").status_code == 404
        assert other.post(f"{JOBS}/{job['id']}/cancel").status_code == 404
        assert other.get(JOBS).json()["items"] == []
    with server.client(keys["read"]) as reader:
        refused = reader.post(JOBS, json=body)
        assert (refused.status_code, refused.json()["expected"]) == (403, "predict:iris")
    with server.client() as admin:
        assert [one["id"] for one in admin.get(JOBS).json()["items"]] == [job["id"]]


def test_what_cannot_be_a_job_is_refused(serve: Serve, project: Path) -> None:
    """Files outside `data/`, other models, other fields; a file with another schema fails the job and says why."""
    rows(project / "data" / "flowers.csv", 5)
    (project / "data" / "other.csv").write_text("a,b\n1,2\n")
    (project / "data" / "link.csv").symlink_to(project / "kaname.yaml")
    with serve().client() as client:
        for name in ("../kaname.yaml", "/etc/passwd", "link.csv", "none.csv", "."):
            refused = client.post(JOBS, json={"model": "iris", "input": name, "input_format": "csv"})
            assert (refused.status_code, refused.json()["where"]) == (400, "input"), refused.text
        assert client.post(JOBS, json={"model": "no", "input": "flowers.csv"}).status_code == 404
        assert client.post(JOBS, json={"model": "iris", "input": "flowers.csv", "speed": 9}).status_code == 400
        assert client.get(f"{JOBS}/none").status_code == 404
        failed = ended(client, client.post(JOBS, json={"model": "iris", "input": "other.csv"}).json()["id"])
        assert failed["status"] == "failed"
        assert "the file lacks 4 columns" in failed["error"]["detail"]
        assert client.get(f"{JOBS}/{failed['id']}/result").status_code == 409


def test_a_running_job_is_cancelled(serve: Serve, project: Path) -> None:
    """Its process ends and its files go; a queued one behind it takes its place; one that is done stays so."""
    rows(project / "data" / "many.csv", 400_000)
    rows(project / "data" / "few.csv", 10)
    with serve().client() as client:
        many = client.post(JOBS, json={"model": "iris", "input": "many.csv"}).json()["id"]
        few = client.post(JOBS, json={"model": "iris", "input": "few.csv"}).json()["id"]
        until(lambda: client.get(f"{JOBS}/{many}").json()["rows"] > 0, "it runs", 30.0)
        assert client.get(f"{JOBS}/{few}").json()["status"] == "queued"
        assert client.post(f"{JOBS}/{many}/cancel").json()["status"] == "cancelled"
        assert ended(client, few)["status"] == "done"
        assert client.post(f"{JOBS}/{few}/cancel").status_code == 409
    until(lambda: not (project / ".kaname" / "batch" / many).exists(), "its files go")


@pytest.mark.parametrize("crash", [True, False], ids=["killed", "stopped"])
def test_a_job_survives_its_server(serve: Serve, project: Path, *, crash: bool) -> None:
    """Killed or stopped in the middle: the next server goes on, and the result is that of an undisturbed run."""
    source = rows(project / "data" / "many.csv", LONG)
    server = serve()
    with server.client() as client:
        job = client.post(JOBS, json={"model": "iris", "input": "many.csv"}).json()["id"]
        until(lambda: client.get(f"{JOBS}/{job}").json()["rows"] > 0, "it runs", 30.0)
    if crash:
        for pid in server.pids():
            os.kill(pid, signal.SIGKILL)
        server.process.kill()
        server.process.wait()
    else:
        server.stop()
    journal = project / ".kaname" / "batch" / job / "result.csv.journal"
    assert journal.exists()
    with serve().client() as client:
        done = ended(client, job)
        assert (done["status"], done["rows"]) == ("done", LONG), done
        result = client.get(f"{JOBS}/{job}/result").content
    from tests.cli.kaname import kaname

    ran = kaname("-C", project, "predict", "iris", "-i", source, "-o", project / "whole.csv")
    assert ran.code == 0, ran.err
    assert result == (project / "whole.csv").read_bytes()


def test_a_key_makes_so_many_jobs_a_minute(serve: Serve, project: Path) -> None:
    """One more is refused with the time to wait; another key is not."""
    rows(project / "data" / "flowers.csv", 5)
    server: Server = serve(KANAME_BATCH__JOBS_PER_MIN="3")
    with server.client() as client:
        body = {"model": "iris", "input": "flowers.csv"}
        began = time.monotonic()
        assert [client.post(JOBS, json=body).status_code for _ in range(3)] == [201] * 3
        refused = client.post(JOBS, json=body)
        assert refused.status_code == 429
        assert 60 - (time.monotonic() - began) - 1 <= int(refused.headers["retry-after"]) <= 60
        sent = client.post("/api/v1/models/iris/batch-jobs?input_format=csv", content=b"a\n1\n")
        assert sent.status_code == 429
    with server.client(server.run("key", "create", "-s", "predict:iris").out.strip()) as other:
        assert other.post(JOBS, json=body).status_code == 201


def test_a_job_waits_when_its_tenants_day_is_spent(serve: Serve, project: Path) -> None:
    """Its rows count beside requests, which are refused as well; a raised limit lets it go on, and no row is lost."""
    rows(project / "data" / "flowers.csv", WAITING)
    server = serve()
    server.run("tenant", "set", "shop", "--per-day", "1000")
    key = server.run("key", "create", "-s", "predict:*", "--tenant", "shop").out.strip()
    with server.client(key) as client:
        made = until(lambda: _made(client, "flowers.csv"), "the key is known")
        job = until(lambda: _waits(client, made), "the job waits")
        assert 1000 < job["rows"] < WAITING
        assert client.post("/api/v1/models/iris/predict", json={"features": ROW}).status_code == 429
        second = _made(client, "flowers.csv")
        server.run("tenant", "set", "shop", "--per-day", str(10 * WAITING))
        for one in (made, second):
            done = ended(client, one)
            assert (done["status"], done["rows"]) == ("done", WAITING), done
        lines = client.get(f"{JOBS}/{made}/result").content.splitlines()
        assert [line.split(b",", 1)[0] for line in lines[1:]] == [b"%d" % number for number in range(1, WAITING + 1)]
    (shop,) = server.run("tenant", "list", "--json").json()
    assert shop["rows_today"] == pytest.approx(2 * WAITING)


def _made(client: httpx.Client, name: str) -> str:
    answer = client.post(JOBS, json={"model": "iris", "input": name})
    return str(answer.json()["id"]) if answer.status_code == 201 else ""


def _waits(client: httpx.Client, job_id: str) -> dict[str, Any]:
    job: dict[str, Any] = client.get(f"{JOBS}/{job_id}").json()
    return job if job["status"] == "queued" and job["rows"] else {}
