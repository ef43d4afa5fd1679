"""Declared HTTP resources: what a capability's `api.py` lists, from which routes and documentation are made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from kaname.call import Principal

S = TypeVar("S", bound=msgspec.Struct)

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
Scope = Literal["public", "any", "read", "write", "admin"]
"""`public`: no credentials; `any`: every valid key, the handler decides more; else the scope that is needed."""


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No fields: a body or a query that must be empty."""


class Upload(msgspec.Struct, frozen=True):
    """Marks a resource whose body is a file: it is streamed to disk, never held in memory."""

    media_types: tuple[str, ...] = ("application/octet-stream",)
    description: str = "The bytes of the file."


class Asked:
    """One request to a resource, checked and decoded. `file` is the body of an upload; it is deleted afterwards."""

    __slots__ = ("_body", "_query", "file", "if_match", "path", "principal", "request_id")

    def __init__(
        self,
        *,
        principal: Principal,
        request_id: str,
        path: dict[str, str],
        query: msgspec.Struct,
        body: msgspec.Struct | None = None,
        file: Path | None = None,
        if_match: str | None = None,
    ) -> None:
        self.principal = principal
        self.request_id = request_id
        self.path = path
        self.file = file
        self.if_match = if_match
        self._query = query
        self._body = body

    @property
    def who(self) -> str:
        """How the change journal names the caller."""
        return f"key:{self.principal.key_id}" if self.principal.key_id else self.principal.name

    def body(self, kind: type[S]) -> S:
        """The decoded body; `kind` is the one that the resource declares."""
        return _of(self._body, kind)

    def query(self, kind: type[S]) -> S:
        """The decoded query parameters; `kind` is the one that the resource declares."""
        return _of(self._query, kind)


def _of(value: msgspec.Struct | None, kind: type[S]) -> S:
    if not isinstance(value, kind):
        raise TypeError(f"the resource declares {type(value).__name__}, its handler asks for {kind.__name__}")
    return value


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """An answer with more than a value. `etag` is opaque text without quotes; `location` a path, not yet escaped."""

    value: object = None
    etag: str | None = None
    status: int | None = None
    location: str | None = None
    file: Path | None = None
    """Sent as the answer of a resource that is a download."""
    media_type: str | None = None
    """Of the file."""


Handler = Callable[[Asked], object]
"""Runs in a thread; returns the value of the answer, or a Reply; raises KanameError."""


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """One method of one path."""

    method: Method
    path: str
    """Template: `/api/v1/models/{model}`."""
    summary: str
    handler: Handler | None
    """None: documented here, answered elsewhere (the prediction path)."""
    scope: Scope = "read"
    body: type[msgspec.Struct] | Upload | None = None
    body_media: str = "application/json"
    """Media type of the body."""
    query: type[msgspec.Struct] = Nothing
    answer: object = None
    """Type of the answer's value; None: no body."""
    media: str = "application/json"
    """Media type of the answer."""
    error: object = None
    """Type of a refusal in the protocol's own form; None: a problem document."""
    error_media: str = "application/json"
    """Media type of a refusal in the protocol's own form."""
    status: int = 200
    etag: bool = False
    """A GET answers with an ETag; a change honours If-Match."""
    once: bool = False
    """The answer holds a secret: it is never stored, so Idempotency-Key is refused."""
    download: bool = False
    """The answer is a file (`Reply.file`), streamed; ranges of it may be asked for."""
    tag: str = ""
    """Group in the documentation; the first path segment after the version when empty."""
    description: str = ""
    example: object = None
    """A body that works, for the documentation."""

    @property
    def group(self) -> str:
        """Where the documentation lists it."""
        return self.tag or self.path.removeprefix("/api/v1/").split("/")[0]
