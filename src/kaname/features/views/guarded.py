"""A source behind its guard, and the caches in front of it where its store is not at hand."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from kaname.clock import Clock
from kaname.features.layout import Layout, StoreName
from kaname.features.views.asking import Asking
from kaname.features.views.caches import Caches, Keeping, picker
from kaname.features.views.guard import FoundRow, Guard, Meters, Origin, Told
from kaname.features.views.sources import Fetched, Source
from kaname.resilience.breaker import BreakerRule
from kaname.telemetry.metrics import Metrics

STORE: Origin = "store"


class Guarded:
    """Reads the rows of a source. Thread-safe, but `ask`, which belongs to the loop."""

    def __init__(
        self, source: Source, guard: Guard, keeping: Keeping | None, asking: Callable[[], Asking | None]
    ) -> None:
        """`keeping`: the caches; None where the store is at hand."""
        self.source = source
        self.guard = guard
        self._keeping = keeping
        self._asking = asking
        self._pick = None if keeping is None else picker(source, keeping.whole)

    @property
    def direct(self) -> bool:
        """Whether its rows are read at once, without a cache."""
        return self._keeping is None

    def fetch(self, keys: Sequence[bytes], now_us: int, *, stamped: bool) -> Sequence[FoundRow]:
        """The rows of these keys. Blocks unless it is `direct`; raises nothing."""
        if self._keeping is None:
            return self.guard.fetch(self.source, keys, now_us, stamped=stamped)
        return [row for row, _ in self.tell(keys, now_us, stamped=stamped)]

    def fetch_one(self, key: bytes, now_us: int, *, stamped: bool) -> FoundRow:
        """The same for one key."""
        if self._keeping is None:
            return self.guard.fetch_one(self.source, key, now_us, stamped=stamped)
        return self.tell((key,), now_us, stamped=stamped)[0].row

    def tell(self, keys: Sequence[bytes], now_us: int, *, stamped: bool) -> list[Told]:
        """The same with where each came from."""
        if self._keeping is None:
            return [Told(row, STORE) for row in self.fetch(keys, now_us, stamped=stamped)]
        found = self._known(keys)
        missing = [key for key, told in zip(keys, found, strict=True) if told is None]
        loaded = iter(self._keeping.load(missing, now_us)) if missing else iter(())
        told = [next(loaded) if each is None else each for each in found]
        self.guard.count(told)
        return self._picked(told)

    def ask(
        self, keys: Sequence[bytes], now_us: int, timeout_s: float, then: Callable[[list[Told]], None]
    ) -> list[Told] | None:
        """The same without blocking: at once, or None and told to `then` later, after `timeout_s` at the latest."""
        keeping, asking = self._keeping, self._asking()
        if keeping is None or asking is None:
            return self.tell(keys, now_us, stamped=True)
        found = self._known(keys)
        missing = [key for key, told in zip(keys, found, strict=True) if told is None]
        if not missing:
            told = [each for each in found if each is not None]
            self.guard.count(told)
            return self._picked(told)

        def answered(answers: list[Told]) -> None:
            loaded = iter(answers)
            told = [next(loaded) if each is None else each for each in found]
            self.guard.count(told)
            then(self._picked(told))

        asking.ask(keeping, missing, timeout_s, answered)
        return None

    def _known(self, keys: Sequence[bytes]) -> list[Told | None]:
        assert self._keeping is not None
        return [self._keeping.look(key) for key in keys]

    def _picked(self, told: Sequence[Told]) -> list[Told]:
        pick = self._pick
        assert pick is not None
        return [Told(pick(row), origin) if type(row) is Fetched else Told(row, origin) for row, origin in told]


class Guards:
    """The guards of a process, each made when it is first needed. Thread-safe."""

    def __init__(
        self,
        clock: Clock,
        rule: BreakerRule | None = None,
        caches: Callable[[], Caches] | None = None,
        is_kept: Callable[[StoreName], bool] = lambda _: False,
    ) -> None:
        """`is_kept`: whether rows of a store are kept in what `caches` returns."""
        self._clock = clock
        self._rule = rule or BreakerRule()
        self._caches = caches
        self._is_kept = is_kept
        self._lock = threading.Lock()
        self._of: dict[tuple[str, str], Guard] = {}
        self._metrics: Metrics | None = None
        self._askings: dict[Guard, Asking] = {}
        self._make_asking: Callable[[Guard], Asking] | None = None

    def serve(self, metrics: Metrics, make_asking: Callable[[Guard], Asking]) -> None:
        """From now on requests are served from a loop, and counted."""
        self._metrics, self._make_asking = metrics, make_asking
        for (relation, schema), guard in self._of.items():
            guard.meters = Meters(metrics, relation, schema)

    def of(self, source: Source) -> Guarded:
        """A source behind the guard of its layout, which is the same for all views that read it."""
        guard = self._guard(source.layout)
        caches = self._caches() if self._caches is not None and self._is_kept(source.layout.store) else None
        keeping = None if caches is None else caches.keeping(source, guard)
        return Guarded(source, guard, keeping, lambda: self._asking(guard))

    def _guard(self, layout: Layout) -> Guard:
        with self._lock:
            name = layout.relation.name, layout.name
            if name not in self._of:
                meters = None if self._metrics is None else Meters(self._metrics, *name)
                self._of[name] = Guard(layout, self._clock, self._rule, meters)
            return self._of[name]

    def _asking(self, guard: Guard) -> Asking | None:
        """What asks for the loop; None where there is none."""
        if self._make_asking is None:
            return None
        with self._lock:
            if guard not in self._askings:
                self._askings[guard] = self._make_asking(guard)
            return self._askings[guard]

    def close(self) -> None:
        """Let the threads end that ask."""
        self._make_asking = None
        for asking in self._askings.values():
            asking.close()
        self._askings.clear()
