"""The repositories of a project: taken over when asked, and what is known of them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from kaname.clock import Clock
from kaname.models.names import unknown
from kaname.models.registry import Models
from kaname.repositories import store
from kaname.repositories.detect import read
from kaname.repositories.store import Repository
from kaname.repositories.taking import Taking
from kaname.repositories.types import How, Kind, Report
from kaname.storage.sql.database import Database

RepositoryList = list[Repository]


class Repositories:
    """Takes repositories into one registry."""

    def __init__(self, models: Models, database: Database, clock: Clock) -> None:
        self._models = models
        self._database = database
        self._clock = clock

    def list(self) -> RepositoryList:
        """Every folder that models were taken from, and what was said of each model when it was last looked at."""
        with self._database.read() as conn:
            return store.listed(conn)

    def taking(self, root: Path, kind: str, how: How) -> Taking:
        """Takes the models of the repository at `root` one by one."""
        return Taking(self._models, self._database, self._clock, root, kind, how)

    def take_over(self, root: Path, how: How, *, kind: Kind | None = None, only: Collection[str] = ()) -> Report:
        """Read the repository at `root` and take its models over, or those named in `only`.

        Raises InvalidInput for a folder that is no repository, NotFound for a name that it does not have; what is
        wrong with single models is in the report.
        """
        found = read(root, kind)
        taking = self.taking(root, found.kind, how)
        if not only:
            return taking.all(found)
        names = [model.name for model in found.models]
        for name in only:
            if name not in names:
                raise unknown("model", name, names, where=str(root))
        reports = tuple(taking.take(model) for model in found.models if model.name in only)
        return Report(kind=found.kind, path=str(root.resolve()), models=reports, not_taken=found.remarks)
