"""Clients of a soak that change what the others see: promotions, loads, keys, batch jobs, versions that come and go."""

from __future__ import annotations

import time
from random import Random
from typing import Any

import httpx

from benchmarks.density_models import FEATURES
from benchmarks.soak_clients import Activity
from benchmarks.soak_tally import Counted, Wrong
from benchmarks.soak_world import ROW, STEPS, SWITCHED, TIMEOUT_S, VERSIONS, World, constant

HEARD_S = 1.0
"""How soon a change of keys holds everywhere."""
JOB_ROWS = 5_000
PAGES = ("/metrics", "/api/v1/models", "/api/v1/residency", "/api/v1/predictions", "/openapi.json")
GROWN = "grown"
LAST = 3
"""Versions of the model that grows which are left."""


class Control(Activity):
    """With the key of an administrator."""

    def __init__(self, world: World, rng: Random, counted: Counted) -> None:
        super().__init__(world, rng, counted)
        self.admin = world.client(world.admin)

    def close(self) -> None:
        self.admin.close()
        super().close()

    def predict(self, model: str) -> httpx.Response:
        """One prediction of a model of two features."""
        return self.http.post(f"/api/v1/models/{model}/predict", json={"features": [1, 2]})

    def must_say(self, model: str, version: str) -> None:
        """Let the model answer, as this version, with its number."""
        answer = self.must(self.predict(model), 200).json()
        if answer["version"] != version or answer["prediction"] != [float(version)]:
            raise Wrong(f"version {version} is promoted, {answer['version']} said {answer['prediction']}")


class Promoting(Control):
    """Promotes a version, or rolls back; from then on that one answers, with its own number."""

    name = "promotions"
    pause_s = 0.3

    def once(self) -> None:
        if self.rng.random() < 0.2:
            self.must(self.admin.post(f"/api/v1/models/{STEPS}/rollback"), 200, 409)
        else:
            version = self.rng.choice(VERSIONS)
            self.must(self.admin.post(f"/api/v1/models/{STEPS}/versions/{version}/promote"), 200)
        promoted = self.admin.get(f"/api/v1/models/{STEPS}").json()["promoted"]
        for _ in range(5):
            self.must_say(STEPS, promoted)


class Switching(Control):
    """Unloads a model, which then refuses, and loads it, which then answers."""

    name = "unloads and loads"
    pause_s = 0.5

    def once(self) -> None:
        self.must(self.admin.post(f"/api/v1/models/{SWITCHED}/unload"), 200)
        self.must(self.predict(SWITCHED), 503)
        self.counted.refused += 1
        self.must(self.admin.post(f"/api/v1/models/{SWITCHED}/load"), 200)
        self.must(self.predict(SWITCHED), 200)


class Keys(Control):
    """Makes a key that is heard of within a second, and revokes it, which is, too."""

    name = "keys"
    pause_s = 0.5

    def once(self) -> None:
        wanted = {"name": "soak", "scopes": ["predict:*"], "rate_rows_per_s": self.rng.choice((None, 1000.0))}
        made = self.must(self.admin.post("/api/v1/keys", json=wanted), 201).json()
        with self.world.client(made["key"]) as client:
            self._until(client, 200)
            self.must(self.admin.delete(f"/api/v1/keys/{made['info']['id']}"), 200)
            self._until(client, 401)
        self.counted.refused += 1

    def _until(self, client: httpx.Client, status: int) -> None:
        end = time.monotonic() + HEARD_S
        while (
            found := client.post(f"/api/v1/models/{STEPS}/predict", json={"features": [1, 2]})
        ).status_code != status:
            if time.monotonic() > end:
                raise Wrong(f"after {HEARD_S} s still {found.status_code}, not {status}")


class Batches(Control):
    """A file of rows as a job of the server, whose result has a line for each; one in four is cancelled."""

    name = "batch jobs"
    pause_s = 2.0

    def once(self) -> None:
        columns = ",".join(f"f{at}" for at in range(FEATURES))
        rows = (columns + "\n" + (",".join(map(str, ROW)) + "\n") * JOB_ROWS).encode()
        path = f"/api/v1/models/{self.model()}/batch-jobs?input_format=csv&output_format=jsonl"
        job = self.must(self.http.post(path, content=rows), 201).json()["id"]
        if self.rng.random() < 0.25:
            self.must(self.http.post(f"/api/v1/batch-jobs/{job}/cancel"), 200, 409)
            self.counted.left += 1
            return
        ended = self._ended(job)
        if ended["status"] != "done" or ended["rows"] != JOB_ROWS:
            raise Wrong(f"a job ended as {ended}")
        lines = self.must(self.http.get(f"/api/v1/batch-jobs/{job}/result"), 200).content.count(b"\n")
        if lines != JOB_ROWS:
            raise Wrong(f"{lines} lines for {JOB_ROWS} rows")

    def _ended(self, job: str) -> dict[str, Any]:
        end = time.monotonic() + TIMEOUT_S
        while time.monotonic() < end:
            found: dict[str, Any] = self.must(self.http.get(f"/api/v1/batch-jobs/{job}"), 200).json()
            if found["status"] not in ("queued", "running"):
                return found
            time.sleep(0.1)
        raise Wrong(f"after {TIMEOUT_S} s a job is {found['status']}")


class Growing(Control):
    """Uploads a version, promotes it, asks it; what is older than a few versions is archived and deleted."""

    name = "new versions"
    pause_s = 8.0

    def __init__(self, world: World, rng: Random, counted: Counted) -> None:
        super().__init__(world, rng, counted)
        self._number = 0

    def once(self) -> None:
        self._number += 1
        number = self._number
        file = constant(self.world.folder / "grown.onnx", float(number)).read_bytes()
        query = {"version": str(number), "promote": "true"}
        headers = {"content-type": "application/octet-stream"}
        added = self.admin.post(f"/api/v1/models/{GROWN}/versions", content=file, params=query, headers=headers)
        self.must(added, 201)
        self.must_say(GROWN, str(number))
        old = number - LAST
        if old > 0:
            self.must(self.admin.post(f"/api/v1/models/{GROWN}/versions/{old}/archive"), 200)
            self.must(self.admin.delete(f"/api/v1/models/{GROWN}/versions/{old}"), 204)


class Looking(Control):
    """Reads what people and Prometheus read."""

    name = "metrics and lists"
    pause_s = 1.0

    def once(self) -> None:
        path = self.rng.choice(
            ("/metrics", "/api/v1/models", "/api/v1/residency", "/api/v1/predictions", "/openapi.json")
        )
        self.must(self.admin.get(path), 200)


CONTROLS: tuple[type[Activity], ...] = (Promoting, Switching, Keys, Batches, Growing, Looking)
