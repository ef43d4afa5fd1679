"""A shared store inside one process: what the fleet's store does, for programs and tests that have none."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from kaname.clock import Clock
from kaname.storage.shared.types import Draw, Drawn, Value


class MemoryStore:
    """Implements `SharedStore` for the threads of one process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._values: dict[str, tuple[bytes, int]] = {}
        self._missing: dict[str, tuple[float, int]] = {}

    def get(self, keys: Sequence[str]) -> list[bytes | None]:
        now = self._now_ms()
        with self._lock:
            found = [self._values.get(key, (b"", 0)) for key in keys]
        return [data if ends > now else None for data, ends in found]

    def put(self, values: Sequence[Value]) -> None:
        now = self._now_ms()
        with self._lock:
            self._values = {key: held for key, held in self._values.items() if held[1] > now}
            for value in values:
                if not (value.absent and value.key in self._values):
                    self._values[value.key] = (value.data, now + value.ttl_ms)

    def draw(self, draws: Sequence[Draw]) -> list[Drawn | None]:
        with self._lock:
            return [self._draw(draw) for draw in draws]

    def _draw(self, draw: Draw) -> Drawn:
        now = self._now_ms()
        missing, since = self._missing.get(draw.key, (0.0, now))
        if draw.rate:
            missing = max(0.0, missing - (now - since) * draw.rate / 1000)
        elif now - since >= draw.ttl_ms:
            missing = 0.0
        room = int(draw.most - missing + 1e-6)
        granted = draw.want if draw.want < 0 else min(draw.want, room) if room >= draw.need else 0
        missing = max(0.0, missing + granted)
        self._missing[draw.key] = missing, now
        return Drawn(granted, missing)

    def _now_ms(self) -> int:
        return self._clock.monotonic_ns() // 1_000_000

    def close(self) -> None:
        return
