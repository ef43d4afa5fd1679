"""What disk, network or another process does to a use of a database, as an error that says so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from kaname.storage.sql.types import Backend


@contextmanager
def explained(backend: Backend) -> Iterator[None]:
    """Raise what the backend makes of an exception; one that it does not know goes through as it is."""
    try:
        yield
    except Exception as error:
        known = backend.explain(error)
        if known is None:
            raise
        raise known from error
