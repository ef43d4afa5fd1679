"""The shared store that the settings name."""

from __future__ import annotations

from kaname.settings import SharedSettings
from kaname.storage.shared.address import parse
from kaname.storage.shared.types import SharedStore

URL = "shared.redis_url"


def open_store(settings: SharedSettings) -> SharedStore | None:
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
