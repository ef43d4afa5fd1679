"""One guard per layout: what keeps a store that fails or hangs away from the requests that would wait for it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TypeAlias

from kaname.clock import Clock
from kaname.errors import CorruptData, KanameError, Unavailable
from kaname.features.layout import Layout
from kaname.features.views.sources import Fetched, Source
from kaname.resilience.breaker import Breaker, BreakerRule

Rows: TypeAlias = Sequence[Fetched | KanameError | None]
"""By key: a row, None where there is none, an error where the store does not answer."""


class Guard:
    """Of one layout. Thread-safe."""

    def __init__(self, layout: Layout, clock: Clock, rule: BreakerRule) -> None:
        self.name = f"{layout.relation.name}.{layout.name}"
        self.breaker = Breaker(clock, rule)
        self._clock = clock
        self._alone = Unavailable(
            "the store of these rows is left alone for a while, because it failed", where=f"schema {self.name}"
        )

    def fetch(self, source: Source, keys: Sequence[bytes], now_us: int, *, stamped: bool) -> Rows:
        """`Source.fetch` that raises nothing."""
        breaker = self.breaker
        calm = breaker.calm
        if not calm and not breaker.allows():
            return [self._alone] * len(keys)
        began_ns = 0 if calm else self._clock.monotonic_ns()
        try:
            found = source.fetch(keys, now_us, stamped=stamped)
        except CorruptData as error:  # the fault of a row, not of its store
            return [error] * len(keys)
        except (KanameError, OSError) as error:
            breaker.failed()
            return [_told(error, self.name)] * len(keys)
        if not calm:
            breaker.succeeded((self._clock.monotonic_ns() - began_ns) / 1e6)
        return found


def _told(error: KanameError | OSError, name: str) -> KanameError:
    return error if isinstance(error, KanameError) else Unavailable(str(error), where=f"schema {name}")


class Guards:
    """The guards of a process, each made when it is first needed. Thread-safe."""

    def __init__(self, clock: Clock, rule: BreakerRule | None = None) -> None:
        self._clock = clock
        self._rule = rule or BreakerRule()
        self._lock = threading.Lock()
        self._of: dict[tuple[str, str], Guard] = {}

    def of(self, layout: Layout) -> Guard:
        """The guard of a layout: the same for all views that read it."""
        with self._lock:
            name = layout.relation.name, layout.name
            if name not in self._of:
                self._of[name] = Guard(layout, self._clock, self._rule)
            return self._of[name]
