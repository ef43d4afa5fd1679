"""A turnstile in front of a version's lane: here requests wait, and are refused when more come than can be answered.

The lane is given what fits into its next run; the rest waits by priority and in turn for each caller. Who would wait
for too long is refused at once, before its body is read; who has waited for too long is let go of before anything is
computed.

The runs of a remote wait for another machine, several side by side, and may not end for long. A time in which none ends
counts as waiting; a remote that becomes slow is given no more patience for it than it had when it was imported.
"""

from __future__ import annotations

from kaname.call import PRIORITIES, Call, Outcome, Principal, Step, enter
from kaname.clock import Clock
from kaname.errors import CallerLeft, Overloaded
from kaname.inference.lane import Lane
from kaname.inference.resident import Resident
from kaname.resilience.concurrency import adapted
from kaname.resilience.deadlines import Deadlines
from kaname.resilience.fair import FairQueue
from kaname.resilience.standing import LEAST_PATIENCE_NS, PATIENT_RUNS, Standing
from kaname.settings import Limits

SHARE = 1 / 8
"""Weight of the newest run in the averages."""
LOOKS = 4
"""How often within its patience it is looked whether a remote still answers."""
LEAST_LOOK_S = 0.02


class Turnstile:
    """One per version that has adaptive admission, for as long as the worker lives. All methods belong to the loop's
    thread.

    `run_ns` is what the profile says of a run of `best_rows`. `far`: another machine does it.
    """

    def __init__(
        self,
        resident: Resident,
        clock: Clock,
        deadlines: Deadlines,
        *,
        best_rows: int,
        run_ns: float,
        far: bool = False,
    ) -> None:
        self._resident = resident
        self._clock = clock
        self._deadlines = deadlines
        self._most = 0
        self.limit = self._best_rows = best_rows
        self._run_ns = self._imported_ns = run_ns
        self._each_ns = run_ns / best_rows
        """Of a run, the share of one request."""
        self._far = far
        self._width = 1
        self._patience_ms: float | None = None
        self._watching = False
        self._queue: FairQueue[Call] = FairQueue(len(PRIORITIES))
        self._standing = [Standing() for _ in PRIORITIES]
        self._turning = False
        self._fresh_ns = self._ended_ns = 0
        """When the run before the last one ended, and the last one."""
        self._crowded_ns = 0
        """Since when the lane is full, unless a run has ended since."""
        self._then: Step = lambda _: None

    @property
    def waiting(self) -> int:
        """Requests that wait here."""
        return self._queue.size

    def bound(self, queue: int, patience_ms: float | None) -> None:
        """How many may wait, and for how long while the queue does not stand (None: `resilience.standing` decides)."""
        self._most, self._patience_ms = queue, patience_ms
        patience_ns = self._patience_ns
        for one in self._standing:
            one.patience_ns = patience_ns

    @property
    def _patience_ns(self) -> float | None:
        if self._patience_ms is not None:
            return self._patience_ms * 1e6
        return max(LEAST_PATIENCE_NS, PATIENT_RUNS * self._imported_ns / self._width) if self._far else None

    def attach(self, lane: Lane) -> None:
        """Be the feeder of the version's lane; nothing changes for one that it feeds already."""
        if lane.feeder is self:
            return
        lane.feeder = self
        self._ended_ns = self._clock.monotonic_ns()  # nothing of this lane is late
        self._width = lane.width
        self.limit = max(self.limit, self._best_rows * lane.width)
        self.bound(self._most, self._patience_ms)

    def step(self, then: Step, resident: Resident, *, asked: bool) -> Step:
        """The step in front of `then`, which hands calls to the lane of `resident`. `asked`: whoever enters it has
        asked for `refusal` just now."""
        self._then, self._resident = then, resident
        if resident.lane is not None:
            self.attach(resident.lane)
        refusal = None if asked else self.refusal

        def pass_or_wait(call: Call) -> None:
            refused = None if refusal is None else refusal(call.principal)
            if refused is not None:
                call.fail(refused)
            elif self._is_free():
                then(call)
            else:
                self._wait(call)

        return pass_or_wait

    def _is_free(self) -> bool:
        lane = self._resident.lane
        return lane is None or (not self._queue.size and lane.inside < self.limit)

    def refusal(self, who: Principal) -> Overloaded | None:
        """Why a request of `who` that comes now is refused; None when it may pass or wait. A caller of whom nothing
        waits at its priority may always wait, so that nobody is kept out by the others."""
        if self._is_free():
            return None
        queue, level, now = self._queue, who.priority, self._clock.monotonic_ns()
        still_ns = self._still_ns(now)
        ahead, each_ns = queue.ahead(level), self._each_ns / self._width
        wait_ns = still_ns + (ahead + 1) * each_ns
        short = self._standing[level].offered(now, wait_ns, self._run_ns, each_ns)
        if not short and queue.waits(level, who.key_id):
            return self._overloaded(f"{ahead} requests waiting")
        if queue.size >= self._most and not self._make_room(level):
            return self._overloaded(f"{queue.size} requests waiting")
        return None

    def _still_ns(self, now: int) -> float:
        """For how long no run of a remote has ended that should have."""
        if not self._far or not self._queue.size:
            return 0.0
        return max(0.0, now - max(self._ended_ns, self._crowded_ns) - self._run_ns)

    def _watch(self) -> None:
        """While somebody waits, look now and then whether runs end."""
        lane = self._resident.lane
        if lane is not None and not self._watching:
            self._watching = True
            lane.after(max(LEAST_LOOK_S, (self._patience_ns or 0.0) / LOOKS / 1e9), self._look)

    def _look(self) -> None:
        self._watching = False
        now = self._clock.monotonic_ns()
        if self._still_ns(now):
            self._let_go(now)
        if self._queue.size:
            self._watch()

    def _let_go(self, now: int) -> None:
        """No run ends, so whose patience is over is let go of here."""
        patience_ns = self._patience_ns or 0.0
        for level in range(len(PRIORITIES)):
            while (oldest := self._queue.oldest(level)) is not None and now - oldest[1] > patience_ns:
                self._queue.remove(level, oldest[0])
                oldest[0].fail(self._overloaded("a wait that is too long"))

    def _make_room(self, level: int) -> bool:
        evicted = self._queue.evict(level)
        if evicted is not None:
            evicted.fail(self._overloaded("a more important request"))
        return evicted is not None

    def _overloaded(self, found: str) -> Overloaded:
        where = self._resident.info.model
        return Overloaded("more is asked than can be answered in time", where=where, found=found, retry_after_s=1.0)

    def _wait(self, call: Call) -> None:
        who, now = call.principal, self._clock.monotonic_ns()
        if not self._queue.size and self._ended_ns > self._crowded_ns:
            self._crowded_ns = now
        self._queue.push(who.priority, who.key_id, call, now)
        if self._far:
            self._watch()
        self._deadlines.watch(call)
        call.back(self._ended)

    def _ended(self, call: Call, outcome: Outcome) -> Outcome:
        self._queue.remove(call.principal.priority, call)
        self._deadlines.forget(call)
        return outcome

    # --- told by the lane -------------------------------------------------------------------------------

    def ran(self, calls: int, full: bool, run_ns: int, backlog: int) -> None:
        """A run of `calls` has ended that took `run_ns`, was or was not full, and left `backlog` calls in the lane."""
        self._run_ns += SHARE * (run_ns - self._run_ns)
        self._each_ns += SHARE * (run_ns / calls - self._each_ns)
        self._fresh_ns, self._ended_ns = self._ended_ns, self._clock.monotonic_ns()
        pressed = self._queue.size > 0
        self.limit = adapted(self.limit, backlog=backlog, full=full, pressed=pressed, least=self._width)
        self.refill()

    def refill(self) -> None:
        """Give the lane what fits into its next run."""
        if self._turning or not self._queue.size:
            return
        self._turning = True  # a call that ends at once comes back here
        try:
            while self._queue.size and self._has_room():
                self._next()
        finally:
            self._turning = False

    def _is_stale(self, who: Principal, waited_ns: int) -> bool:
        return waited_ns > self._standing[who.priority].longest_ns(self._run_ns)

    def _has_room(self) -> bool:
        lane = self._resident.lane
        return lane is None or lane.inside < self.limit

    def _next(self) -> None:
        """Let the next one in, or go; who came during the last run had no turn before, however long that run was."""
        popped = self._queue.pop()
        assert popped is not None
        call, since_ns, in_turn = popped
        who, now = call.principal, self._clock.monotonic_ns()
        if since_ns < self._fresh_ns and not in_turn and self._is_stale(who, now - since_ns):
            self._queue.unserved(who.priority, who.key_id)
            call.fail(self._overloaded("a wait that is too long"))
        elif call.gone:
            call.fail(CallerLeft("the caller left before the answer"))
        elif call.deadline_ns and call.deadline_ns <= now:
            self._deadlines.expire(call)
        else:
            enter(self._then, call)


class Turnstiles:
    """Those of a worker; kept over snapshots, with who waits there."""

    def __init__(self, clock: Clock, deadlines: Deadlines) -> None:
        self._clock = clock
        self._deadlines = deadlines
        self._kept: dict[int, Turnstile] = {}

    def attach(self, version: int, lane: Lane) -> None:
        """Have a new lane fed where requests of its version wait."""
        turnstile = self._kept.get(version)
        if turnstile is not None:
            turnstile.attach(lane)

    def of(
        self, resident: Resident, limits: Limits, best_rows: int, *, slow: bool, far: bool = False
    ) -> Turnstile | None:
        """Where requests of a version wait that runs `best_rows` at once, here or at a `far` machine; None without
        adaptive admission, which by default only `slow` ones have."""
        if limits.adaptive == "off" or (limits.adaptive == "auto" and not slow):
            return None
        info = resident.info
        kept = self._kept.get(info.id)
        if kept is None:
            run_ns = info.profile.us_at(best_rows) * 1000
            kept = Turnstile(resident, self._clock, self._deadlines, best_rows=best_rows, run_ns=run_ns, far=far)
            self._kept[info.id] = kept
        kept.bound(limits.queue, limits.patience_ms)
        return kept
