"""The files for Prometheus and Grafana: valid, about metrics that there are, and scraped for real."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.collector import Collector
from tests.e2e.conftest import Serve, project, serve, served_before
from tests.e2e.server import Server
from tests.processes import until
from tests.servers import RealServer, free_port, program

__all__ = ["project", "serve", "served_before"]
ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus"
DASHBOARD = ROOT / "deploy" / "grafana" / "kaname.json"
KNOWN = re.compile(r'"(kaname_[a-z_]+)"')
NAMED = re.compile(r"\bkaname_[a-z_]+")
PARTS = ("_bucket", "_count", "_sum")


def promtool(*arguments: str) -> None:
    tool = program("promtool", "prometheus")
    ran = subprocess.run([tool, *arguments], cwd=RULES, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def dashboard_expressions() -> list[str]:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel["targets"]]


def rule_expressions() -> list[str]:
    found = []
    for name in ("recording.yml", "alerts.yml"):
        for group in yaml.safe_load((RULES / name).read_text())["groups"]:
            found += [rule["expr"] for rule in group["rules"]]
    return found


def test_the_rules_are_valid_and_fire_when_they_should() -> None:
    """promtool reads them, and runs their own tests on made-up series."""
    promtool("check", "rules", "recording.yml", "alerts.yml")
    promtool("test", "rules", "tests.yml")


def test_the_scrape_configuration_is_valid(tmp_path: Path) -> None:
    """With a key in its place."""
    shutil.copytree(RULES, tmp_path / "prometheus")
    (tmp_path / "prometheus" / "kaname.key").write_text("kn_key")
    promtool("check", "config", str(tmp_path / "prometheus" / "prometheus.yml"))


def test_only_metrics_that_there_are_are_asked_for() -> None:
    """A renamed metric must be renamed here as well."""
    known = {name for file in (ROOT / "src").rglob("*.py") for name in KNOWN.findall(file.read_text())}
    for expression in [*rule_expressions(), *dashboard_expressions()]:
        for name in NAMED.findall(expression):
            base = next((name.removesuffix(part) for part in PARTS if name.endswith(part)), name)
            assert {name, base} & known, expression


def test_panels_do_not_overlap_and_have_numbers_of_their_own() -> None:
    """The grid of the dashboard has 24 columns."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        here = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not taken & here, panel["title"]
        assert max(x for x, _ in here) < 24
        taken |= here


def _scraping(folder: Path, target: str, key: str) -> Path:
    """The files as a person would lay them, for one server and in a hurry."""
    shutil.copytree(RULES, folder)
    (folder / "kaname.key").write_text(key)
    config = folder / "prometheus.yml"
    text = config.read_text().replace("localhost:8080", target).replace("15s", "1s")
    config.write_text(text)
    return config


class Prometheus:
    """A real one that scrapes a server with a key that may only read; `flags` are options of its own."""

    def __init__(self, server: Server, folder: Path, *flags: str) -> None:
        key = server.run("key", "create", "--scope", "read", "--json").json()["key"]
        config = _scraping(folder / "prometheus", server.url.removeprefix("http://"), key)
        self._url = f"http://127.0.0.1:{free_port()}"
        self._command = [
            program("prometheus", "prometheus"),
            f"--config.file={config}",
            f"--web.listen-address={self._url.removeprefix('http://')}",
            f"--storage.tsdb.path={folder / 'data'}",
            *flags,
        ]
        self._folder = folder / "prometheus-server"
        self._folder.mkdir()

    @contextmanager
    def running(self) -> Iterator[None]:
        """As long as it is needed."""
        with RealServer(self._command, self._folder, self._ready):
            yield

    def _ready(self) -> bool:
        try:
            return httpx.get(f"{self._url}/-/ready", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def get(self, path: str, **parameters: str) -> Any:
        """What it answers."""
        answer = httpx.get(f"{self._url}/api/v1/{path}", params=parameters, trust_env=False).json()
        assert answer["status"] == "success", (parameters, answer)
        return answer["data"]

    def ask(self, expression: str) -> list[dict[str, Any]]:
        """The series of an expression now."""
        found: list[dict[str, Any]] = self.get("query", query=expression)["result"]
        return found


@pytest.mark.slow
def test_a_real_prometheus_scrapes_a_server(serve: Serve, tmp_path: Path) -> None:
    """What was asked is counted, and all expressions of rules and panels answer."""
    with serve() as server:
        prometheus = Prometheus(server, tmp_path)
        ask = prometheus.ask
        with prometheus.running():
            for _ in range(7):
                assert server.predict().status_code == 200
            counted = 'sum(kaname_requests_total{model="iris", code="ok"})'
            until(lambda: [one["value"][1] for one in ask(counted)] == ["7"], "seven requests are counted", 30.0)
            assert [one["value"][1] for one in ask('up{job="kaname"}')] == ["1"]
            for expression in [*rule_expressions(), *dashboard_expressions()]:
                ask(expression.replace("$__rate_interval", "1m").replace("$instance", ".*").replace("$model", ".*"))
            until(lambda: ask("kaname:requests:rate5m"), "the rules are evaluated", 30.0)


@pytest.mark.slow
def test_a_real_prometheus_leads_to_a_trace(serve: Serve, tmp_path: Path) -> None:
    """It asks for OpenMetrics, stores the exemplars, and names the trace of a slow bucket when it is asked."""
    with Collector() as collector:
        environ = {"KANAME_TELEMETRY__OTLP__ENDPOINT": collector.url, "KANAME_TELEMETRY__OTLP__SAMPLING_RATIO": "1"}
        with serve(workers=2, **environ) as server:
            prometheus = Prometheus(server, tmp_path, "--enable-feature=exemplar-storage")
            with prometheus.running():
                traces = {server.predict().headers["traceparent"].split("-")[1] for _ in range(3)}

                def shown() -> set[str]:
                    series = prometheus.get(
                        "query_exemplars",
                        query="kaname_request_seconds_bucket",
                        start=str(time.time() - 60),
                        end=str(time.time() + 60),
                    )
                    return {one["labels"]["trace_id"] for found in series for one in found["exemplars"]}

                found = until(shown, "an exemplar is stored", 30.0)
                assert found <= traces
                assert collector.trace(found.pop())
