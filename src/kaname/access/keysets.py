"""The keys of issuers, read again in the background: from a file when it changes, from a URL as time goes by.

A set that cannot be read leaves the last good one in force; of a URL that one is also kept on disk, so that a server
may start while the issuer is down.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import msgspec

from kaname.access import jose
from kaname.addresses import is_confidential
from kaname.client.connections import Connections
from kaname.client.exchanged import Broken
from kaname.clock import Clock
from kaname.errors import InvalidInput, KanameError, Unavailable
from kaname.settings import TokenIssuer

LOG = logging.getLogger("kaname.access")
FILE_S = 0.5
"""How often a file is looked at."""
LEAST_NS = 5_000_000_000
"""Least time between two readings of a URL, however many tokens name keys that nobody knows."""
FETCH_S = 5.0
"""Longest wait for one answer of an issuer."""
FAILED_S = 15.0
"""When to try again what failed."""


class Source(Protocol):
    """Where the keys of an issuer come from."""

    pause_s: float
    """Time between two readings."""
    patient: bool
    """Whether a key that is not there may come by reading again now."""

    def read(self) -> bytes | None:
        """The JWK set, None when it has not changed. Blocks; raises OSError or KanameError."""


class FileSource:
    """A JWK set in a file."""

    patient = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self.pause_s = FILE_S

    def read(self) -> bytes | None:
        facts = self._path.stat()
        seen = (facts.st_mtime_ns, facts.st_size, facts.st_ino)
        if seen == self._seen:
            return None
        raw = self._path.read_bytes()
        self._seen = seen
        return raw


class UrlSource:
    """A JWK set behind a URL; without one, behind the URL that the issuer's metadata name."""

    patient = True

    def __init__(self, issuer: TokenIssuer, root: Path) -> None:
        """`root`: where a relative path of `ca` starts. Raises OSError where that cannot be read."""
        self.pause_s = issuer.refresh_ms / 1000
        self._issuer = issuer
        self._context = ssl.create_default_context(cafile=None if issuer.ca is None else str(root / issuer.ca))

    def read(self) -> bytes | None:
        url = self._issuer.jwks or self._discover()
        if not is_confidential(url):
            raise InvalidInput("keys are taken over HTTPS, or from this machine", where=self._issuer.name, found=url)
        return self._get(url)

    def _discover(self) -> str:
        url = self._issuer.issuer.rstrip("/") + "/.well-known/openid-configuration"
        try:
            found = msgspec.json.decode(self._get(url), type=_Metadata)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise InvalidInput(f"the issuer's metadata cannot be read: {error}", where=url) from None
        if found.issuer != self._issuer.issuer:
            raise InvalidInput("metadata of another issuer", where=url, found=found.issuer)
        return found.jwks_uri

    def _get(self, url: str) -> bytes:
        parts = urlsplit(url)
        path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        connections = Connections(f"{parts.scheme}://{parts.netloc}", keep=0, tls=self._context)
        try:
            reply = connections.request("GET", path, b"", {"accept": "application/json"}, FETCH_S)
        except Broken as error:
            raise Unavailable(f"the issuer cannot be reached: {error}", where=url) from None
        except TimeoutError:
            raise Unavailable("the issuer does not answer in time", where=url, expected=f"{FETCH_S:g} s") from None
        if reply.status != 200:
            raise Unavailable("the issuer refuses to show its keys", where=url, found=f"status {reply.status}")
        return reply.body


class _Metadata(msgspec.Struct):
    issuer: str
    jwks_uri: str


class Keyset:
    """The keys of one issuer now. Belongs to one event loop, but for `find`."""

    def __init__(
        self,
        name: str,
        source: Source,
        clock: Clock,
        changed: Callable[[Keyset], None],
        kept: Path | None = None,
    ) -> None:
        """`changed` is told of other keys; `kept` is where the last good set outlives the process."""
        self.name = name
        self.keys: jose.Keys = {}
        self._source = source
        self._clock = clock
        self._changed = changed
        self._kept = kept
        self._wake = asyncio.Event()
        self._asked_ns = -LEAST_NS
        self._reading = False
        self._failing = False
        if kept is not None and kept.exists():
            with contextlib.suppress(OSError, InvalidInput):
                self.keys = jose.keys_of(kept.read_bytes())

    def find(self, kid: str, algorithm: str) -> jose.PublicKey | None:
        """The key of this name for this algorithm."""
        return self.keys.get((kid, algorithm))

    def ask(self) -> bool:
        """A token names a key that is not here: read the keys again now, unless that was done a moment ago.

        False when that will not help: then the issuer has no such key. While it cannot be asked nobody knows.
        """
        if not self._source.patient:
            return False
        if self._reading or self._wake.is_set():
            return True
        if self._clock.monotonic_ns() - self._asked_ns < LEAST_NS:
            return self._failing
        self._wake.set()
        return True

    async def run(self) -> None:
        """Keep the keys fresh until cancelled."""
        while True:
            pause_s = FAILED_S if self._failing and self._source.patient else self._source.pause_s
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._wake.wait()
            await self.refresh()

    async def refresh(self) -> None:
        """Read the keys again; a failure is logged when it begins, and leaves them as they are."""
        self._reading = True
        self._wake.clear()
        self._asked_ns = self._clock.monotonic_ns()
        try:
            found = await asyncio.to_thread(self._read)
        except (KanameError, OSError) as error:
            if not self._failing:
                state = "the last good ones stay in force" if self.keys else "its tokens cannot be checked"
                LOG.warning("the keys of %s cannot be read (%s); %s", self.name, error, state)
            self._failing = True
        else:
            if self._failing:
                LOG.warning("the keys of %s can be read again", self.name)
            self._failing = False
            if found is not None:
                self.keys = found
                self._changed(self)
        finally:
            self._reading = False

    def _read(self) -> jose.Keys | None:
        raw = self._source.read()
        if raw is None:
            return None
        found = jose.keys_of(raw)
        if self._kept is not None:
            _keep(self._kept, raw)
        return found


def _keep(path: Path, raw: bytes) -> None:
    """Atomic; workers that do so together write the same."""
    if path.exists() and path.read_bytes() == raw:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{id(raw):x}")
    fresh.write_bytes(raw)
    fresh.replace(path)
