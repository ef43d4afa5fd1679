"""Closed-loop load over HTTP/2: one gRPC call at a time on each connection, written as frames by hand.

grpcio's own clients cost more per call than a server does, so they cannot measure one.
"""

from __future__ import annotations

import asyncio
import json
import struct
import sys
from collections.abc import Callable
from typing import cast

import uvloop

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1
POST, HTTP, PATH = b"\x83", b"\x86", b"\x04"
"""HPACK's static entries for `:method: POST`, `:scheme: http` and the name `:path` (RFC 7541, appendix A)."""
WINDOW = 2**30
DRAIN_S = 5.0


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """An HTTP/2 frame (RFC 9113, section 4.1)."""
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def text(value: bytes) -> bytes:
    """An HPACK string without Huffman coding."""
    if len(value) < 127:
        return bytes((len(value),)) + value
    rest, length = len(value) - 127, bytearray(b"\x7f")
    while rest >= 128:
        length.append(rest % 128 + 128)
        rest //= 128
    return bytes(length) + bytes((rest,)) + value


def head(path: str, metadata: dict[str, str]) -> bytes:
    """The header block of a call; every field but the first three as a literal that is never indexed."""
    fields = {":authority": "localhost", "content-type": "application/grpc", "te": "trailers", **metadata}
    literals = (b"\x10" + text(name.encode()) + text(value.encode()) for name, value in fields.items())
    return POST + HTTP + PATH + text(path.encode()) + b"".join(literals)


class Connection(asyncio.Protocol):
    """One connection and the call on it; an answer without a message is a refusal."""

    def __init__(self, block: bytes, body: bytes, ended: Callable[[], None]) -> None:
        self._block = block
        self._body = struct.pack(">BI", 0, len(body)) + body
        self._ended = ended
        self._stream = 1
        self._rest = b""
        self._message = 0
        self.answered = self.refused = 0
        self.stopping = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        settings = frame(SETTINGS, 0, 0, struct.pack(">HI", 4, WINDOW))
        transport.write(PREFACE + settings + frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", WINDOW)))
        self._ask()

    def _ask(self) -> None:
        stream = self._stream
        self._stream += 2
        self._transport.write(
            frame(HEADERS, END_HEADERS, stream, self._block) + frame(DATA, END_STREAM, stream, self._body)
        )

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        at = 0
        while len(data) - at >= 9:
            size = int.from_bytes(data[at : at + 3], "big")
            if len(data) - at < 9 + size:
                break
            kind, flags = data[at + 3], data[at + 4]
            self._frame(kind, flags, data[at + 9 : at + 9 + size])
            at += 9 + size
        self._rest = data[at:]

    def _frame(self, kind: int, flags: int, payload: bytes) -> None:
        if kind in (PING, SETTINGS):
            if not flags & ACK:
                self._transport.write(frame(kind, ACK, 0, payload if kind == PING else b""))
        elif kind == DATA:
            self._message += len(payload)
        if kind in (DATA, HEADERS) and flags & END_STREAM:
            self._answer()
        elif kind in (RST_STREAM, GOAWAY):
            self.refused += 1

    def _answer(self) -> None:
        if self._message:
            self.answered += 1
        else:
            self.refused += 1
        self._message = 0
        if self.stopping:
            self._ended()
        else:
            self._ask()


async def run(port: int, block: bytes, body: bytes, connections: int, seconds: float) -> dict[str, float]:
    """Ask for `seconds`; returns how many calls were answered and refused."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Semaphore(0)
    open_ = []
    for _ in range(connections):
        _, one = await loop.create_connection(lambda: Connection(block, body, ended.release), "127.0.0.1", port)
        open_.append(one)
    await asyncio.sleep(seconds)
    for one in open_:
        one.stopping = True
    async with asyncio.timeout(DRAIN_S):
        for _ in open_:
            await ended.acquire()
    return {"answered": sum(one.answered for one in open_), "refused": sum(one.refused for one in open_)}


def main() -> None:
    """Run the plan (JSON) in the first argument and print what came of it."""
    plan = json.loads(sys.argv[1])
    block, body = head(plan["path"], plan["metadata"]), bytes.fromhex(plan["body"])
    print(json.dumps(uvloop.run(run(plan["port"], block, body, plan["connections"], plan["seconds"]))))


if __name__ == "__main__":
    main()
