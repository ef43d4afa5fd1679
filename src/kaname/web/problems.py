"""Errors as RFC 9457 problem details: the one table from error classes to HTTP statuses of `/api`."""

from __future__ import annotations

import math

import msgspec

from kaname import errors
from kaname.errors import KanameError

MEDIA_TYPE = b"application/problem+json"

STATUS: dict[type[KanameError], int] = {
    errors.InvalidInput: 400,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.PreconditionFailed: 412,
    errors.TooLarge: 413,
    errors.UnsupportedMedia: 415,
    errors.RateLimited: 429,
    errors.CallerLeft: 499,
    errors.ModelFailed: 500,
    errors.CorruptData: 500,
    errors.MissingDependency: 501,
    errors.RemoteFailed: 502,
    errors.Overloaded: 503,
    errors.Unavailable: 503,
    errors.DeadlineExceeded: 504,
    KanameError: 500,
}
"""A class that is not listed has the status of its nearest listed base."""

TITLE: dict[int, str] = {
    400: "The request is not valid",
    401: "Valid credentials are needed",
    403: "The credentials lack a scope",
    404: "Nothing of that name",
    405: "The resource does not know this method",
    409: "The request contradicts the present state",
    412: "The resource has changed meanwhile",
    413: "The request is too large",
    415: "The media type is not understood",
    421: "The server does not answer for this host",
    429: "The rate limit is spent",
    499: "The caller left before the answer",
    500: "The request failed inside the server",
    501: "An optional library is not installed",
    502: "The remote model failed",
    503: "Not available at the moment",
    504: "The deadline passed",
}
"""What a status means here, for people; unlike `detail`, the same for every occurrence."""

_RETRIED = frozenset({429, 503})
_DEFAULT_RETRY_S = 1


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A problem document. `code` is stable: clients may branch on it; `detail` is for people."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    instance: str
    request_id: str
    where: str | None = None
    """Place of the fault: a field of the body, a parameter, a header."""
    found: str | None = None
    expected: str | None = None
    retry_after_s: float | None = None


_encode = msgspec.json.Encoder().encode


def status_of(error: KanameError) -> int:
    """The HTTP status of `error`."""
    for kind in type(error).__mro__:
        status = STATUS.get(kind)
        if status is not None:
            return status
    return 500


def problem(
    error: KanameError, *, instance: str, request_id: str, status: int | None = None
) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Status, headers (names in lower case, length included) and body of the answer that reports `error`.

    `instance` is the path of the request. `status` overrides the table for faults that only HTTP knows.
    """
    status = status_of(error) if status is None else status
    body = _encode(
        Problem(
            type=f"urn:kaname:problem:{error.code}",
            title=TITLE.get(status, "The request failed"),
            status=status,
            detail=error.message,
            code=error.code,
            instance=instance,
            request_id=request_id,
            where=error.where,
            found=error.found,
            expected=error.expected,
            retry_after_s=error.retry_after_s,
        )
    )
    headers = [
        (b"content-type", MEDIA_TYPE),
        (b"content-length", b"%d" % len(body)),
        (b"x-request-id", request_id.encode("latin-1", "replace")),
    ]
    if status in _RETRIED:
        headers.append((b"retry-after", b"%d" % _whole_seconds(error.retry_after_s)))
    if status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="kaname"'))
    return status, headers, body


def internal(error: Exception) -> KanameError:
    """What the caller is told of a fault inside the server; whoever caught it writes the log's one entry."""
    return KanameError(f"{type(error).__name__} inside the server; the log has the details")


def _whole_seconds(seconds: float | None) -> int:
    """Retry-After is in whole seconds: rounded up, so that a client that obeys is not refused again."""
    return _DEFAULT_RETRY_S if seconds is None else max(1, math.ceil(seconds))


_KINDS = {kind.code: kind for kind in STATUS}


def error_of(status: int, body: bytes) -> KanameError:
    """The error that a problem document reports, as its own class; of any other body, one that quotes it."""
    try:
        found = msgspec.json.decode(body, type=Problem)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return KanameError(f"the server answered {status}: {body[:200].decode('utf-8', 'replace')}")
    kind = _KINDS.get(found.code, KanameError)
    return kind(
        found.detail,
        where=found.where,
        found=found.found,
        expected=found.expected,
        retry_after_s=found.retry_after_s,
    )
