"""Makes the project folder that an earlier release left behind, for the tests of those that come later.

`python -m tests.earlier.make CHECKOUT` runs the Kaname in CHECKOUT (a worktree of an earlier commit) with this Python
and writes `tests/earlier/DATE.tar.xz`, DATE being that of the commit. What is in there was written by that code alone:
the database, the snapshot, the artefacts, the record and, where it knew them, requests that are answered later.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

OUTPUT = Path(__file__).resolve().parent
KANAME = str(Path(sys.executable).with_name("kaname"))
ROWS = [[5.1, 3.5, 1.4, 0.2], [6.3, 3.3, 6.0, 2.5], [5.9, 3.0, 4.2, 1.5]]
SLEEPER = """
import time
import numpy as np

class Model:
    def predict(self, batch):
        time.sleep(0.05)
        return {"twice": np.asarray(batch["x"], np.float32) * 2}
"""
START_S = 60.0


class Earlier:
    """The commands and servers of a checkout, on one project."""

    def __init__(self, checkout: Path, project: Path) -> None:
        self._environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("KANAME_")},
            "PYTHONPATH": str(checkout / "src"),
            "NO_COLOR": "1",
        }
        self.project = project

    def run(self, *arguments: str | Path) -> str:
        """What a command prints."""
        command = [KANAME, *map(str, arguments)]
        return subprocess.run(command, env=self._environ, check=True, stdout=subprocess.PIPE, text=True).stdout

    @contextmanager
    def server(self, end: signal.Signals) -> Iterator[httpx.Client]:
        """A client of a server that is ended by a signal, with all of its workers."""
        command = [KANAME, "serve", str(self.project), "--port", "0", "--workers", "1"]
        with subprocess.Popen(
            command, env=self._environ, stdout=subprocess.PIPE, text=True, start_new_session=True
        ) as server:
            assert server.stdout is not None
            try:
                url = next(line for line in server.stdout if "answers at " in line).partition("answers at ")[2].strip()
                key = (self.project / ".kaname" / "admin.key").read_text().strip()
                with httpx.Client(base_url=url, headers={"authorization": f"Bearer {key}"}, timeout=30.0) as client:
                    yield client
            except BaseException:
                os.killpg(server.pid, signal.SIGKILL)
                raise
            if end is signal.SIGKILL:
                os.killpg(server.pid, end)
            else:
                server.send_signal(end)
            server.wait(START_S)


def make(earlier: Earlier, *, defers: bool) -> dict[str, Any]:
    """Use the project as people do; returns what was answered."""
    project = earlier.project
    earlier.run("init", project)
    with earlier.server(signal.SIGTERM) as client:
        key = json.loads(earlier.run("-C", project, "key", "create", "--scope", "predict:iris", "--json"))["key"]
        answers = {
            f"earlier-{i}": _ask(client, f"earlier-{i}", {"features": {"input": row}}) for i, row in enumerate(ROWS)
        }
        answers["earlier-rows"] = _ask(client, "earlier-rows", {"instances": [{"input": row} for row in ROWS]})
        refused = client.post(
            "/api/v1/models/iris/predict", json={"features": {"odd": 1}}, headers={"x-request-id": "earlier-refused"}
        )
        assert refused.status_code == 400, refused.text
        time.sleep(1)  # the record commits by itself
    return {"key": key, "answers": answers, "later": _defer(earlier) if defers else {}}


def _ask(client: httpx.Client, request_id: str, body: object) -> Any:
    answer = client.post("/api/v1/models/iris/predict", json=body, headers={"x-request-id": request_id})
    assert answer.status_code == 200, answer.text
    return {name: value for name, value in answer.json().items() if name != "latency_ms"}


def _defer(earlier: Earlier) -> dict[str, float]:
    """Ids of requests that are not answered when the server is killed, and what was asked."""
    project = earlier.project
    (project / "sleeper.py").write_text(SLEEPER)
    (project / "sleeper.json").write_text(json.dumps({"features": {"x": 1.5}}))
    source = f"{project / 'sleeper.py'}:Model"
    earlier.run("-C", project, "model", "add", "sleeper", source, "--sample", project / "sleeper.json")
    earlier.run("-C", project, "model", "set", "sleeper", "max_batch_rows=1", "overload=queue", "limits.patience_ms=20")
    later: dict[str, float] = {}
    with earlier.server(signal.SIGKILL) as client, ThreadPoolExecutor(40) as pool:

        def ask(number: int) -> None:
            answer = client.post("/api/v1/models/sleeper/predict", json={"features": {"x": float(number)}})
            if answer.status_code == 202:
                later[answer.json()["id"]] = float(number)

        list(pool.map(ask, range(60)))
    assert later
    return later


def main(checkout: Path) -> None:
    """Make the archive of a checkout."""
    date = ["git", "-C", str(checkout), "log", "-1", "--format=%cs"]
    name = subprocess.run(date, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder) / "project"
        defers = (checkout / "src" / "kaname" / "serving" / "deferred").exists()
        told = make(Earlier(checkout, project), defers=defers)
        (project / "told.json").write_text(json.dumps(told))
        with tarfile.open(OUTPUT / f"{name}.tar.xz", "w:xz", preset=9) as archive:
            archive.add(project, "project", filter=_plain)


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Files and folders without their owner; no sockets, locks or compiled code."""
    if not (entry.isfile() or entry.isdir()) or "__pycache__" in entry.name:
        return None
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
