"""The whole way, from data to answers: `make demo`, or `python demo.py [--keep]`.

Prepares the flights and trains the model (once), registers it, starts the server, replays October to December
against it, and says what to try next. What it makes lies in `out/` and `.kaname/` beside this file.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

import prepare
import remember
import replay
import report
import train

KANAME = str(Path(sys.executable).parent / "kaname")
ADMIN_KEY = prepare.HERE / ".kaname" / "admin.key"
PREFERRED_PORT = 8080
READY_S = 60.0
STOP_S = 40.0
METRICS = ("rmse_minutes", "mae_minutes", "auc")


def kaname(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command on this project."""
    command = [KANAME, "--project", str(prepare.HERE), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def register() -> bool:
    """Add the trained versions, named after their training; returns False when they are there already. The one that
    reads the view is promoted."""
    stamp = train.source_stamp()[:8]
    added = [add(version, f"{version}-{stamp}") for version in train.VERSIONS]
    return any(added)


def add(version: str, name: str) -> bool:
    """Add one version; returns False when it is there already."""
    if kaname("model", "show", "delay", name, "--json").returncode == 0:
        return False
    measured = json.loads(train.METRICS.read_text())[version]
    metrics = [word for name in METRICS for word in ("--metric", f"september_{name}={measured[name]:.4f}")]
    model = ("model", "add", "delay", str(train.model_file(version)), "--sample", str(train.sample_file(version)))
    added = kaname(*model, "--version", name, "--promote", "--view", remember.VIEW, *metrics)
    if added.returncode != 0:
        raise SystemExit(f"The model could not be registered:\n{added.stderr or added.stdout}")
    return True


def free_port() -> int:
    """The usual port, or another if it is taken."""
    for port in (PREFERRED_PORT, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise SystemExit("No free port on 127.0.0.1")


def start(port: int, log: Path) -> subprocess.Popen[bytes]:
    """`kaname serve` on this project, in a session of its own so that Ctrl-C here leaves it to us to stop."""
    command = [KANAME, "serve", str(prepare.HERE), "--port", str(port)]
    with log.open("wb") as out:
        return subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, start_new_session=True)


def wait_ready(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Return when the model is loaded and warm."""
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline and server.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            connection.request("GET", "/health/ready")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.05)
    raise SystemExit(f"The server did not become ready; it said:\n{log.read_text(errors='replace')[-3000:]}")


def stop(server: subprocess.Popen[bytes]) -> None:
    """Let it finish what it has begun and end."""
    server.send_signal(signal.SIGTERM)
    try:
        server.wait(STOP_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    kept = os.environ.get("KEEP", "") not in {"", "0"}
    parser.add_argument("--keep", action="store_true", default=kept, help="leave the server running (or KEEP=1)")
    parser.add_argument("--clients", type=int, default=4, help="connections kept open at once")
    parser.add_argument("--rows", type=int, default=None, help="this many flights, evenly spread; default: all")
    asked = parser.parse_args()
    console = Console()
    _step(console, "Flights of 2013, with the weather of the last full hour", prepare.prepare)
    _step(console, "What was known when, and a training set of it", remember.make)
    _step(console, "LightGBM on January to September, without and with what happened that day", train.train)
    _step(console, "Registered as two versions of model delay", register)
    port, log = free_port(), prepare.OUT / "server.log"
    server = start(port, log)
    url = f"http://127.0.0.1:{port}"
    try:
        _step(console, f"kaname serve on {url}", lambda: wait_ready(server, port, log))
        key = ADMIN_KEY.read_text().strip()
        traffic = replay.run(url, key, clients=asked.clients, rows=asked.rows, console=console)
        without, live = json.loads(train.METRICS.read_text())["timetable_autumn"]["auc"], report.overall(traffic).auc
        console.print(f"AUC without what happened that day {without:.3f}, with it {live:.3f}", highlight=False)
        replay.next_steps(url, ADMIN_KEY, console)
    except BaseException:
        stop(server)
        raise
    _leave(server, port, console, keep=asked.keep)
    sys.exit(1 if traffic.problems else 0)


def _step(console: Console, what: str, work: Callable[[], object]) -> None:
    """Do one step and say how long it took; steps whose results lie there already return False."""
    start = time.perf_counter()
    with console.status(what):
        made = work()
    took = "as before" if made is False else f"{time.perf_counter() - start:.1f} s"
    console.print(f"[green]✓[/green] {what} [dim]{took}[/dim]", highlight=False)


def _leave(server: subprocess.Popen[bytes], port: int, console: Console, *, keep: bool) -> None:
    if keep:
        console.print(f"\nThe server keeps running; to stop it: kill {server.pid}", highlight=False)
        return
    stop(server)
    again = f"{KANAME} serve {prepare.HERE} --port {port}"
    console.print("\nThe server has stopped; for these lines start it again:", highlight=False)
    console.print(again, soft_wrap=True, markup=False, highlight=False)


if __name__ == "__main__":
    main()
