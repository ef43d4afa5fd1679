"""The shared store that the settings name."""

from __future__ import annotations

import asyncio

from kaname.clock import Clock
from kaname.settings import SharedSettings
from kaname.storage.shared.address import parse
from kaname.storage.shared.exchange import Exchange
from kaname.storage.shared.types import Shared
from kaname.telemetry.metrics import Metrics

URL = "shared.redis_url"


def open_store(settings: SharedSettings) -> Shared | None:
    """The store, not yet connected; None where nothing is shared. Raises InvalidInput or MissingDependency."""
    if settings.redis_url is None:
        return None
    address = parse(settings.redis_url.reveal(), URL)
    from kaname.storage.shared.redis import RedisStore

    return RedisStore(
        address,
        prefix=settings.prefix,
        timeout_ms=settings.timeout_ms,
        username=settings.username,
        password=settings.password,
        ca_file=settings.ca_file,
    )


def open_exchange(
    settings: SharedSettings, clock: Clock, loop: asyncio.AbstractEventLoop, metrics: Metrics
) -> Exchange | None:
    """The store as a worker's loop sees it; None where nothing is shared. Raises what `open_store` does."""
    store = open_store(settings)
    return None if store is None else Exchange(store, clock, loop, lookup_ms=settings.lookup_ms, metrics=metrics)
