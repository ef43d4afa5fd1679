"""The views of models, opened before requests ask for them."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterable

from kaname.clock import Clock
from kaname.errors import InvalidInput, KanameError, Unavailable
from kaname.features.views.reading import StoredView
from kaname.models.types import VersionInfo
from kaname.serving.json_input import json_input
from kaname.serving.snapshot import Snapshot
from kaname.serving.views.assemble import Assembly

AGAIN_NS = 1_000_000_000
"""How long after a view could not be opened the next request has it tried again."""
LOG = logging.getLogger("kaname.views")


class Views:
    """By name: a view with its stores, or why there is none. `open` blocks, on a thread; `of` does not."""

    def __init__(self, view: Callable[[str], StoredView], clock: Clock) -> None:
        """`view` opens a view with its stores; it raises a KanameError."""
        self._view = view
        self._now_ns = clock.monotonic_ns
        self._tried_ns: dict[str, int] = {}
        self._found: dict[str, StoredView | KanameError] = {}
        self._opening = threading.Lock()

    def open(self, names: Iterable[str]) -> None:
        """Open the views that are not yet; what is wrong with one is logged, and told to those who ask for it."""
        with self._opening:
            for name in names:
                if isinstance(self._found.get(name), StoredView):
                    continue
                try:
                    self._found[name] = self._view(name)
                except KanameError as error:
                    if str(self._found.get(name)) != str(error):
                        LOG.error("view %s: %s", name, error)
                    self._found[name] = error

    def opened(self, name: str) -> StoredView | KanameError | None:
        """The view called so, or why it could not be opened; None: nobody has tried."""
        return self._found.get(name)

    def of(self, name: str) -> StoredView:
        """The view called so. Raises Unavailable, and has it tried again: files and stores may be better now."""
        found = self._found.get(name)
        if isinstance(found, StoredView):
            return found
        if found is not None and not self._opening.locked():
            now_ns = self._now_ns()
            if now_ns - self._tried_ns.get(name, 0) > AGAIN_NS:
                self._tried_ns[name] = now_ns
                asyncio.get_running_loop().run_in_executor(None, self.open, [name])
        raise unreadable("the model's view", name, found)


def unreadable(what: str, name: str, error: KanameError | None) -> Unavailable:
    """The error for a view that could not be opened, for this reason, or (None) is not open yet."""
    reason = "it is being opened" if error is None else str(error)
    return Unavailable(f"{what} cannot be read: {reason}", where="view", found=name, retry_after_s=1.0)


class Assemblies:
    """The assemblies of versions whose models have a view; kept over snapshots."""

    def __init__(self, views: Views | None, clock: Clock, max_rows: int, lookup_ms: float) -> None:
        self.views = views
        self._clock = clock
        self._max_rows = max_rows
        self._lookup_ms = lookup_ms
        self._of: dict[tuple[int, str], Assembly] = {}

    async def open(self, snapshot: Snapshot) -> None:
        """Open the views of a snapshot's models before requests ask for them, and let go of versions that are gone."""
        stay = {version.id for entry in snapshot.models for version in entry.versions} if self._of else ()
        self._of = {key: kept for key, kept in self._of.items() if key[0] in stay}
        wanted = {entry.info.config.view for entry in snapshot.models} - {""}
        if wanted and self.views is not None:
            await asyncio.to_thread(self.views.open, wanted)

    def of(self, info: VersionInfo, view: str) -> Assembly | None:
        """The assembly of a version; None: its model has no view. Raises Unavailable where it cannot be read, or does
        not fit."""
        if not view:
            return None
        kept = self._of.get((info.id, view))
        if kept is None:
            stored = None if self.views is None else self.views.of(view)
            if stored is None:
                raise Unavailable("features are not read here", where="view", found=view)
            plain = json_input(info.signature, self._max_rows).fill
            try:
                kept = Assembly(stored, info.signature, self._max_rows, plain, self._clock, self._lookup_ms)
            except InvalidInput as error:
                what = f"view `{view}` does not fit {info.model}@{info.version}: {error.message}"
                raise Unavailable(what, where=error.where, found=error.found, expected=error.expected) from error
            self._of[info.id, view] = kept
        return kept
