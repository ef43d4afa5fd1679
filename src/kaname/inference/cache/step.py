"""The step between admission and inference that answers what was asked before, and asks once what is asked at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from blake3 import blake3

from kaname.call import Answer, Call, Outcome, Outputs, Step, enter
from kaname.errors import CallerLeft, DeadlineExceeded
from kaname.inference.cache.canonical import canonical_of
from kaname.inference.cache.fleet import Fleet, Remote
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
            call.fail(CallerLeft("the caller left before the answer"))
        return None

    def living(self) -> Iterator[Call]:
        """All of them, one after the other."""
        while (call := self.next()) is not None:
            yield call


class ResultCache:
    """The kept answers of one model in one worker; its versions share the room and never each other's answers."""

    def __init__(
        self,
        caching: Caching,
        deadlines: Deadlines,
        meters: Callable[[VersionInfo], CacheMeters],
        remote: Remote | None = None,
    ) -> None:
        """`remote`: where all nodes keep their answers, too."""
        self.caching = caching
        self.memory = Memory(caching.max_bytes)
        self.flights: dict[bytes, Flight] = {}
        self._deadlines = deadlines
        self._meters = meters
        self._remote = remote if caching.shared_ttl_ms else None

    def step(self, info: VersionInfo, then: Step) -> Step:
        """The step in front of `then` for one version."""
        canonical, prefix = canonical_of(info.signature), b"%d " % info.id
        fleet = None if self._remote is None else Fleet(self._remote, info, self.caching.shared_ttl_ms)
        meters = self._meters(info)
        follow, lead = self._follow, _Leading(self, then, meters, fleet).lead
        get, flights, hits = self.memory.get, self.flights, meters.hit.cell

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
                follow(flight, call)
            else:
                lead(Flight(key), call)

        return cached

    def _follow(self, flight: Flight, call: Call) -> None:
        if call.deadline_ns:
            self._deadlines.watch(call)
            call.back(self._unwatch)
        flight.join(call)

    def _unwatch(self, call: Call, outcome: Outcome) -> Outcome:
        self._deadlines.forget(call)
        return outcome


class _Leading:
    """How inputs of one version that nobody has asked yet are computed, for their leader and its followers."""

    def __init__(self, cache: ResultCache, then: Step, meters: CacheMeters, fleet: Fleet | None) -> None:
        self._then = then
        self._memory = cache.memory
        self._ttl_ns = int(cache.caching.ttl_ms * 1e6)
        self._flights = cache.flights
        self._meters = meters
        self._fleet = fleet

    def lead(self, flight: Flight, call: Call) -> None:
        """Let `call` be answered by another node's answer, or else by the model."""
        self._flights[flight.key] = flight
        call.back(partial(self._landed, flight))
        if self._fleet is None:
            self._ask(call)
        else:
            self._fleet.find(flight.key, partial(self._found, call))

    def _found(self, call: Call, tensors: tuple[Tensor, ...] | None) -> None:
        if call.done:
            return
        if tensors is None:
            enter(self._ask, call)
        else:
            self._meters.shared.add()
            call.end(Answer(Outputs(tensors, cached=True), 0, None))

    def _ask(self, call: Call) -> None:
        self._meters.miss.cell[0] += 1
        self._then(call)

    def _landed(self, flight: Flight, call: Call, outcome: Outcome) -> Outcome:
        del self._flights[flight.key]
        if isinstance(outcome, Answer):
            self._keep(flight, call, outcome)
        elif flight.followers:
            self._go_on(flight, gave_up=call.gone or isinstance(outcome, DeadlineExceeded))
        return outcome

    def _go_on(self, flight: Flight, *, gave_up: bool) -> None:
        """Nobody is harmed by the leader's failure. Where it only gave up waiting, the next one leads, so that a slow
        model is not asked by all of them at once; else each asks by itself."""
        if not gave_up:
            for call in flight.living():
                enter(self._ask, call)
        elif (heir := flight.next()) is not None:
            enter(partial(self.lead, flight), heir)

    def _keep(self, flight: Flight, call: Call, answer: Answer) -> None:
        memory, evicted, tensors = self._memory, self._memory.evicted, owned(answer)
        outputs = memory.put(flight.key, tensors, call.started_ns + self._ttl_ns)
        self._meters.bytes.set(memory.bytes)
        self._meters.evicted.add(memory.evicted - evicted)
        if self._fleet is not None and not answer.outputs.cached:
            self._fleet.keep(flight.key, tensors)
        for follower in flight.living():
            self._meters.joined.add()
            follower.end(Answer(outputs, 0, None))


def owned(answer: Answer) -> tuple[Tensor, ...]:
    """The answer's rows, without the rest of the batch that they were computed in."""
    tensors = answer.tensors()
    return tensors if answer.stop is None else tuple(tensor.copy() for tensor in tensors)
