"""How often a client may ask again without making an overload worse."""

from __future__ import annotations

import threading

from kaname.clock import Clock, SystemClock


class RetryBudget:
    """Retries as a share of requests: each request earns `share` of a retry, each second `per_s`, and at most `most`
    are saved up. May be used by several threads.

    The way of Finagle's RetryBudget (https://twitter.github.io/finagle/guide/Clients.html#retries).
    """

    def __init__(
        self, share: float = 0.1, most: float = 10.0, *, per_s: float = 0.0, clock: Clock | None = None
    ) -> None:
        self._share = share
        self._most = most
        self._per_ns = per_s / 1e9
        self._clock = clock or SystemClock()
        self._saved = most
        self._counted_ns = self._clock.monotonic_ns()
        self._lock = threading.Lock()

    def earn(self) -> None:
        """A request is made."""
        with self._lock:
            self._saved = min(self._most, self._saved + self._share)

    def spend(self) -> bool:
        """Take one retry, if there is one."""
        with self._lock:
            now_ns = self._clock.monotonic_ns()
            self._saved = min(self._most, self._saved + (now_ns - self._counted_ns) * self._per_ns)
            self._counted_ns = now_ns
            if self._saved < 1.0:
                return False
            self._saved -= 1.0
            return True
