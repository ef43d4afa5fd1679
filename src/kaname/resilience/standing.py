"""When to stop letting requests wait: a queue that absorbs a burst is good, one that stands is only latency.

Two bounds on the wait, after Maurer, "Fail at Scale" (ACM Queue 13(8), 2015), which adapts CoDel (Nichols and Jacobson,
"Controlling Queue Delay", ACM Queue 10(5), 2012) to requests: a long one, and a short one while the queue stands.
CoDel takes an empty queue as the end of it; one that is bounded as tightly as here is empty now and then under any
load, so it ends after an interval in which less work was offered than could be done.
"""

from __future__ import annotations

SECOND_NS = 1_000_000_000
PATIENT_RUNS = 100
"""Runs that a request may wait for while no queue stands, and at least `LEAST_PATIENCE_NS`: as many clients, each of
whom waits for its answer before it asks again, are never refused."""
LEAST_PATIENCE_NS = SECOND_NS // 4
"""At a load of 1.2 a queue has grown so long after 1.25 s; a whole second would take 5 s of ever later answers."""
BRISK_RUNS = 1.25
"""The same while one stands, for the run in progress to end: an answer then takes 2.25 runs at most."""
EASY_RUNS = 3.25
"""The same at less than `HEAVY` load, where a shorter queue would be empty too often to keep the runtime busy."""
HEAVY = 2.0
SLACK = 0.9
"""Load below which the queue is over."""
INTERVAL_RUNS = 100
LEAST_INTERVAL_NS = SECOND_NS // 10


class Standing:
    """Whether the queue of one priority stands, and how long its requests may wait. Times are nanoseconds.

    `run_ns` is what a run takes and `each_ns` a run's share of one request; load is work offered by time passed.
    """

    __slots__ = ("_began_ns", "_load", "_offered", "patience_ns", "stands")

    def __init__(self, patience_ns: float | None = None) -> None:
        """`patience_ns`: the long bound in the place of `PATIENT_RUNS`."""
        self.stands = False
        self.patience_ns = patience_ns
        self._load = HEAVY
        self._began_ns = 0
        self._offered = 0

    def longest_ns(self, run_ns: float) -> float:
        """The longest wait that is accepted now."""
        if self.stands:
            return (BRISK_RUNS if self._load >= HEAVY else EASY_RUNS) * run_ns
        return max(LEAST_PATIENCE_NS, PATIENT_RUNS * run_ns) if self.patience_ns is None else self.patience_ns

    def offered(self, now_ns: int, wait_ns: float, run_ns: float, each_ns: float) -> bool:
        """Whether a request that comes now, and would wait for `wait_ns`, is let in."""
        if self.stands:
            self._look(now_ns, run_ns, each_ns)
        elif wait_ns > self.longest_ns(run_ns):
            self.stands, self._load = True, HEAVY
            self._began_ns, self._offered = now_ns, 0
        self._offered += 1
        return wait_ns <= self.longest_ns(run_ns)

    def _look(self, now_ns: int, run_ns: float, each_ns: float) -> None:
        """At the end of an interval: how much was offered?"""
        passed_ns = now_ns - self._began_ns
        if passed_ns >= max(LEAST_INTERVAL_NS, INTERVAL_RUNS * run_ns):
            self._load = self._offered * each_ns / passed_ns
            self.stands = self._load > SLACK
            self._began_ns, self._offered = now_ns, 0
