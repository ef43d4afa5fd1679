"""The relations of a project with their stores, each opened when it is first used."""

from __future__ import annotations

import difflib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from kaname.clock import Clock
from kaname.errors import InvalidInput, NotFound
from kaname.features.layout import StoreName
from kaname.features.placement import Placement
from kaname.features.stored import StoredRelation
from kaname.storage.cells.types import CellStore

if TYPE_CHECKING:
    from kaname.features.schemas import Schemas  # brings the parser of the language, which is not always needed
    from kaname.features.training.types import How, Summary
    from kaname.features.views.reading import StoredView
    from kaname.features.views.types import View


class Features:
    """What `features/*.schema` declare, with rows. Thread-safe."""

    def __init__(
        self,
        schemas: Callable[[], Schemas],
        open_store: Callable[[StoreName], CellStore],
        clock: Clock,
        views: Callable[[Schemas], dict[str, View]] = lambda _: {},
    ) -> None:
        """`schemas` and `views` read the files and `open_store` opens a store; all raise a KanameError, and are called
        late."""
        self._read = schemas
        self._read_views = views
        self._open_store = open_store
        self._clock = clock
        self._lock = threading.Lock()
        self._schemas: Schemas | None = None
        self._stores: dict[StoreName, CellStore] = {}
        self._relations: dict[str, StoredRelation] = {}
        self._views: dict[str, StoredView] = {}
        self._generation = 0

    def relation(self, name: str) -> StoredRelation:
        """The relation called so: the same object each time, which follows changes of the files.

        Raises NotFound, and what is wrong with the files or the store.
        """
        with self._lock:
            if name not in self._relations:
                self._relations[name] = self._opened(name)
            return self._relations[name]

    def views(self) -> dict[str, View]:
        """What `features/*.view.yaml` declare, by name. Raises what is wrong with the files."""
        with self._lock:
            return self._read_views(self._known())

    def view(self, name: str) -> StoredView:
        """The view called so, with its stores: the same object each time. Raises NotFound, and what is wrong with the
        files or a store."""
        from kaname.features.views.loading import known
        from kaname.features.views.reading import StoredView

        with self._lock:
            if name not in self._views:
                view = known(self._read_views(self._known()), name)
                self._views[name] = StoredView(view, self.relation, self._clock)
            found = self._views[name]
        found.prepare()
        return found

    def training_set(self, view: str, labels: Path, output: Path, **how: Unpack[How]) -> Summary:
        """What the view called so would have said at the moment of each label: see `training.building.build`."""
        from kaname.features.training.building import build
        from kaname.features.views.loading import known

        return build(known(self.views(), view), self.relation, labels, output, self._clock, **how)

    def close(self) -> None:
        """Let go of the stores."""
        with self._lock:
            for store in self._stores.values():
                store.close()
            self._stores.clear()
            self._relations.clear()
            self._views.clear()

    def _opened(self, name: str) -> StoredRelation:
        schemas = self._known()
        names = sorted(schemas.relations)
        if name not in names:
            near = difflib.get_close_matches(name, names, n=2) or names[:5]
            expected = " or ".join(near) or "nothing: features/*.schema declare none"
            raise NotFound("no such relation", where="relation", found=name, expected=expected)
        layouts = schemas.layouts[name]
        if not layouts:
            expected = f"`define schema … for {name}` in features/*.schema"
            raise InvalidInput("a relation without a schema has no place for rows", where=name, expected=expected)
        for layout in layouts:
            if layout.store not in self._stores:
                self._stores[layout.store] = self._open_store(layout.store)
        self._generation += 1
        stores = {layout.store: self._stores[layout.store] for layout in layouts}
        placement = Placement(schemas.relations[name], layouts, stores, generation=self._generation)
        placement.define()
        return StoredRelation(placement, self._clock)

    def _known(self) -> Schemas:
        if self._schemas is None:
            self._schemas = self._read()
        return self._schemas
