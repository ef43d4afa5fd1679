"""One kind of memory that sessions take: the machine's, or a device's."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from kaname.errors import Unavailable
from kaname.inference.resident import Resident


class Taken(NamedTuple):
    """Bytes of a session, in the order of the shelves of a room."""

    host: int
    device: int = 0


class Shelf:
    """`budget` bytes; None: not known yet, so nobody has to leave. `used` counts what is loaded, and what has left but
    still answers its last calls, which `leaving` is a part of."""

    def __init__(self, budget: int | None, place: str, setting: str, of: Callable[[Resident], int]) -> None:
        """`of`: what a version takes here."""
        self.budget = budget
        self.used = 0
        self.leaving = 0
        self.of = of
        self._place = place
        self._setting = setting

    def short(self, size: int) -> int:
        """By how much `size` bytes more exceed the budget; not positive: there is room."""
        return 0 if self.budget is None else self.used + size - self.budget

    def check(self, name: str, size: int, pinned: int) -> None:
        """Raise Unavailable for a version of `size` bytes that has no room beside the `pinned` bytes."""
        if self.budget is None or size <= self.budget - pinned:
            return
        kept = f", of which pinned versions take {in_units(pinned)}" if pinned else ""
        raise Unavailable(
            f"the version takes more memory{self._place} than models may have",
            where=name,
            found=in_units(size),
            expected=f"at most {in_units(self.budget)} in this worker{kept} ({self._setting})",
        )


def in_units(size: int) -> str:
    """Bytes for people."""
    if size < 1024 * 1024:
        return f"{size / 1024:.0f} KiB"
    mebi = size / 1024**2
    return f"{mebi:.1f} MiB" if mebi < 1024 else f"{mebi / 1024:.2f} GiB"
