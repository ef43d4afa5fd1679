"""Start everyone who takes part for one model, and end them all again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from benchmarks import contestants, process, subject
from benchmarks.contestants import OUT, InstallFailed, Peer
from benchmarks.models import BenchModel
from benchmarks.rounds import Entry

API, INFER = "kaname", "kaname-oip"
TITLES = {API: "**Kaname**, `/api/v1`", INFER: "**Kaname**, `/v2`"}
Say = Callable[[str], None]


@dataclass(slots=True)
class Lineup:
    """The servers that answered, and why the others did not."""

    entries: list[Entry] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)
    project: subject.Project | None = None
    kaname: process.Server | None = None


def install(peers: Sequence[Peer], say: Say) -> dict[str, str]:
    """Install what is missing; returns the peers that could not be, with the reason."""
    failed = {}
    for peer in peers:
        try:
            contestants.install(peer)
        except InstallFailed as error:
            failed[peer.name] = f"not installed: {error}"
            say(f"{peer.title}: {failed[peer.name]}")
    return failed


@contextmanager
def started(model: BenchModel, peers: Sequence[Peer], *, with_kaname: bool, say: Say) -> Iterator[Lineup]:
    """Everyone up and answering; a server that does not come up is left out and named in `absent`."""
    lineup = Lineup()
    with ExitStack() as running:
        for peer in peers:
            _start_peer(peer, model, lineup, running)
        if with_kaname:
            _start_kaname(model, lineup, running)
        for name, reason in lineup.absent.items():
            say(f"{name} does not take part with {model.name}: {reason}")
        yield lineup


def _start_peer(peer: Peer, model: BenchModel, lineup: Lineup, running: ExitStack) -> None:
    request = peer.request(model)
    if request is None:
        lineup.absent[peer.name] = "takes this model's rows only as JSON"
        return
    port = process.free_port()
    environment = peer.environment | {"BENCH_MODEL": str(model.path), "BENCH_PORT": str(port)}
    log = OUT / "logs" / f"{peer.name}-{model.name}.log"
    server = process.Server.start(peer.command(), contestants.environment(environment), port, log, OUT)
    try:
        server.wait_until(request)
    except process.ServerFailed as error:
        server.stop()
        lineup.absent[peer.name] = f"did not answer: {error}"
        return
    running.callback(server.stop)
    lineup.entries.append(Entry(peer.name, peer.title, server, request))


def _start_kaname(model: BenchModel, lineup: Lineup, running: ExitStack) -> None:
    try:
        project = subject.Project.make(model.name, {model.name: model})
        server = project.start()
        running.callback(server.stop)
        subject.wait_ready(server)
        requests = {INFER: project.infer_request(model.name, model)}
        if not model.binary:
            requests[API] = project.predict_request(server, model.name)
        for name, request in requests.items():
            server.wait_until(request)
            lineup.entries.append(Entry(name, TITLES[name], server, request))
    except subject.FAULTS as error:
        lineup.absent[API] = f"did not answer: {error}"
        return
    lineup.project, lineup.kaname = project, server
