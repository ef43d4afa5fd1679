"""Labels: names for a version that stay while versions come and go."""

from __future__ import annotations

from kaname.errors import NotFound, Unavailable
from kaname.serving.snapshot import ModelEntry

PROMOTED = "promoted"
PREVIOUS = "previous"


def labelled(entry: ModelEntry, label: str) -> str:
    """The name of the version that `label` stands for.

    `promoted` is the version that answers, `previous` the one that a rollback returns to; any other label is a tag, of
    several versions with it that of the one added last. Raises NotFound, or Unavailable where nothing is promoted.
    """
    info = entry.info
    if label == PROMOTED:
        if info.promoted is None:
            raise Unavailable("no version of this model has been promoted", where=info.name)
        return info.promoted
    if label == PREVIOUS and info.previous is not None:
        return info.previous
    tagged = [version for version in entry.versions if label in version.tags]
    if label in (PROMOTED, PREVIOUS) or not tagged:
        known = {tag for version in entry.versions for tag in version.tags} - {PROMOTED, PREVIOUS}
        names = [PROMOTED, *([PREVIOUS] if info.previous else []), *sorted(known)]
        raise NotFound("no such label", where=f"{info.name} label", found=label, expected=", ".join(names))
    return max(tagged, key=lambda version: version.id).version
