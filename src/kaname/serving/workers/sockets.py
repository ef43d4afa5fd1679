"""The listening sockets of a run: made once by the supervisor, held until its end, handed down to workers."""

from __future__ import annotations

import resource
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from kaname.errors import InvalidInput

TRIES, PAUSE_S = 20, 0.05
"""How long to insist on an address: workers whose supervisor was killed let go of it within moments."""


@contextmanager
def claimed(host: str, port: int, where: str, *, sleep: Callable[[float], None] = time.sleep) -> Iterator[None]:
    """Keep other servers of this machine off an address while the context lasts; port 0 needs no claim.

    The sockets of a server share their port with whoever asks for it, so that binding them would not notice that
    another one has it. Raises InvalidInput, naming the setting `where`, when somebody listens there or another server
    is about to.
    """
    with socket.socket(socket.AF_UNIX) as mark:
        for left in reversed(range(TRIES if port else 0)):
            try:
                _bind_alone(host, port)
                mark.bind(f"\0kaname/{host}:{port}")  # an abstract name: gone with this process, whatever ends it
                break
            except OSError as error:
                if not left:
                    raise _taken(host, port, where, error) from error
                sleep(PAUSE_S)
        yield


def _bind_alone(host: str, port: int) -> None:
    """Bind the address without sharing it, and let go of it again. Raises OSError."""
    family, kind, protocol, address = _resolved(host, port)
    with socket.socket(family, kind, protocol) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind(address)


def _resolved(host: str, port: int) -> tuple[socket.AddressFamily, socket.SocketKind, int, tuple[object, ...]]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    return found[0], found[1], found[2], found[4]


def _taken(host: str, port: int, where: str, error: OSError) -> InvalidInput:
    found = f"{host}:{port}: {error.strerror or error}"
    return InvalidInput("the server cannot listen there", where=where, found=found)


def bind(host: str, port: int, count: int) -> list[socket.socket]:
    """`count` sockets bound to one address, among which the kernel shares out new connections.

    They do not listen yet: a worker begins that when it is ready, so no connection waits for one that is still
    loading. Port 0 picks a free port for all of them. Raises InvalidInput where the address cannot be bound.
    """
    sockets: list[socket.socket] = []
    try:
        family, kind, protocol, address = _resolved(host, port)
        for _ in range(count):
            one = socket.socket(family, kind, protocol)
            sockets.append(one)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            one.bind(address)
            address = one.getsockname()
    except OSError as error:
        for one in sockets:
            one.close()
        raise _taken(host, port, "server", error) from error
    return sockets


def address(one: socket.socket, scheme: str = "http") -> str:
    """The URL that `one` answers at."""
    host, port = one.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if one.family == socket.AF_INET6 else f"{scheme}://{host}:{port}"


def raise_open_files() -> int:
    """Raise this process' limit of open files (and its children's) to the hard limit; returns it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
