"""One guard per layout: what keeps a store that fails or hangs away from the requests that would wait for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias, TypeVar

from kaname.clock import Clock
from kaname.errors import CorruptData, KanameError, Unavailable
from kaname.features.layout import Layout
from kaname.features.views.sources import Fetched, Source
from kaname.resilience.breaker import Breaker, BreakerRule, State
from kaname.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from kaname.telemetry.metrics import Counter

T = TypeVar("T")
FoundRow: TypeAlias = Fetched | KanameError | None
"""A row, None where there is none, an error where the store does not answer."""
Origin: TypeAlias = Literal["request", "cache", "shared", "store", "stale", "default", "derived"]
"""Where a value came from: the caches of the process and of the nodes, the store, a cache because the store fails."""
ROWS = ("cache", "shared", "store", "stale", "failed")


class Told(NamedTuple):
    """What became of the question for one row."""

    row: FoundRow
    origin: Origin


class Meters:
    """What has become of the rows that were asked for of one layout."""

    def __init__(self, metrics: Metrics, relation: str, schema: str) -> None:
        text = "Rows that views asked for, by where they came from."
        self.rows: dict[str, Counter] = {
            origin: metrics.counter("kaname_feature_rows_total", text, relation=relation, schema=schema, origin=origin)
            for origin in ROWS
        }
        self.store = self.rows["store"].cell
        text = "Whether a store is left alone for a while, by schema."
        self.open = metrics.gauge("kaname_feature_store_open", text, relation=relation, schema=schema)
        text = "Time of a question to a store over the network, by schema."
        self.seconds = metrics.histogram("kaname_feature_store_seconds", text, relation=relation, schema=schema)


class Guard:
    """Of one layout. Thread-safe."""

    def __init__(self, layout: Layout, clock: Clock, rule: BreakerRule, meters: Meters | None) -> None:
        self.name = f"{layout.relation.name}.{layout.name}"
        self.meters = meters
        self.breaker = Breaker(clock, rule, self._changed)
        self._clock = clock
        self.alone = Unavailable(
            "the store of these rows is left alone for a while, because it failed", where=f"schema {self.name}"
        )
        self.late = Unavailable("the store of these rows did not answer in time", where=f"schema {self.name}")

    def fetch(self, source: Source, keys: Sequence[bytes], now_us: int, *, stamped: bool) -> Sequence[FoundRow]:
        """`Source.fetch` of a store that answers at once; raises nothing."""
        breaker = self.breaker
        if self.meters is not None:
            self.meters.store[0] += len(keys)
        if not breaker.calm:
            found = self.exchange(lambda: source.fetch(keys, now_us, stamped=stamped))
            return [found] * len(keys) if isinstance(found, KanameError) else found
        try:
            return source.fetch(keys, now_us, stamped=stamped)
        except (KanameError, OSError) as error:
            return [self._fault(error)] * len(keys)

    def fetch_one(self, source: Source, key: bytes, now_us: int, *, stamped: bool) -> FoundRow:
        """The same for one key."""
        if not self.breaker.calm:
            return self.fetch(source, (key,), now_us, stamped=stamped)[0]
        if self.meters is not None:
            self.meters.store[0] += 1
        try:
            return source.fetch_one(key, now_us, stamped=stamped)
        except (KanameError, OSError) as error:
            return self._fault(error)

    def _fault(self, error: Exception) -> KanameError:
        """What went wrong with a store that answers at once."""
        if isinstance(error, CorruptData):  # the fault of a row, not of its store
            return error
        self.breaker.failed()
        return self._told(error)

    def exchange(self, ask: Callable[[], T]) -> T | KanameError:
        """What a store answers, or why it does not; raises nothing."""
        breaker, now_ns = self.breaker, self._clock.monotonic_ns
        if not breaker.allows():
            return self.alone
        began_ns = now_ns()
        try:
            found = ask()
        except CorruptData as error:
            breaker.succeeded()
            return error
        except Exception as error:  # noqa: BLE001  (whatever a store's client raises)
            breaker.failed()
            return self._told(error)
        took_ns = now_ns() - began_ns
        breaker.succeeded(took_ns / 1e6)
        if self.meters is not None:
            self.meters.seconds.observe(took_ns / 1e9)
        return found

    def count(self, told: Sequence[Told]) -> None:
        """Note what became of questions."""
        if self.meters is not None:
            for row, origin in told:
                self.meters.rows["failed" if isinstance(row, KanameError) else origin].add()

    def _told(self, error: Exception) -> KanameError:
        if isinstance(error, KanameError):
            return error
        return Unavailable(f"the store fails: {error}", where=f"schema {self.name}")

    def _changed(self, state: State) -> None:
        if self.meters is not None:
            self.meters.open.set(float(state != "closed"))
