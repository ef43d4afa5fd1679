"""What tracing costs: off, and on for no request, one of a hundred and all of them, with a collector alive or dead.

python -m benchmarks.tracing      (a minute and a half; needs wrk and the extra `otel`)
"""

from __future__ import annotations

from benchmarks import collector, interleaved, models, process, subject
from benchmarks.contestants import OUT
from benchmarks.request import Request

SECONDS, ROUNDS = 2.0, 5
UNTRACED = ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00")


def _project(name: str, endpoint: str, ratio: float) -> subject.Project:
    project = subject.Project.make(f"tracing-{name}", {"iris": models.build(OUT / "models")["iris"]})
    with (project.folder / "kaname.yaml").open("a") as file:
        if endpoint:
            file.write(f"telemetry: {{otlp: {{endpoint: '{endpoint}', sampling_ratio: {ratio}}}}}\n")
    return project


def main() -> None:
    """Print a table."""
    with collector.collecting() as alive:
        _measure(alive)


def _measure(alive: str) -> None:
    dead = f"http://127.0.0.1:{process.free_port()}"
    rows = {
        "off": _project("off", "", 0),
        "no request traced": _project("none", alive, 0),
        "1% traced": _project("some", alive, 0.01),
        "all traced": _project("all", alive, 1),
        "all traced, the collector is dead": _project("dead", dead, 1),
    }
    servers = {name: project.start() for name, project in rows.items()}
    try:
        variants: list[interleaved.Variant] = []
        for name, project in rows.items():
            interleaved.wait_open(servers[name].port)
            request = project.predict_request(servers[name], "iris")
            variants.append((name, servers[name], request, "http"))
            if name in ("off", "1% traced"):
                caller = Request(request.path, request.body, (*request.headers, UNTRACED), request.method)
                variants.append((f"{name}, callers say that they are not traced", servers[name], caller, "http"))
        print(interleaved.table(variants, seconds=SECONDS, rounds=ROUNDS))
    finally:
        for server in servers.values():
            server.stop()


if __name__ == "__main__":
    main()
