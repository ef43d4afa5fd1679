"""How much a worker's sessions may take, and how many rows share a run: what settings and measured facts come to."""

from __future__ import annotations

from kaname.runtimes.memory import machine_bytes
from kaname.runtimes.types import Profile
from kaname.settings import ModelConfig, Settings


def host_budget(settings: Settings) -> int:
    """A worker's share of the machine's memory, in bytes."""
    return (settings.inference.memory_bytes or machine_bytes() // 2) // settings.server.workers


def device_budget(settings: Settings, total: int) -> int:
    """A worker's share of the memory of a device that has `total` bytes."""
    return (settings.inference.device_memory_bytes or total * 4 // 5) // settings.server.workers


def batch_rows(profile: Profile, config: ModelConfig) -> int:
    """Most rows of a batch: what the profile found best, one where batching would change results, the owner's bound."""
    may_batch = profile.splits and (profile.exact or config.batch_tolerance is not None)
    best = profile.best_rows if may_batch else 1
    return best if config.max_batch_rows is None else min(best, config.max_batch_rows)
