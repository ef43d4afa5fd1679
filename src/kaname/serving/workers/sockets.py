"""The listening sockets of a run: made once by the supervisor, held until its end, handed down to workers."""

from __future__ import annotations

import resource
import socket

from kaname.errors import InvalidInput


def bind(host: str, port: int, count: int) -> list[socket.socket]:
    """`count` sockets bound to one address, among which the kernel shares out new connections.

    They do not listen yet: a worker begins that when it is ready, so no connection waits for one that is still
    loading. Port 0 picks a free port for all of them. Raises InvalidInput where the address cannot be bound.
    """
    sockets: list[socket.socket] = []
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
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
        raise InvalidInput(
            "the server cannot listen there", where="server", found=f"{host}:{port}: {error.strerror or error}"
        ) from error
    return sockets


def address(one: socket.socket) -> str:
    """The URL that `one` answers at."""
    host, port = one.getsockname()[:2]
    return f"http://[{host}]:{port}" if one.family == socket.AF_INET6 else f"http://{host}:{port}"


def raise_open_files() -> int:
    """Raise this process' limit of open files (and its children's) to the hard limit; returns it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
