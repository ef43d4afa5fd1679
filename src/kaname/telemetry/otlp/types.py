"""Who exports."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import NamedTuple, Protocol

from kaname.clock import Clock
from kaname.telemetry.metrics import Metrics


class Claim(Protocol):
    """Who exports for all workers (`storage.sole.Sole`)."""

    def held(self) -> bool:
        """Whether it is this process, which it becomes where no other is. Never blocks."""

    def release(self) -> None:
        """Let another process be the one."""


class Origin(NamedTuple):
    """A worker of the node with this id: its metrics, which workers are alive, and who exports the sums of all."""

    node: str
    metrics: Metrics
    live_slots: Callable[[], Container[int]]
    claim: Claim
    clock: Clock
