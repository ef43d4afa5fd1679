"""Which keys are in use, and wrapping everything with the active one: data keys change their envelope, data stay."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Protocol

import msgspec

from kaname.storage.sealing.keys import Envelope, Keyring


class Enveloped(Protocol):
    """A store whose data keys lie wrapped beside what they encrypt."""

    name: str
    """As a person calls it."""

    def envelopes(self) -> Iterator[tuple[str, Envelope | None]]:
        """Each thing that has a data key of its own, and its envelope; None for one that is not encrypted."""

    def rewrap(self, place: str, keyring: Keyring) -> bool:
        """Wrap one data key with the active key; False when it is already, or gone by now."""


class KeyUse(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a store a key opens; `key` None: what is not encrypted."""

    store: str
    key: str | None
    listed: bool
    active: bool
    count: int


class Encryption:
    """The keys of a project over its stores."""

    def __init__(self, keyring: Keyring, stores: Sequence[Enveloped]) -> None:
        self._keyring = keyring
        self._stores = stores

    def uses(self) -> list[KeyUse]:
        """Every listed or used key, for each store."""
        return [use for store in self._stores for use in self._uses_of(store)]

    def _uses_of(self, store: Enveloped) -> Iterator[KeyUse]:
        found = Counter(None if envelope is None else envelope.key for _, envelope in store.envelopes())
        for key in dict.fromkeys([*self._keyring.names, *found]):
            listed, active = key in self._keyring.names, key is not None and key == self._keyring.active
            yield KeyUse(store=store.name, key=key, listed=listed, active=active, count=found[key])

    def rotate(self) -> dict[str, int]:
        """Wrap every data key with the active key; returns how many were changed, by store.

        May be interrupted and repeated, and runs beside a server. Raises InvalidInput where no key is active,
        Unavailable naming a key that is needed and not listed.
        """
        return {store.name: sum(self._rewrapped(store)) for store in self._stores}

    def _rewrapped(self, store: Enveloped) -> Iterator[bool]:
        for place, envelope in store.envelopes():
            if envelope is not None:
                yield store.rewrap(place, self._keyring)
