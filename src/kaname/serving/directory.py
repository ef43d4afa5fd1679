"""The models of a snapshot by what requests call them."""

from __future__ import annotations

from functools import cached_property
from itertools import islice

from kaname.errors import NotFound, Unavailable
from kaname.models.types import VersionInfo
from kaname.serving.snapshot import ModelEntry, Snapshot

COMPARED = 300
"""Most names that an unknown one is compared with: on a node with 10,000 models that would take a tenth of a second."""


class Directory:
    """Finds models and versions in constant time."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._models = snapshot.models

    @cached_property
    def _by_name(self) -> dict[str, ModelEntry]:
        return {entry.info.name: entry for entry in self._models}

    @cached_property
    def _by_number(self) -> dict[str, ModelEntry]:
        return {str(entry.info.id): entry for entry in self._models}

    def find(self, ref: str) -> ModelEntry | None:
        """A model by name or number."""
        return self._by_name.get(ref) or (self._by_number.get(ref) if ref.isdecimal() else None)

    def entry(self, ref: str) -> ModelEntry:
        """A model by name or number. Raises NotFound, which names similar ones."""
        found = self.find(ref)
        if found is None:
            raise NotFound("no such model", where="model", found=ref, expected=self._similar(ref))
        return found

    def version(self, ref: str, version: str | None) -> VersionInfo:
        """A version by name, or the promoted one. Raises NotFound, or Unavailable when the model is unloaded or
        nothing has been promoted."""
        entry = self.entry(ref)
        if not entry.info.loaded:
            raise Unavailable("the model is unloaded", where=entry.info.name, expected="a load of the model first")
        if version is None:
            promoted = entry.promoted
            if promoted is None:
                raise Unavailable("no version of this model has been promoted", where=entry.info.name)
            return promoted
        found = entry.version(version)
        if found is None:
            names = ", ".join(v.version for v in entry.versions)
            raise NotFound("no such version", where=f"{entry.info.name} version", found=version, expected=names)
        return found

    def _similar(self, ref: str) -> str:
        from difflib import get_close_matches

        names = [entry.info.name for entry in self._models]
        near = names if len(names) <= COMPARED else islice((n for n in names if n[:1] == ref[:1]), COMPARED)
        close = get_close_matches(ref, near, n=3, cutoff=0.5)
        if close:
            return "perhaps " + " or ".join(close)
        return "one of " + ", ".join(names[:10]) if names else "a model: none has been added yet"
