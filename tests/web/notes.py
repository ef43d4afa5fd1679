"""A tiny real application of declared resources: notes by name, with every feature that resources have."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta
from starlette.applications import Starlette

from kaname.access.answers import KeptAnswers
from kaname.access.buckets import Buckets
from kaname.access.keys import Keys
from kaname.access.principals import Principals
from kaname.clock import ManualClock
from kaname.errors import NotFound, PreconditionFailed
from kaname.ids import counting_ids
from kaname.web import endpoints, openapi, reference
from kaname.web.endpoints import Site
from kaname.web.paging import Listed, Page, page
from kaname.web.resources import Asked, Reply, Resource, Upload
from tests.databases import open_database


class Note(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One note."""

    name: str
    text: str = ""
    stars: Annotated[int, Meta(ge=0, le=5)] = 0


class Tags(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A query with a parameter that may be repeated."""

    tag: tuple[str, ...] = ()
    loud: bool = False


class Size(msgspec.Struct, frozen=True):
    """What an upload amounted to."""

    size: int
    head: str


class Notes:
    """The application, its state, and an admin and a reader key."""

    def __init__(self, folder: Path) -> None:
        self.kept: dict[str, Note] = {}
        self.created = 0
        self.threads: set[str] = set()
        self.folder = folder
        self.clock = ManualClock()
        self.database = open_database(folder / "notes.db")
        keys = Keys(self.database, self.clock)
        self.admin = keys.create("admin", ["admin"], who="test")[1]
        self.reader = keys.create("reader", ["read"], who="test")[1]
        self.predictor = keys.create("predictor", ["predict:iris"], who="test")[1]
        principals = Principals(keys.rows(), Buckets(self.clock))
        (folder / "spool").mkdir()
        self.site = Site(
            authenticate=principals.of,
            ids=counting_ids("r-"),
            answers=KeptAnswers(self.database, self.clock),
            spool=folder / "spool",
            max_body_bytes=1000,
            max_upload_bytes=3_000_000,
        )
        self.resources = self._resources()
        self.app = Starlette(
            routes=[*endpoints.routes(self.resources, self.site), *reference.routes(self.document)],
            exception_handlers=dict(endpoints.exception_handlers(self.site.ids)),
        )
        self.app.router.redirect_slashes = False

    def document(self) -> dict[str, object]:
        """The OpenAPI document."""
        return openapi.document(self.resources, title="Notes", version="1.2.3", description="For `tests`.")

    def _resources(self) -> list[Resource]:
        one = "/api/v1/notes/{name}"
        return [
            Resource(
                method="GET",
                path="/api/v1/notes",
                summary="List",
                handler=lambda asked: page(self.kept.values(), lambda note: note.name, asked.query(Page)),
                query=Page,
                answer=Listed[Note],
            ),
            Resource(
                method="POST",
                path="/api/v1/notes",
                summary="Create",
                handler=self._create,
                scope="write",
                body=Note,
                answer=Note,
                status=201,
            ),
            Resource(method="GET", path=one, summary="Show", handler=self._show, answer=Note, etag=True),
            Resource(
                method="PUT",
                path=one,
                summary="Replace",
                handler=self._replace,
                scope="write",
                body=Note,
                answer=Note,
                etag=True,
            ),
            Resource(
                method="DELETE",
                path=one,
                summary="Delete",
                handler=lambda asked: self.kept.pop(asked.path["name"], None),
                scope="write",
                status=204,
            ),
            Resource(
                method="POST",
                path="/api/v1/files",
                summary="Upload",
                handler=self._upload,
                scope="write",
                body=Upload(),
                query=Tags,
                answer=Size,
            ),
            Resource(
                method="POST",
                path="/api/v1/secrets",
                summary="Answer with a secret",
                handler=lambda _: Size(size=1, head="s3cret"),
                scope="admin",
                answer=Size,
                once=True,
            ),
            Resource(method="GET", path="/api/v1/broken", summary="Raise", handler=self._broken, scope="public"),
            Resource(
                method="GET",
                path="/api/v1/me",
                summary="Name the caller",
                handler=lambda asked: Size(size=0, head=asked.who),
                scope="any",
                answer=Size,
            ),
            Resource(
                method="POST",
                path="/api/v1/models/{model}/predict",
                summary="Predict",
                handler=None,
                scope="any",
                body=Note,
                answer=Note,
                example={"name": "x"},
            ),
        ]

    def _create(self, asked: Asked) -> Reply:
        note = asked.body(Note)
        self.threads.add(threading.current_thread().name)
        self.created += 1
        if note.text == "fail":
            raise NotFound("nothing of the kind")
        self.kept[note.name] = note
        return Reply(value=note, location=f"/api/v1/notes/{note.name}")

    def _find(self, asked: Asked) -> Note:
        name = asked.path["name"]
        if name not in self.kept:
            raise NotFound("no such note", where="name", found=name)
        return self.kept[name]

    def _show(self, asked: Asked) -> Reply:
        note = self._find(asked)
        return Reply(value=note, etag=f"stars-{note.stars}")

    def _replace(self, asked: Asked) -> Reply:
        etag = f"stars-{self._find(asked).stars}"
        if asked.if_match not in (None, etag):
            raise PreconditionFailed("the note has changed", where="If-Match", found=asked.if_match, expected=etag)
        self.kept[asked.path["name"]] = note = asked.body(Note)
        return Reply(value=note, etag=f"stars-{note.stars}")

    def _upload(self, asked: Asked) -> Size:
        assert asked.file is not None
        assert asked.query(Tags) is not None
        content = asked.file.read_bytes()
        return Size(size=len(content), head=content[:4].decode())

    def _broken(self, _: Asked) -> None:
        raise ZeroDivisionError("a secret inside the server")
