"""What each feature costs a request: keys, limits, the record, the cache, TLS, tracing, each beside a server without.

python -m benchmarks.costs                 writes its part of docs/benchmarks.md (2 minutes; needs wrk and `otel`)
python -m benchmarks.costs --rounds 1      prints it

Pairs in turn, without and with, on one core, each server with a project of its own.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks import collector, interleaved, models, sections, subject
from benchmarks.contestants import OUT
from benchmarks.machine import describe
from benchmarks.request import Request, json_request
from benchmarks.stats import Spread, spread
from tests.certificates import LOOPBACK, Authority

ROUNDS, SECONDS, WARM_S = 3, 1.0, 1.0
OFF = "access: {authentication: 'off'}\n"
UNRECORDED = "models: {record: {enabled: false}}\n"
BARE = "without any of them"


@dataclass(frozen=True, slots=True)
class Feature:
    """A row: what `kaname.yaml` says, and what the request shows."""

    title: str
    settings: str
    key: str = ""
    """None, `free`: an API key, `limited`: one with a rate limit, of a size that the load does not reach."""
    tls: bool = False


def features(endpoint: str) -> Iterator[Feature]:
    """The rows, what they are compared with first. `endpoint`: where traces go."""
    yield Feature(BARE, OFF + UNRECORDED)
    yield Feature("API key", UNRECORDED, "free")
    yield Feature("API key with a rate limit", UNRECORDED, "limited")
    yield Feature("prediction record", OFF)
    yield Feature(
        "result cache, an answer that it has", OFF + "models: {record: {enabled: false}, cache: {enabled: true}}\n"
    )
    yield Feature("TLS 1.3", OFF + UNRECORDED, tls=True)
    for ratio, share in ((0.01, "1%"), (1, "all")):
        traced = f"telemetry: {{otlp: {{endpoint: '{endpoint}', sampling_ratio: {ratio}}}}}\n"
        yield Feature(f"tracing of {share} of the requests", OFF + UNRECORDED + traced)
    yield Feature("as installed: key, rate limit, record", "", "limited")


@dataclass(frozen=True, slots=True)
class Origin:
    """The project that every row's is a copy of, its keys, and the request."""

    project: subject.Project
    keys: dict[str, str]
    request: Request

    @classmethod
    def make(cls) -> Origin:
        """A project with the model `iris`."""
        model = models.build(OUT / "models")["iris"]
        project = subject.Project.make("features", {"iris": model})
        free = subject.kaname("-C", str(project.folder), "key", "create", "--scope", "predict:*", "--json")
        body = {"features": {"X": model.row.tolist()}}
        request = json_request("/api/v1/models/iris/predict", body)
        return cls(project, {"free": _key(free), "limited": project.key}, request)

    def started(self, number: int, feature: Feature) -> interleaved.Variant:
        """A server of the row, answering."""
        folder = OUT / "projects" / f"features-{number}"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.project.folder, folder)
        settings = f"name: features\n{feature.settings}"
        if feature.tls:
            certificate, key = Authority(folder).issue("server", *LOOPBACK)
            settings += f"server: {{tls: {{certificate: {certificate.name}, key: {key.name}}}}}\n"
        (folder / "kaname.yaml").write_text(settings)
        server = subject.Project(folder, self.project.key).start()
        request = self.request
        if feature.key:
            request = request.with_headers(("Authorization", f"Bearer {self.keys[feature.key]}"))
        return feature.title, server, request, "https" if feature.tls else "http"


def _key(said: str) -> str:
    return str(json.loads(said)["key"])


def measure(rounds: int) -> dict[str, list[tuple[float, float]]]:
    """CPU µs per request without and with, round by round."""
    origin = Origin.make()
    with collector.collecting() as endpoint, ExitStack() as running:
        variants = []
        for number, feature in enumerate(features(endpoint)):
            variants.append(origin.started(number, feature))
            running.callback(variants[-1][1].stop)
            interleaved.wait_open(variants[-1][1].port)  # one after the other: they share a core
        for variant in variants:
            interleaved.cost_us(variant, WARM_S)
        found: dict[str, list[tuple[float, float]]] = {}
        bare, *others = variants
        for _ in range(rounds):
            for one in others:
                pair = interleaved.cost_us(bare, SECONDS), interleaved.cost_us(one, SECONDS)
                found.setdefault(one[0], []).append(pair)
        return found


def _about() -> str:
    return (
        f"One row of JSON to `iris`, {interleaved.CONNECTIONS} connections, one worker on one core of "
        f"{describe()['CPU']}: CPU per request of a server with a feature, beside one without any, in pairs in turn. "
        "`more` is the difference within a pair; medians, with the range."
    )


def section(found: dict[str, list[tuple[float, float]]]) -> str:
    """The part of the page."""
    lines = [
        "## What features cost",
        "",
        _about(),
        "",
        "| feature | CPU µs per request | more, µs | × |",
        "|---|---:|---:|---:|",
    ]
    bare = spread([without for pairs in found.values() for without, _ in pairs])
    lines.append(f"| {BARE} | {bare.median:.1f} | | |")
    for title, pairs in found.items():
        lines.append(f"| {title} | {_of(pairs)} |")
    return "\n".join([*lines, "", "`make bench-costs` measures again. What a key is beside a token: [TLS](tls.md)."])


def _of(pairs: list[tuple[float, float]]) -> str:
    cost = spread([with_ for _, with_ in pairs])
    more: Spread = spread([with_ - without for without, with_ in pairs])
    times = spread([with_ / without for without, with_ in pairs])
    return f"{cost.median:.1f} | {more:.1f} | {times.median:.2f}"


def main() -> None:
    """Measure, and write or print."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--rounds", type=int, default=ROUNDS)
    rounds = options.parse_args().rounds
    text = section(measure(rounds))
    print(text)
    if rounds >= ROUNDS:
        sections.put("costs", text)


if __name__ == "__main__":
    main()
