"""How many requests a lane is given at once: those that fit into its next run.

Additive increase and multiplicative decrease (Chiu and Jain, "Analysis of the Increase and Decrease Algorithms for
Congestion Avoidance in Computer Networks", Computer Networks and ISDN Systems 17, 1989). The sign of congestion is a
backlog: requests that were in the lane and did not fit into the run that just ended. The place to wait is in front of
the lane, where requests are taken by importance and fairly, and let go of when they have waited for too long.
"""

from __future__ import annotations

DECREASE = 0.9


def adapted(limit: int, *, backlog: int, full: bool, pressed: bool, least: int = 1) -> int:
    """The limit after a run that left `backlog` requests in the lane; at least `least`.

    It grows while others wait outside (`pressed`) and the run was not `full`.
    """
    if backlog > 0:
        return max(least, min(limit - 1, int(limit * DECREASE)))
    return limit + 1 if pressed and not full else limit
