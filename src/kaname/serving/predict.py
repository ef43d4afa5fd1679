"""The request path, top to bottom.

    admit → (cache) → (wait) → infer → (answer) → observe → door

`observe` counts and records every outcome, `admit` says how much may be asked, `cache` (where a model keeps answers:
`inference.cache`) answers what was asked before, `wait` (the turnstile) says who goes first and who has waited for too
long, `infer` hands the call to the version's lane. A model's path is composed once per snapshot, only of what it needs.
Later capabilities add steps between `admit` and `infer` (route, assemble) and handlers on the way back (decide).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kaname.call import Call, Handler, Handlers, Observer, Outcome, Outputs, Principal, Step, Together
from kaname.errors import KanameError, Overloaded, RateLimited
from kaname.inference.residency import Residency
from kaname.inference.resident import Resident
from kaname.inference.turnstile import Turnstile
from kaname.settings import Limits

Full = Callable[[Principal], KanameError | None]
"""Why a request that comes now is refused; None when it may come in."""
Take = Callable[[int], float]
"""A token bucket: takes rows, returns the seconds to wait (0.0: granted); negative rows are given back."""


def observe(meter: Observer, record: Observer | None, last: Handler | None = None) -> Handlers:
    """Meter every outcome after handing it to the record, which may keep it until it is on disk; `last` comes behind.

    Not a step but the handlers that a call is born with: a body that cannot be read is counted and recorded, too.
    """
    metered: Handlers = (meter.each, None, meter.together)
    if last is not None:
        metered = (meter.each, (last, None, None), None)
    if record is None:
        return metered
    return record.each, metered, None if last is not None else _both(record.together, meter.together)


def _both(first: Together | None, second: Together | None) -> Together | None:
    if first is None or second is None:
        return None

    def together(calls: Sequence[Call], outputs: Outputs) -> None:
        first(calls, outputs)
        second(calls, outputs)

    return together


class Admission:
    """Refuses at once, before anything is computed: rate of the key, rate and concurrency of the model.

    One per model, shared by its versions and protocols.
    """

    def __init__(
        self, model: str, limits: Limits, bucket: Take | None, held: Callable[[Step], Step] | None = None
    ) -> None:
        """`held` puts a step in front that lets calls wait for rows which a fleet shares."""
        self._held = held
        self.limits = limits
        self._model = model
        self._bucket = bucket
        self._going = 0

    def step(self, then: Step) -> Step:
        """The step in front of `then`."""
        granted = self._granted
        most = self.limits.concurrency
        unlimited = self._bucket is None

        def free(call: Call) -> None:
            limiter = call.principal.limiter
            if unlimited:  # the usual case, without another function call
                wait_s = 0.0 if limiter is None else limiter(call.rows)
                if wait_s:
                    call.fail(_spent("key", wait_s))
                else:
                    then(call)
            elif granted(call):
                then(call)

        def bounded(call: Call) -> None:
            if most is not None and self._going >= most:
                call.fail(self._full())
            elif granted(call):
                self._going += 1
                call.back(self._leave)
                then(call)

        step = free if most is None else bounded
        return step if self._held is None else self._held(step)

    def _granted(self, call: Call) -> bool:
        """Take the rows of every limit or of none; ends the call when one of them is spent."""
        limiter, rows = call.principal.limiter, call.rows
        wait_s = 0.0 if limiter is None else limiter(rows)
        if wait_s:
            call.fail(_spent("key", wait_s))
            return False
        if self._bucket is None:
            return True
        try:
            wait_s = self._bucket(rows)
        except KanameError:
            _give_back(limiter, rows)
            raise
        if wait_s:
            _give_back(limiter, rows)
            call.fail(_spent("model", wait_s))
        return not wait_s

    def _full(self) -> Overloaded:
        found = f"{self._going} requests in progress"
        return Overloaded("the concurrency limit is reached", where=self._model, found=found, retry_after_s=0.1)

    def _leave(self, _: Call, outcome: Outcome) -> Outcome:
        self._going -= 1
        return outcome


def _give_back(limiter: Take | None, rows: int) -> None:
    if limiter is not None:
        limiter(-rows)


def _spent(whose: str, wait_s: float) -> RateLimited:
    return RateLimited(f"the rate limit of this {whose} is spent", where=whose, retry_after_s=wait_s)


def shedding(turnstile: Turnstile, refused: Callable[[KanameError], None]) -> Full:
    """Refuses before anything is read or recorded what would be refused anyway; it is only counted."""

    def full(who: Principal) -> KanameError | None:
        error = turnstile.refusal(who)
        if error is not None:
            refused(error)
        return error

    return full


def infer(residency: Residency, resident: Resident) -> Step:
    """Hand the call to the version's lane; a version that is not in memory is loaded first."""

    def step(call: Call) -> None:
        lane = resident.lane
        if lane is not None:
            lane.submit(call)
        else:
            residency.submit(resident, call)

    return step
