"""`kaname top` beside a real server under load: its figures are those of the load, and the live view can be used."""

from __future__ import annotations

import codecs
import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from tests.cli.kaname import COMMAND, kaname
from tests.e2e.conftest import Serve
from tests.e2e.server import ROW, Server, environment, predict
from tests.processes import until

pytestmark = pytest.mark.slow

BAD_EVERY = 5
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class Load:
    """One client that asks without a pause, every fifth time with a row that no model answers."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self.answers: list[tuple[float, int]] = []
        """When (seconds since the epoch) and with which status."""

    def _ask(self) -> None:
        with self._server.client() as client:
            while not self._end.is_set():
                bad = len(self.answers) % BAD_EVERY == BAD_EVERY - 1
                answer = predict(client, features={"input": [1.0]} if bad else ROW)
                self.answers.append((time.time(), answer.status_code))

    def within(self, window: Any) -> tuple[int, int]:
        """How many answers came in the time of the window, and how many of them were bad."""
        end = window["at_us"] / 1e6
        inside = [status for at, status in list(self.answers) if end - window["seconds"] < at <= end]
        return len(inside), len([status for status in inside if status != 200])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._end.set()
        self._thread.join()


def test_the_figures_are_those_of_the_load(serve: Serve) -> None:
    """Requests, errors and rates of the window are what the client saw in it; the same over HTTP with a key."""
    with serve(workers=2) as server, Load(server) as load:
        here = server.run("top", "--once", "--json", "--interval", "1").json()
        key = server.run("key", "create", "--scope", "read", "--json").json()["key"]
        remote = ("top", "--server", server.url, "--once", "--json", "--interval", "1")
        there = kaname(*remote, KANAME_KEY=key)
        assert there.code == 0, there.out + there.err
        for window in (here, there.json()):
            (line,) = window["models"]
            traffic = line["traffic"]
            sent, bad = load.within(window)
            assert traffic["requests"] == pytest.approx(sent, abs=3, rel=0.01)  # a window ends within a few requests
            assert traffic["failed"]["invalid_input"] == pytest.approx(bad, abs=2)
            assert traffic["requests_per_s"] == pytest.approx(traffic["requests"] / window["seconds"])
            assert traffic["requests_total"] <= len(load.answers)
            assert 0 < traffic["p50_ms"] <= traffic["p99_ms"]
            assert (line["model"], line["version"], line["state"]) == ("iris", "1", "in memory")
            assert {worker["pid"] for worker in window["workers"]} == server.pids()
            assert sum(worker["cpu"] for worker in window["workers"]) > 0
            assert window["total"] == traffic
        assert kaname(*remote, KANAME_KEY="wrong").json()["code"] == "unauthenticated"


def test_what_is_no_terminal_gets_a_table(serve: Serve) -> None:
    """Printed once, without colours; sorting and versions as asked."""
    with serve() as server:
        assert server.predict().status_code == 200
        out = server.run("top", "--interval", "0.1", "--versions", "--sort", "p99").out
        refused = server.kaname("top", "--sort", "speed")
    assert "p99▼" in out
    assert re.search(r"^iris +1 ", out, re.MULTILINE)
    assert "worker 0" in out
    assert refused.code == 2
    assert "model, rate, rows" in refused.err


def test_without_a_server_there_is_nothing_to_watch(project: Path) -> None:
    """An error that says what to do; a key that would not be used is refused."""
    ran = kaname("-C", project, "top")
    assert ran.code == 1
    assert "no server runs on this project" in ran.err
    assert kaname("-C", project, "top", "--key", "k").code == 2


def _shown(escape: re.Match[str]) -> str:
    """Nothing, but for the end of a view that had the whole terminal."""
    return "[left]" if escape[0].endswith("1049l") else ""


class Terminal:
    """A terminal of 140 columns and 24 lines on which a command runs."""

    def __init__(self, *command: str | Path) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 140, 0, 0))
        clean = {name: value for name, value in environment().items() if name not in ("COLUMNS", "NO_COLOR")}
        self.before = termios.tcgetattr(theirs)
        self._theirs = theirs
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *COMMAND, *map(str, command)],  # Ctrl-C is a signal on one's own terminal only
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**clean, "TERM": "xterm-256color"},
        )
        os.set_blocking(self._ours, False)
        self._decode = codecs.getincrementaldecoder("utf-8")().decode
        self.seen = ""

    def shows(self, text: str) -> None:
        """Wait until `text` has been drawn since the last key."""
        until(lambda: text in self._read(), f"{text!r} on the terminal, not {self.seen[-2000:]!r}")

    def press(self, key: str) -> None:
        self._read()
        self.seen = ""
        os.write(self._ours, key.encode())

    def modes(self) -> list[Any]:
        """How the terminal is set now."""
        return termios.tcgetattr(self._theirs)

    def _read(self) -> str:
        with contextlib.suppress(BlockingIOError):
            while piece := os.read(self._ours, 65536):
                self.seen += ESCAPES.sub(_shown, self._decode(piece))
        return self.seen

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._ours)
        os.close(self._theirs)


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    """Those of a test, closed at its end."""
    opened: list[Terminal] = []
    yield opened
    for terminal in opened:
        terminal.close()


def test_the_live_view(serve: Serve, terminals: list[Terminal], project: Path) -> None:
    """It draws the model under load, obeys keys, outlives its server, and leaves the terminal as it found it."""
    server = serve()
    terminal = Terminal("-C", project, "top", "--interval", "0.2")
    terminals.append(terminal)
    with Load(server):
        terminal.shows("req/s▼")
        terminal.shows("█")
        terminal.press("s")
        terminal.shows("rows/s▼")
        terminal.press("r")
        terminal.shows("rows/s▲")
    server.stop()
    terminal.press("v")
    terminal.shows("no server runs on this project; trying again")
    terminal.press("q")
    terminal.shows("[left]")
    assert terminal.process.wait(10) == 0
    assert terminal.modes() == terminal.before


def test_ctrl_c_ends_it(serve: Serve, terminals: list[Terminal], project: Path) -> None:
    """Without a traceback, whatever it is doing."""
    with serve():
        terminal = Terminal("-C", project, "top", "--interval", "60")
        terminals.append(terminal)
        terminal.shows("q quit")
        terminal.press("\x03")
        terminal.shows("[left]")
        assert terminal.process.wait(10) == 0
        assert "Traceback" not in terminal.seen
