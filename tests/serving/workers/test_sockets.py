"""Who may listen where: servers share a port with nobody but their own workers."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys

import pytest

from kaname.errors import InvalidInput
from kaname.serving.workers.sockets import bind, claimed
from tests.servers import free_port

HOST = "127.0.0.1"


def _refused(port: int) -> str:
    pauses: list[float] = []
    with pytest.raises(InvalidInput) as found, claimed(HOST, port, "server.port", sleep=pauses.append):
        pass
    assert pauses, "it insisted for a while"
    return str(found.value)


def test_sockets_of_a_server_are_noticed_although_they_share_their_port() -> None:
    """A worker that listens with SO_REUSEPORT has the port; the error names the setting and the address."""
    one, two = bind(HOST, 0, 2)
    with one, two:
        one.listen()
        port = one.getsockname()[1]
        assert (
            _refused(port)
            == f"server.port: the server cannot listen there; found {HOST}:{port}: Address already in use"
        )
    with claimed(HOST, port, "server.port"):
        pass


def test_a_server_that_still_starts_has_its_port_already() -> None:
    """Between its start and its first worker nobody listens; the claim keeps a second server off all the same."""
    port = free_port()
    with claimed(HOST, port, "server.port"):
        assert "Address already in use" in _refused(port)
        (own,) = bind(HOST, port, 1)
        own.close()
    with claimed(HOST, port, "server.port"):
        pass


def test_a_killed_server_leaves_no_claim() -> None:
    """kill -9 of the process that has the claim frees the address at once."""
    port = free_port()
    program = (
        "import sys; from kaname.serving.workers.sockets import claimed\n"
        f"with claimed({HOST!r}, {port}, 'server.port'): print('claimed', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        assert "Address already in use" in _refused(port)
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with claimed(HOST, port, "server.port"):
        pass


def test_insisting_outlasts_workers_that_are_leaving() -> None:
    """A socket that is let go of meanwhile is no reason to refuse."""
    (old,) = bind(HOST, 0, 1)
    old.listen()
    with claimed(HOST, old.getsockname()[1], "server.port", sleep=lambda _: old.close()):
        pass


def test_any_free_port_needs_no_claim() -> None:
    """Port 0 may be asked for by as many servers as like."""
    with claimed(HOST, 0, "server.port"), claimed(HOST, 0, "server.port"), socket.socket() as one:
        one.bind((HOST, 0))
