"""Answers sent to whoever asked: signed, tried again, and only to where the server's owner permits.

Signed as Standard Webhooks 1.0 (standardwebhooks.com) has it: `webhook-id` is the same at every attempt, so that a
receiver can tell a repetition; `webhook-signature` is `v1,` and the HMAC-SHA256 of id, timestamp and body, in base64.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import http.client
import ipaddress
import os
import secrets
import socket
import ssl
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

import msgspec
import structlog

from kaname.clock import Clock
from kaname.errors import InvalidInput
from kaname.serving.deferred.answers import view
from kaname.serving.deferred.desk import Desk
from kaname.serving.deferred.types import ANSWERED, DELIVERED, Answered, Place, answered_of
from kaname.settings import DeferredSettings
from kaname.storage.events.lmdb.reader import LmdbReader
from kaname.storage.events.types import Position

FIRST_RETRY_S, LONGEST_RETRY_S = 1.0, 600.0
AT_ONCE = 8
READ_AT_ONCE = 256
_PORTS = {"http": 80, "https": 443}
_log = structlog.get_logger("kaname.deferred")


class Targets:
    """Where answers may go."""

    def __init__(self, settings: DeferredSettings) -> None:
        self._allowed = [urlsplit(one) for one in settings.webhooks]
        self._private = settings.webhook_private

    def check(self, url: str) -> SplitResult:
        """The URL, taken apart. Raises InvalidInput for one that is not below an entry of `deferred.webhooks`."""
        try:
            parts = urlsplit(url)
            fits = parts.username is None and ".." not in unquote(unquote(parts.path)) and not parts.fragment
            permitted = fits and any(_below(parts, one) for one in self._allowed)
        except ValueError:
            permitted = False
        if not permitted:
            raise InvalidInput(
                "answers may not be sent there", where="x-callback-url", found=url[:200],
                expected="a URL that begins with an entry of deferred.webhooks",
            )  # fmt: skip
        return parts

    def address(self, parts: SplitResult) -> tuple[str, int]:
        """The address to connect to, looked up once so that it cannot change behind the check. Raises OSError."""
        host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
        found = [str(one[4][0]) for one in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
        if not (self._private or host in found):
            found = [one for one in found if ipaddress.ip_address(one).is_global]
        if not found:
            raise OSError(f"{host} leads to no public address")
        return found[0], port


def _below(parts: SplitResult, allowed: SplitResult) -> bool:
    same = (parts.scheme, parts.hostname, parts.port) == (allowed.scheme, allowed.hostname, allowed.port)
    return same and parts.scheme in _PORTS and parts.path.startswith(allowed.path or "/")


def signature(key: bytes, webhook_id: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`."""
    signed = hmac.digest(key, f"{webhook_id}.{timestamp}.".encode() + body, hashlib.sha256)
    return "v1," + base64.b64encode(signed).decode()


def signing_key(path: Path) -> bytes:
    """The key in a file that only this user can read, made when there is none: `whsec_` and 32 bytes in base64."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return base64.b64decode(path.read_text().strip().removeprefix("whsec_"))
    key = secrets.token_bytes(32)
    with os.fdopen(fd, "w") as file:
        file.write(f"whsec_{base64.b64encode(key).decode()}\n")
    return key


class Webhooks:
    """Delivers at least once: an attempt that was not seen to succeed is repeated, also by the next process."""

    def __init__(self, targets: Targets, settings: DeferredSettings, clock: Clock, secret: Path) -> None:
        self._targets = targets
        self._timeout_s = settings.webhook_timeout_ms / 1000
        self._keep_us = settings.keep_hours * 3_600e6
        self._clock = clock
        self._secret = secret
        self._room = asyncio.Semaphore(AT_ONCE)

    async def resume(self, desk: Desk, reader: LmdbReader) -> None:
        """Deliver what another process has left undelivered on a desk."""
        left = await asyncio.to_thread(_undelivered, desk, reader)
        await asyncio.gather(*(self.deliver(desk, offset, answer) for offset, answer in left))

    async def deliver(self, desk: Desk, offset: int, answer: Answered) -> None:
        """Send one answer until it is taken, or forgotten."""
        place, pause_s = Place(desk.slot, offset, answer.token), FIRST_RETRY_S
        while self._clock.time_ns() // 1000 - answer.answered_us < self._keep_us:
            try:
                async with self._room:
                    await asyncio.to_thread(self._send, place, answer)
                break
            except (OSError, http.client.HTTPException, InvalidInput) as error:
                _log.warning("a webhook was not taken", id=place.id, error=str(error), again_in_s=pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, LONGEST_RETRY_S)
        await desk.delivered(offset)

    def _send(self, place: Place, answer: Answered) -> None:
        """One attempt. Raises OSError, also for an answer that is not 2xx; redirects are not followed."""
        parts = self._targets.check(answer.callback or "")
        address = self._targets.address(parts)
        body = msgspec.json.encode(view(place, answer))
        now = self._clock.time_ns() // 1_000_000_000
        signed = signature(signing_key(self._secret), place.id, now, body)
        headers = {
            "content-type": "application/json", "webhook-id": place.id, "webhook-timestamp": str(now),
            "webhook-signature": signed, "user-agent": "kaname",
        }  # fmt: skip
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port or _PORTS[parts.scheme])
        try:
            connection.sock = self._connected(parts, address)
            target = parts.path or "/"
            connection.request("POST", f"{target}?{parts.query}" if parts.query else target, body, headers)
            status = connection.getresponse().status
        finally:
            connection.close()
        if not 200 <= status < 300:
            raise OSError(f"{parts.hostname} answered {status}")

    def _connected(self, parts: SplitResult, address: tuple[str, int]) -> socket.socket:
        plain = socket.create_connection(address, timeout=self._timeout_s)
        if parts.scheme == "http":
            return plain
        return ssl.create_default_context().wrap_socket(plain, server_hostname=parts.hostname)


def _undelivered(desk: Desk, reader: LmdbReader) -> list[tuple[int, Answered]]:
    done = {int(value) for _, value in _all(reader, DELIVERED, desk.partition)}
    answers = ((offset, answered_of(value)) for offset, value in _all(reader, ANSWERED, desk.partition))
    return [(offset, answer) for offset, answer in answers if answer.callback is not None and offset not in done]


def _all(reader: LmdbReader, topic: str, partition: str) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    position = Position(partition, 0)
    while events := reader.read(topic, position, READ_AT_ONCE):
        found += [(event.offset, event.value) for event in events]
        position = Position(partition, events[-1].offset + 1)
    return found
