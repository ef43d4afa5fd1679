"""The addresses of a remote model: who is asked next, who is left out, and when it may take part again.

Left out is an address that does not say it is ready when it is probed, or that fails several times in a row while
others are there (passive ejection, as in Envoy's outlier detection). The last one is never left out for its failures
alone: it is probed at once, and that decides. One that was left out is probed after pauses that double until it answers
a request, and takes part again when it says that it is ready.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Collection, Sequence

from kaname.clock import Clock
from kaname.errors import KanameError, Unavailable
from kaname.runtimes.remote.types import Link, Trouble
from kaname.runtimes.types import Told

FIRST_S, LONGEST_S = 0.25, 5.0
"""Pauses before the next probe of an address that was just left out, and that has been for long."""
FAILING_S = 1.0
"""The first of them for one that says it is ready, and fails."""
LOG = logging.getLogger("kaname.remote")


class Address:
    """One address and how it does."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.going = 0
        """Requests that are there now."""
        self.failures = 0
        """In a row."""
        self.why: KanameError | None = None
        """Why it is left out."""
        self.times = 0
        """How often it was left out, or a probe of it failed, since it answered a request."""
        self.due_ns = 0
        """When it is probed next."""


class Addresses:
    """May be used by several threads; `watch` is the body of the thread that probes."""

    def __init__(self, links: Sequence[Link], clock: Clock, *, probe_ms: float, eject_failures: int) -> None:
        self._all = [Address(link) for link in links]
        self._clock = clock
        self._probe_s = probe_ms / 1000
        self._most = eject_failures
        self._lock = threading.Lock()
        self._turn = 0
        self._poked = threading.Event()
        self._closing = False
        self.told: Told | None = None
        """Hears of changes."""

    # --- requests ---------------------------------------------------------------------------------------

    def take(self, tried: Collection[Address] = ()) -> Address:
        """The address with the fewest requests of those that take part, in turn among equals; one that was `tried`
        only when there is no other. `give` follows. Raises Unavailable, which says why none takes part."""
        with self._lock:
            able = self.able()
            if not able:
                raise self._nobody()
            self._turn += 1
            order = able[self._turn % len(able) :] + able[: self._turn % len(able)]
            chosen = min(order, key=lambda one: (one in tried, one.going))
            chosen.going += 1
            return chosen

    def give(self, address: Address, trouble: Trouble | None) -> None:
        """The request there has ended, in `trouble` that counts or well."""
        with self._lock:
            address.going -= 1
            if trouble is None:
                address.failures = address.times = 0
            elif trouble.blame:
                address.failures += 1
        if address.failures >= self._most and address.why is None:
            if trouble is not None and self.able() != [address]:
                self._leave_out(address, trouble.error, FAILING_S)
            else:
                address.failures = address.due_ns = 0
                self._poked.set()

    def able(self) -> list[Address]:
        """Those that take part."""
        return [one for one in self._all if one.why is None]

    @property
    def trouble(self) -> KanameError | None:
        """Why nothing can be asked now; None: it can."""
        with self._lock:
            return None if self.able() else self._nobody()

    def _nobody(self) -> Unavailable:
        reasons = "; ".join(str(one.why) for one in self._all)
        left_s = (min(one.due_ns for one in self._all) - self._clock.monotonic_ns()) / 1e9
        return Unavailable("no address of the remote is ready", found=reasons, retry_after_s=max(0.1, left_s))

    # --- probes -----------------------------------------------------------------------------------------

    def watch(self) -> None:
        """Probe whoever is due until `close`; on a thread."""
        while not self._closing:
            self._poked.clear()
            for one in self._all:
                if one.due_ns <= self._clock.monotonic_ns():
                    self._probe(one)
            wait_s = (min(one.due_ns for one in self._all) - self._clock.monotonic_ns()) / 1e9
            self._poked.wait(min(max(0.0, wait_s), self._probe_s))
        self.close()  # the last probe may have left a connection

    def _probe(self, address: Address) -> None:
        try:
            address.link.probe(max(self._probe_s, 1.0))
        except Trouble as trouble:
            self._leave_out(address, trouble.error, FIRST_S)
        else:
            self._let_in(address)

    def _leave_out(self, address: Address, why: KanameError, first_s: float) -> None:
        with self._lock:
            known, address.why = address.why, why
            pause_s = min(LONGEST_S, first_s * 2.0**address.times)
            address.due_ns = self._in_ns(pause_s * random.uniform(0.75, 1.0))  # noqa: S311  (jitter)
            address.times = min(address.times + 1, 16)
        if known is None:
            LOG.warning("left out: %s", why)
            self._tell(address, ready=False)

    def _let_in(self, address: Address) -> None:
        with self._lock:
            known, address.why = address.why, None
            address.failures = 0
            address.due_ns = self._in_ns(self._probe_s)
        if known is not None:
            LOG.warning("%s is ready again", address.link.address)
            self._tell(address, ready=True)

    def _in_ns(self, seconds: float) -> int:
        return self._clock.monotonic_ns() + int(seconds * 1e9)

    def _tell(self, address: Address, *, ready: bool) -> None:
        if self.told is not None:
            self.told.health(address.link.address, ready)

    @property
    def links(self) -> list[Link]:
        """Of all addresses, in order."""
        return [one.link for one in self._all]

    def standing(self) -> dict[str, bool]:
        """Each address, and whether it takes part."""
        return {one.link.address: one.why is None for one in self._all}

    def close(self) -> None:
        """End the probes, and close every connection."""
        self._closing = True
        self._poked.set()
        for link in self.links:
            link.close()
