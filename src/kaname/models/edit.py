"""One change of one model: a transaction, the journal rows that belong to it, and the model's new ETag."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Row, update

from kaname.clock import Clock
from kaname.errors import Conflict, PreconditionFailed
from kaname.models import store
from kaname.storage.sql import journal
from kaname.storage.sql.database import Database


class Edit:
    """A model under change."""

    def __init__(self, conn: Connection, model: Row[Any], at_us: int, who: str) -> None:
        self.conn = conn
        self.model = model
        self.at_us = at_us
        self._who = who
        self._seq: int | None = None

    def log(self, action: str, version: str | None = None, **detail: object) -> None:
        """Write a journal row about the model, or about one of its versions."""
        subject = self.model.name if version is None else f"{self.model.name}/{version}"
        self._seq = journal.append(
            self.conn, at_us=self.at_us, who=self._who, action=action, subject=subject, detail=detail
        )

    def check(self, if_match: str | None) -> None:
        """Raise PreconditionFailed unless `if_match` is None, `*`, or the model's present ETag."""
        found = etag_of(self.model)
        if if_match not in (None, "*", found):
            raise PreconditionFailed(
                "the model has changed since it was read", where=self.model.name, found=found, expected=if_match
            )

    def answering(self) -> str | None:
        """The version that answers now."""
        promotions = store.history(self.conn, self.model.id)
        return str(promotions[0].version) if promotions else None

    def refuse_answering(self, version: str, what: str) -> None:
        """Raise Conflict while `version` answers: it cannot be archived or deleted (`what`)."""
        if self.answering() == version:
            raise Conflict(
                f"the version answers requests and cannot be {what}: promote another one, or roll back, first",
                where=f"{self.model.name}/{version}",
            )

    def version(self, version: str) -> Row[Any]:
        """A version of the model. Raises NotFound."""
        return store.version_row(self.conn, self.model, version)

    def promote(self, version: Row[Any]) -> None:
        """Let `version` answer, unless it does already; an archived one comes back."""
        previous = self.answering()
        if previous == version.version:
            return
        store.push(self.conn, self.model.id, version.id)
        self.log("model.promote", version=None, to=version.version, previous=previous)

    def update(self, **values: object) -> None:
        """Set columns of the model."""
        self.conn.execute(update(store.models).where(store.models.c.id == self.model.id).values(**values))

    def update_version(self, version: Row[Any], **values: object) -> None:
        """Set columns of a version; those with JSON are given as text."""
        self.conn.execute(update(store.versions).where(store.versions.c.id == version.id).values(**values))

    def finish(self) -> None:
        """Give the model a new ETag if anything was logged since the last time."""
        if self._seq is not None:
            self.update(changed=self._seq)
            self._seq = None


def etag_of(model: Row[Any]) -> str:
    """A model's ETag, without quotes: its number and that of its last change."""
    return f"{model.id}-{model.changed}"


@contextmanager
def editing(database: Database, clock: Clock, ref: str | int, who: str, if_match: str | None = None) -> Iterator[Edit]:
    """A transaction on the model `ref`. Raises NotFound; PreconditionFailed when `if_match` is stale."""
    with database.write() as conn:
        edit = Edit(conn, store.model_row(conn, ref), clock.time_ns() // 1000, who)
        edit.check(if_match)
        yield edit
        edit.finish()
