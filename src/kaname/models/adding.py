"""A new version enters the registry: what was asked is checked, then written in one transaction."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Row

from kaname.errors import Conflict, InvalidInput
from kaname.models import store
from kaname.models.edit import Edit
from kaname.models.importing.types import Imported
from kaname.models.names import check_model, check_tag, check_version
from kaname.models.types import VersionInfo

_COUNTED_DIGITS = 9


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for a new version."""

    name: str
    version: str | None
    metrics: dict[str, float]
    tags: tuple[str, ...]
    promote: bool | None

    @classmethod
    def checked(
        cls, name: str, version: str | None, metrics: Mapping[str, float], tags: Sequence[str], promote: bool | None
    ) -> Wanted:
        """The request, unless a name or a number in it cannot be: InvalidInput."""
        return cls(
            name=check_model(name),
            version=version if version is None else check_version(version),
            metrics=_finite(metrics),
            tags=check_tags(tags),
            promote=promote,
        )


def register(
    conn: Connection, wanted: Wanted, imported: Imported, artefact: str, *, at_us: int, who: str
) -> tuple[VersionInfo, tuple[str, ...]]:
    """Write the version (and its model, if new) and promote it as asked; returns it and the notes for a person.

    Raises Conflict when the version exists with another artefact.
    """
    edit = _edit_or_create(conn, wanted.name, at_us, who)
    name = wanted.version or _next_version(conn, edit.model)
    row = store.find_version(conn, edit.model.id, name)
    notes = imported.notes
    if row is None:
        row = _insert(edit, name, wanted, imported, artefact)
    elif (row.version, row.artefact) != (name, artefact):
        raise _taken(edit.model.name, row, name, artefact)
    else:
        notes += (f"version {name} is there already with the same content; its metrics and tags stay",)
    if wanted.promote or (wanted.promote is None and edit.answering() is None and row.status != "archived"):
        edit.promote(row)
    edit.finish()
    return store.version_info(edit.version(name), edit.model.name), notes


def _edit_or_create(conn: Connection, name: str, at_us: int, who: str) -> Edit:
    found = store.find_model(conn, name)
    if found is not None and found.name != name:
        raise Conflict("a model's name differs only in case", where="model", found=found.name, expected=name)
    if found is not None:
        return Edit(conn, found, at_us, who)
    number = store.insert_model(conn, name, at_us)
    edit = Edit(conn, store.model_row(conn, number), at_us, who)
    edit.log("model.create", id=number)
    return edit


def _finite(metrics: Mapping[str, float]) -> dict[str, float]:
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise InvalidInput("a metric is a finite number", where=f"metrics.{name}", found=str(value))
    return {name: float(value) for name, value in metrics.items()}


def check_tags(tags: Sequence[str]) -> tuple[str, ...]:
    """The tags, sorted and each once. Raises InvalidInput."""
    return tuple(sorted({check_tag(tag) for tag in tags}))


def _next_version(conn: Connection, model: Row[Any]) -> str:
    """The lowest number that no version of the model has or had by counting."""
    number = int(model.next_version)
    while store.find_version(conn, model.id, str(number)) is not None:
        number += 1
    return str(number)


def _insert(edit: Edit, name: str, wanted: Wanted, imported: Imported, artefact: str) -> Row[Any]:
    info = VersionInfo(
        id=0,
        model=wanted.name,
        model_id=edit.model.id,
        version=name,
        status="training",
        artefact=artefact,
        source=imported.source,
        runtime=imported.runtime,
        signature=imported.signature,
        profile=imported.profile,
        choices=imported.choices,
        sample=imported.sample,
        metrics=wanted.metrics,
        tags=wanted.tags,
        created_us=edit.at_us,
    )
    store.insert_version(edit.conn, info)
    if name.isdecimal() and len(name) <= _COUNTED_DIGITS:
        edit.update(next_version=max(int(name) + 1, edit.model.next_version))
    edit.log("version.add", name, artefact=artefact, source=info.source, runtime=info.runtime)
    return edit.version(name)


def _taken(model: str, row: Row[Any], name: str, artefact: str) -> Conflict:
    if row.version != name:
        return Conflict("a version's name differs only in case", where=model, found=row.version, expected=name)
    return Conflict(
        "the version exists with other content, and versions never change: choose another name",
        where=f"{model}/{name}",
        found=f"artefact {row.artefact[:12]}…",
        expected=f"artefact {artefact[:12]}…",
    )
