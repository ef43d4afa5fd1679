"""A remote model as a session: asked at one address after the other, within its time and its budget of retries."""

from __future__ import annotations

import random
import threading
from pathlib import Path

from kaname.client.budget import RetryBudget
from kaname.clock import Clock, SystemClock
from kaname.errors import DeadlineExceeded, KanameError
from kaname.runtimes.remote.addresses import Address, Addresses
from kaname.runtimes.remote.description import Remote, parse
from kaname.runtimes.remote.links import open_links
from kaname.runtimes.remote.specs import check_outputs
from kaname.runtimes.remote.types import Tensors, Trouble
from kaname.runtimes.types import SessionOptions, Told
from kaname.signature import Signature

MOST_TRIES = 4
"""Attempts of one request, whatever the budget has."""
FIRST_PAUSE_S = 0.02
"""Before the same address is asked again; each time twice as long."""


class RemoteSession:
    """See `runtimes.types.Elsewhere`. May be used by as many threads as it has connections."""

    def __init__(
        self, remote: Remote, signature: Signature, options: SessionOptions, clock: Clock | None = None
    ) -> None:
        """Raises InvalidInput for addresses, secrets or certificates that cannot be used."""
        self.concurrency = remote.connections
        self.addresses = Addresses(
            open_links(remote, signature, options.remotes),
            clock or SystemClock(),
            probe_ms=remote.probe_ms,
            eject_failures=remote.eject_failures,
        )
        self._signature = signature
        self._clock = clock or SystemClock()
        self._timeout_ns = remote.timeout_ms * 1_000_000
        self._budget = RetryBudget(remote.retry_share, per_s=remote.retries_per_s, clock=self._clock)
        self._told: Told | None = None
        self._closing = threading.Event()
        self._watch = threading.Thread(target=self.addresses.watch, name=f"probe-{remote.model}", daemon=True)
        self._watch.start()

    def tell(self, told: Told) -> None:
        """Have `told` hear of requests and of changes; it hears at once how each address stands."""
        self._told = self.addresses.told = told
        for address, ready in self.addresses.standing().items():
            told.health(address, ready)

    @property
    def trouble(self) -> KanameError | None:
        """Why it cannot be asked now; None: it can."""
        return self.addresses.trouble

    def run(self, inputs: Tensors) -> Tensors:
        """See `Session.run`."""
        return self.ask(inputs, 0)

    def ask(self, inputs: Tensors, deadline_ns: int) -> Tensors:
        """The same until a moment of the monotonic clock; 0: as long as the description allows.

        Raises what a caller is told: InvalidInput for what the remote refuses, Unavailable, Overloaded,
        DeadlineExceeded, RemoteFailed for the rest.
        """
        until_ns = self._clock.monotonic_ns() + self._timeout_ns
        if deadline_ns:
            until_ns = min(until_ns, deadline_ns)
        self._budget.earn()
        tried: list[Address] = []
        while True:
            address = self.addresses.take(tried)
            try:
                return self._attempt(address, inputs, until_ns)
            except Trouble as trouble:
                tried.append(address)
                repeats = trouble.again and len(tried) < MOST_TRIES
                if not repeats or not self._may_repeat(tried, trouble.error, until_ns):
                    raise trouble.error from trouble

    def _attempt(self, address: Address, inputs: Tensors, until_ns: int) -> Tensors:
        left_ns = until_ns - self._clock.monotonic_ns()
        trouble: Trouble | None = None
        try:
            if left_ns <= 0:
                raise Trouble(DeadlineExceeded("no time was left to ask the remote", where=address.link.address))
            outputs = address.link.infer(inputs, left_ns / 1e9)
            rows = len(inputs[0]) if inputs and inputs[0].ndim else None
            check_outputs(self._signature, outputs, rows, address.link.address)
        except Trouble as found:
            if isinstance(found.error, DeadlineExceeded) and left_ns < self._timeout_ns // 2:
                found.blame = False  # the caller was in a hurry
            trouble = found
            raise
        except KanameError as error:
            trouble = Trouble(error)
            raise trouble from error
        finally:
            self.addresses.give(address, trouble)
            if self._told is not None:
                self._told.asked(address.link.address, "ok" if trouble is None else trouble.error.code)
        return outputs

    def _may_repeat(self, tried: list[Address], error: KanameError, until_ns: int) -> bool:
        """Whether to ask once more; returns when it is time to."""
        fresh = any(one not in tried for one in self.addresses.able())
        pause_s = 0.0 if fresh else _pause_s(len(tried))
        if not fresh and error.retry_after_s is not None:
            return False  # the caller is told when to come back
        left_s = (until_ns - self._clock.monotonic_ns()) / 1e9
        if pause_s >= left_s or not self._budget.spend() or self._closing.wait(pause_s):
            return False
        if self._told is not None:
            self._told.again(tried[-1].link.address)
        return True

    def close(self) -> None:
        """See `Session.close`."""
        self._closing.set()
        self.addresses.close()


def _pause_s(tries: int) -> float:
    return FIRST_PAUSE_S * 2.0 ** (tries - 1) * random.uniform(0.5, 1.0)  # noqa: S311  (jitter)


class RemoteRuntime:
    """Opens the description of a remote model; nothing is asked yet."""

    name = "remote"

    def open(self, path: Path, signature: Signature, options: SessionOptions) -> RemoteSession:
        """See `Runtime.open`."""
        return RemoteSession(parse(path), signature, options)
