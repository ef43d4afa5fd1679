"""Which versions a new snapshot wants in memory before it comes into force; the others load when they are asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from kaname.models.types import VersionInfo
from kaname.serving.snapshot import Snapshot

Answers = dict[int, VersionInfo]
"""The version that answers, by the model's number."""


class Preload(NamedTuple):
    """What to load: `first` whoever has to make room, then of `fresh` as many as there is room for, up to the most."""

    first: list[VersionInfo]
    fresh: list[VersionInfo]
    pinned: set[int]
    answers: Answers


def preload(snapshot: Snapshot, before: Mapping[int, VersionInfo], in_memory: Callable[[VersionInfo], bool]) -> Preload:
    """`before` is what answered when something was last loaded. First come pinned versions and those that take over
    from one in memory; then what is new. What answered before and has left memory stays away."""
    pinned: list[VersionInfo] = []
    successors: list[VersionInfo] = []
    fresh: list[VersionInfo] = []
    answers: Answers = {}
    for entry in snapshot.models:
        info = entry.promoted if entry.info.loaded else None
        if info is None:
            continue
        answers[entry.info.id] = info
        old = before.get(entry.info.id)
        if entry.info.config.pinned:
            pinned.append(info)
        elif old is None or old.id != info.id:
            (fresh if old is None or not in_memory(old) else successors).append(info)
    return Preload(pinned + successors, fresh, {info.id for info in pinned}, answers)
