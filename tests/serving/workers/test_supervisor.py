"""Worker processes under their supervisor: crashes, drains and restarts, with real processes and real load."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kaname.serving.workers.lock import holder
from kaname.telemetry.metrics import expose
from tests.processes import until
from tests.serving.workers.conftest import Load, Served, alive, ask, kill

Serve = Callable[..., Served]

pytestmark = pytest.mark.serial
"""Crashes, drains and restarts against the clock: other tests beside them would stretch it."""


def test_it_answers_and_leaves(serve: Serve, tmp_path: Path) -> None:
    """One worker answers at the printed address; SIGTERM drains and stops it, and the status is 0."""
    with serve() as served:
        found = served.ask("/", "hello")
        assert found.body == "hello"
        assert holder(tmp_path) is not None
        assert served.stop() == 0
    assert (tmp_path / f"stopped-{found.pid}").exists()
    assert not alive(found.pid)
    assert holder(tmp_path) is None


def test_two_supervisors_on_one_project_are_refused(serve: Serve, tmp_path: Path) -> None:
    """The second one says which process holds the project and where it answers, and the first goes on."""
    with serve() as served:
        second = serve()
        assert second.process.wait(20) == 2
        assert f"pid {served.process.pid} at http://127.0.0.1:{served.port}" in second.log()
        assert served.ask().body == ""


def test_a_port_that_is_taken_is_said(serve: Serve, tmp_path: Path) -> None:
    """An address that cannot be bound is an error that names it, not a traceback."""
    program = (
        "import sys; from pathlib import Path; from kaname.errors import InvalidInput\n"
        "from kaname.serving.workers.supervisor import Supervisor\n"
        "from kaname.serving.workers.types import ServeOptions\n"
        "try: Supervisor(ServeOptions(project=Path(sys.argv[1]), host='192.0.2.1')).run()\n"
        "except InvalidInput as error: print(error)"
    )
    found = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    assert "192.0.2.1:8080" in found.stdout
    assert holder(tmp_path) is None


def test_all_workers_answer_on_one_port(serve: Serve) -> None:
    """Port 0 is picked once for all workers, and the kernel shares connections out among them."""
    with serve(workers=2) as served:
        pids = served.pids()
        assert len(pids) == 2
        until(lambda: {served.ask().pid for _ in range(20)} == pids, "both workers answer")


def test_a_worker_that_cannot_start_is_said(serve: Serve, tmp_path: Path) -> None:
    """Where no worker can start, the supervisor says why and gives up instead of trying for ever."""
    (tmp_path / "refuse").touch()
    served = serve(workers=2)
    assert served.process.wait(30) == 1
    assert "refuse: told to refuse" in served.log()
    assert "giving up" in served.log()


def test_a_crash_costs_only_requests_in_flight(serve: Serve) -> None:
    """kill -9 of one of two workers under load: connections of the other one and new ones go on without a refusal."""
    with serve(workers=2) as served, Load(served) as load:
        victim = min(served.pids())
        kill(victim)
        until(lambda: len(served.pids() - {victim}) == 2, "the worker is back")
        after = load.answered
        until(lambda: load.answered > after + 100, "the load goes on")
    assert load.lost == []
    assert load.retried <= 4 + 4  # those in flight or queued at that worker, at most one per thread and retry
    assert "killed by SIGKILL" in served.log()


def test_a_neighbour_answers_for_a_dead_worker(serve: Serve, tmp_path: Path) -> None:
    """While a worker stays dead, another accepts from its socket: no new connection waits for it."""
    (tmp_path / "version-7").write_text("fine")
    with serve(workers=2) as served:
        victim = max(served.pids())
        (tmp_path / "refuse").touch()  # from now on no worker starts
        kill(victim)
        until(lambda: served.log().count("cannot start") >= 2, "it does not come back")
        start = time.monotonic()
        assert {served.ask().pid for _ in range(40)} == served.pids()
        assert time.monotonic() - start < 2
        assert len(served.pids()) == 1
        (tmp_path / "refuse").unlink()
        until(lambda: len(served.pids()) == 2, "it comes back", 40)


def test_restarts_back_off(serve: Serve) -> None:
    """The first restart is immediate, the next ones wait longer and longer."""
    with serve() as served:
        for _ in range(3):
            before = served.pids()
            kill(min(before))
            until(lambda before=before: served.pids() - before, "a new worker")  # type: ignore[misc]
        pauses = [line.split('"restart_in_s":')[1] for line in served.log().splitlines() if "restart_in_s" in line]
        assert [float(one.split(",")[0].rstrip("}")) for one in pauses] == [0.0, 0.5, 1.0]


def test_sigterm_under_load_loses_nothing(serve: Serve) -> None:
    """Every request that was sent is answered, the slow ones included, or its connection closes before any byte."""
    with serve(workers=2) as served, Load(served, threads=6) as load:
        load.expect_down()
        assert served.stop() == 0
    assert load.lost == []
    assert load.answered > 100
    assert load.retried <= 2, "closed without an answer: only in the instant before the socket closes"


def test_connections_that_wait_are_answered(serve: Serve) -> None:
    """A connection that the kernel accepted while the worker was frozen is answered by the worker that leaves."""
    with serve() as served:
        worker = served.ask().pid
        waiting = []
        subprocess.run(["kill", "-STOP", str(worker)], check=True)
        try:
            for i in range(20):
                connection = served.connect()
                connection.request("POST", "/", str(i))
                waiting.append(connection)
            served.signal(signal.SIGTERM)
            until(lambda: not _sockets_of(served.process.pid), "the supervisor let go of the sockets")
        finally:
            subprocess.run(["kill", "-CONT", str(worker)], check=True)
        for i, connection in enumerate(waiting):
            with connection.getresponse() as response:
                assert f'"body":"{i}"'.encode() in response.read()
            connection.close()
        assert served.process.wait(20) == 0


def _sockets_of(pid: int) -> set[str]:
    links = set()
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            links.add(str(fd.readlink()))
    return {link for link in links if link.startswith("socket:")}


def test_a_leaving_worker_says_so(serve: Serve) -> None:
    """While it drains, a kept connection may ask once more and is told to close; an idle one is closed."""
    with serve() as served:
        idle, busy = served.connect(), served.connect()
        worker = ask(idle).pid
        busy.connect()
        slow = threading.Thread(target=lambda: ask(busy, "/slow?ms=1500"))
        slow.start()
        served.signal(signal.SIGTERM)
        until(lambda: (served.project / f"drained-{worker}").exists(), "it drains")
        idle.request("POST", "/", "once more")
        with idle.getresponse() as response:
            assert response.getheader("connection") == "close"
            assert b"once more" in response.read()
        slow.join()
        assert served.process.wait(20) == 0
        idle.close()
        busy.close()


def test_requests_beyond_the_drain_time_are_cut(serve: Serve) -> None:
    """A request that takes longer than the drain time does not keep the server from leaving; it is said."""
    with serve(drain_s=1.0) as served:
        connection = served.connect()
        ask(connection)
        connection.request("POST", "/slow?ms=60000")
        until(lambda: served.board.ready(), "it still serves")
        served.signal(signal.SIGTERM)
        with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
            connection.getresponse()
        connection.close()
        assert served.process.wait(20) == 0
        assert "still in progress" in served.log()


@pytest.mark.slow
def test_rolling_restart_under_load_loses_nothing(serve: Serve) -> None:
    """SIGHUP replaces every worker under load; no request is lost and none is refused."""
    with serve(workers=2) as served, Load(served, threads=4) as load:
        for _ in range(2):
            before = served.pids()
            served.signal(signal.SIGHUP)
            until(lambda before=before: len(served.pids() - before) == 2, "both are new", 40)  # type: ignore[misc]
            until(lambda before=before: not any(alive(pid) for pid in before), "the old ones left", 40)  # type: ignore[misc]
        after = load.answered
        until(lambda: load.answered > after + 100, "the load goes on")
    assert load.lost == []
    assert load.retried == 0


def test_a_replacement_that_fails_changes_nothing(serve: Serve, tmp_path: Path) -> None:
    """If the new worker cannot start, the present one goes on."""
    with serve() as served:
        before = served.pids()
        (tmp_path / "refuse").touch()
        served.signal(signal.SIGHUP)
        until(lambda: "replacement does not start" in served.log(), "it says so")
        assert served.ask().pid in before
        assert served.pids() == before


def test_a_worker_that_is_left_behind_is_replaced(serve: Serve, tmp_path: Path) -> None:
    """The others have switched without it: it leaves, and a worker that has the change comes in its place."""
    with serve(workers=2) as served:
        first, second = served.board.ready()
        (tmp_path / "number").write_text("2")
        served.board.report_applied(first.slot, 2)
        served.board.activate(2)
        until(lambda: len(served.pids() - {second.pid}) == 2, "a new worker in place of the second")
        assert first.pid in served.pids()
        assert all(view.prepared == 2 for view in served.board.ready())
        until(lambda: (tmp_path / f"stopped-{second.pid}").exists(), "it left in order")
        assert served.log().count("left behind") == 1


def test_metrics_sum_over_workers_and_survive(serve: Serve, tmp_path: Path) -> None:
    """Requests counted by two workers, one of which is killed and restarted, add up to those that were answered."""
    with serve(workers=2) as served:
        first = [served.ask().pid for _ in range(30)]
        victim = first[0]
        kill(victim)
        until(lambda: len(served.pids() - {victim}) == 2, "the worker is back")
        for _ in range(30):
            served.ask()
        assert "echo_requests_total 60\n" in expose(tmp_path / "metrics", served.board.live_slots())


def test_a_version_that_kills_twice_is_quarantined(serve: Serve, tmp_path: Path) -> None:
    """A version that kills its worker while loading is left out after the second death; the others are served."""
    (tmp_path / "version-3").write_text("fine")
    (tmp_path / "version-8").write_text("kill")
    with serve() as served:
        assert served.board.quarantined() == {8}
        assert served.ask().body == ""
        assert served.log().count("SIGKILL") == 2
        served.board.release(8)
        assert served.board.quarantined() == frozenset()


def test_workers_leave_when_their_supervisor_dies(serve: Serve) -> None:
    """kill -9 of the supervisor: the workers finish what they do and leave by themselves."""
    with serve(workers=2) as served:
        pids = served.pids()
        connection = served.connect()
        ask(connection)
        connection.request("POST", "/slow?ms=500", "last")
        served.process.kill()
        with connection.getresponse() as response:
            assert b"last" in response.read()
        connection.close()
        until(lambda: not any(alive(pid) for pid in pids), "the workers left")


def test_closing_the_terminal_ends_the_server(serve: Serve, tmp_path: Path) -> None:
    """A server started in a terminal goes with it: that SIGHUP does not mean a restart."""
    master, slave = os.openpty()
    program = (
        "import fcntl, os, runpy, sys, termios\n"
        "os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
        "runpy.run_module('tests.serving.workers.run_supervisor', run_name='__main__', alter_sys=True)"
    )
    with serve(program=program, stdin=slave) as served:
        os.close(slave)
        (worker,) = served.pids()
        os.close(master)
        assert served.process.wait(20) == 0
        assert not alive(worker)
