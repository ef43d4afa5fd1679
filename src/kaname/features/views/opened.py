"""The views of a project with their stores: each opened when it is first used, and kept as the files say."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

from kaname.clock import Clock
from kaname.errors import KanameError
from kaname.features.schemas import Schemas
from kaname.features.stored import StoredRelation
from kaname.features.views.guarded import Guards
from kaname.features.views.loading import Declared
from kaname.features.views.reading import StoredView

log = structlog.get_logger(__name__)


class OpenViews:
    """By name; what is wrong with one is logged, and keeps no other one from being used. Thread-safe."""

    def __init__(
        self,
        read: Callable[[Schemas], Declared],
        relation_of: Callable[[str], StoredRelation],
        guards: Guards,
        clock: Clock,
    ) -> None:
        """`read` reads the files; `relation_of` opens a relation, for which it may wait."""
        self._read = read
        self._relation_of = relation_of
        self._guards = guards
        self._clock = clock
        self._lock = threading.Lock()
        self._open: dict[str, StoredView] = {}
        self._logged: dict[str, str] = {}

    def in_use(self, schemas: Schemas) -> Declared:
        """What the files say now, in the place of what cannot be used that which is in use here instead."""
        found = self._declared(schemas)
        opened = {name: stored.view for name, stored in list(self._open.items())}
        return Declared(opened | found.views, found.wrong, found.problems)

    def _declared(self, schemas: Schemas) -> Declared:
        found = self._read(schemas)
        wrong = {name: str(error) for name, error in found.wrong.items()}
        for name, said in wrong.items():
            if self._logged.get(name) != said:
                log.error("a view cannot be used as its file is", view=name, error=said)
        self._logged = wrong
        return found

    def view(self, name: str, schemas: Schemas) -> StoredView:
        """The view called so: the same object each time. Raises NotFound, and what is wrong with it, its code, or a
        store."""
        with self._lock:
            if name not in self._open:
                view = self._declared(schemas).view(name)
                self._open[name] = StoredView(view, self._relation_of, self._guards, self._clock)
            found = self._open[name]
        found.prepare()
        return found

    def follow(self, schemas: Schemas) -> None:
        """Read those in use anew; one that is gone, or cannot be used any more, stays as it was."""
        with self._lock:
            if not self._open:
                return
            opened = dict(self._open)
        views = self._declared(schemas).views
        for name, stored in opened.items():
            if name in views:
                try:
                    stored.follow(views[name])
                except KanameError as error:
                    said = "the code of a view cannot be used; the view stays as it was"
                    log.error(said, view=name, error=str(error))
