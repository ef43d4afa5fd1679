"""The errors of the platform, split by what the caller should do next.

An error knows no transport: each protocol has one table that maps the classes below to its own codes
(`web.problems` for RFC 9457, `serving.oip` for the Open Inference Protocol).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class KanameError(Exception):
    """Base of every error that a caller may see.

    `where` names the place of the fault (`features.age`, `kaname.yaml:3:7`, `inputs[0].data`), `found` and
    `expected` what was there and what should have been. `code` is stable: clients may branch on it.
    """

    code: ClassVar[str] = "internal"

    def __init__(
        self,
        message: str,
        *,
        where: str | None = None,
        found: str | None = None,
        expected: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.found = found
        self.expected = expected
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        parts = [f"{self.where}: {self.message}" if self.where else self.message]
        if self.found is not None:
            parts.append(f"found {self.found}")
        if self.expected is not None:
            parts.append(f"expected {self.expected}")
        return "; ".join(parts)


# --- change the request ---------------------------------------------------------------------------------


class InvalidInput(KanameError):
    """The request is wrong: sending it again unchanged fails again."""

    code = "invalid_input"


class NotFound(KanameError):
    """What the request names does not exist."""

    code = "not_found"


class Conflict(KanameError):
    """The request contradicts the present state (a name taken, a version that still answers)."""

    code = "conflict"


class PreconditionFailed(Conflict):
    """The resource has changed since the caller read the ETag that came as If-Match."""

    code = "precondition_failed"


class TooLarge(KanameError):
    """The request exceeds a fixed limit and can never be accepted at this size."""

    code = "too_large"


class UnsupportedMedia(KanameError):
    """The content type or content encoding of the body is not one that this resource reads."""

    code = "unsupported_media_type"


class Unauthenticated(KanameError):
    """No valid credentials came with the request."""

    code = "unauthenticated"


class Forbidden(KanameError):
    """The credentials are valid but lack the scope."""

    code = "forbidden"


# --- try again later ------------------------------------------------------------------------------------


class RateLimited(KanameError):
    """A rate limit is spent; `retry_after_s` says when it will have room."""

    code = "rate_limited"


class Overloaded(KanameError):
    """A concurrency or queue limit is reached; nothing was computed."""

    code = "overloaded"


class Unavailable(KanameError):
    """The thing exists but cannot answer now (loading, unloaded, failed to load, draining)."""

    code = "unavailable"


class DeadlineExceeded(KanameError):
    """The deadline passed before the answer was ready."""

    code = "deadline_exceeded"


class CallerLeft(KanameError):
    """Who asked did not wait for the answer; the record and the metrics say so, nobody reads it."""

    code = "cancelled"


# --- ask someone ----------------------------------------------------------------------------------------


class ModelFailed(KanameError):
    """The model itself raised while it computed this request."""

    code = "model_failed"


class RemoteFailed(KanameError):
    """The server that a remote model stands for failed, or does not speak as its description says."""

    code = "remote_failed"


class CorruptData(KanameError):
    """Stored bytes do not match their hash or format."""

    code = "corrupt_data"


class MissingDependency(KanameError):
    """An optional library is not installed; the message holds the line that installs it."""

    code = "missing_dependency"

    @classmethod
    def of(cls, library: str, extra: str, purpose: str) -> MissingDependency:
        """The error for `library`, which the optional extra `extra` would bring, needed for `purpose`."""
        return cls(f"{purpose} needs {library}, which is not installed: pip install 'kaname[{extra}]'")


def first_of(problems: Sequence[KanameError]) -> KanameError:
    """The first problem of a project's files; its message counts the others."""
    first = problems[0]
    if len(problems) > 1:
        first.message += f" (and {len(problems) - 1} more: `kaname check` lists them)"
    return first
