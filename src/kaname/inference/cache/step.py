"""The step between admission and inference that answers what was asked before, and asks once what is asked at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from blake3 import blake3

from kaname.call import Answer, Call, Outcome, Step, enter
from kaname.errors import DeadlineExceeded, KanameError
from kaname.inference.cache.canonical import canonical_of
from kaname.inference.cache.memory import Memory
from kaname.inference.cache.meters import CacheMeters
from kaname.models.types import VersionInfo
from kaname.resilience.deadlines import Deadlines
from kaname.settings import Caching
from kaname.tensors import Tensor

HASHED_FROM = 128
"""Longer inputs are known by their BLAKE3 hash."""


class Flight:
    """An input that is being computed: one call leads, equal ones follow."""

    __slots__ = ("followers", "key")

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.followers: dict[Call, None] = {}

    def join(self, call: Call) -> None:
        """Let `call` wait for the leader; one that ends before, at its deadline, is let go of at once."""
        self.followers[call] = None
        call.back(self._left)

    def _left(self, call: Call, outcome: Outcome) -> Outcome:
        self.followers.pop(call, None)
        return outcome

    def next(self) -> Call | None:
        """A follower that still waits, which follows no longer; those whose callers have left are ended."""
        while self.followers:
            call = next(iter(self.followers))
            del self.followers[call]
            if not call.gone:
                return call
            call.fail(KanameError("the caller left before the answer"))
        return None

    def living(self) -> Iterator[Call]:
        """All of them, one after the other."""
        while (call := self.next()) is not None:
            yield call


class ResultCache:
    """The kept answers of one model in one worker; its versions share the room and never each other's answers."""

    def __init__(self, caching: Caching, deadlines: Deadlines, meters: Callable[[VersionInfo], CacheMeters]) -> None:
        self.caching = caching
        self._memory = Memory(caching.max_bytes)
        self._ttl_ns = int(caching.ttl_ms * 1e6)
        self._deadlines = deadlines
        self._meters = meters
        self._flights: dict[bytes, Flight] = {}

    def step(self, info: VersionInfo, then: Step) -> Step:
        """The step in front of `then` for one version."""
        canonical, prefix = canonical_of(info.signature), b"%d " % info.id
        meters = self._meters(info)
        hits = meters.hit.cell
        get, flights = self._memory.get, self._flights

        def cached(call: Call) -> None:
            try:
                raw = canonical(call)
            except Exception:  # noqa: BLE001  (the run that follows says what does not fit)
                then(call)
                return
            key = prefix + (raw if len(raw) < HASHED_FROM else blake3(raw).digest() + b"#")
            found = get(key, call.started_ns)
            if found is not None:
                hits[0] += 1
                call.end(Answer(found, 0, None))
                return
            flight = flights.get(key)
            if flight is not None:
                self._follow(flight, call)
            else:
                lead(Flight(key), call)

        def lead(flight: Flight, call: Call) -> None:
            meters.miss.cell[0] += 1
            flights[flight.key] = flight
            call.back(partial(landed, flight))
            then(call)

        def landed(flight: Flight, call: Call, outcome: Outcome) -> Outcome:
            del flights[flight.key]
            if isinstance(outcome, Answer):
                self._keep(flight, call, outcome, meters)
            elif flight.followers:
                go_on(flight, call.gone or isinstance(outcome, DeadlineExceeded))
            return outcome

        def go_on(flight: Flight, gave_up: bool) -> None:
            """Nobody is harmed by the leader's failure. Where it only gave up waiting, the next one leads, so that a
            slow model is not asked by all of them at once; else each asks by itself."""
            if not gave_up:
                for call in flight.living():
                    meters.miss.cell[0] += 1
                    enter(then, call)
            elif (heir := flight.next()) is not None:
                enter(partial(lead, flight), heir)

        return cached

    def _follow(self, flight: Flight, call: Call) -> None:
        if call.deadline_ns:
            self._deadlines.watch(call)
            call.back(self._unwatch)
        flight.join(call)

    def _unwatch(self, call: Call, outcome: Outcome) -> Outcome:
        self._deadlines.forget(call)
        return outcome

    def _keep(self, flight: Flight, call: Call, answer: Answer, meters: CacheMeters) -> None:
        memory, evicted = self._memory, self._memory.evicted
        outputs = memory.put(flight.key, owned(answer), call.started_ns + self._ttl_ns)
        meters.bytes.set(memory.bytes)
        meters.evicted.add(memory.evicted - evicted)
        for follower in flight.living():
            meters.joined.add()
            follower.end(Answer(outputs, 0, None))


def owned(answer: Answer) -> tuple[Tensor, ...]:
    """The answer's rows, without the rest of the batch that they were computed in."""
    tensors = answer.tensors()
    return tensors if answer.stop is None else tuple(tensor.copy() for tensor in tensors)
