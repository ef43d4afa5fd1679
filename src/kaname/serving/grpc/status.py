"""Errors as gRPC statuses: the one table, and how a status, its details and its metadata are worded."""

from __future__ import annotations

import logging
import math
from typing import NoReturn

import grpc

from kaname import errors
from kaname.errors import KanameError

STATUS: dict[type[KanameError], grpc.StatusCode] = {
    errors.InvalidInput: grpc.StatusCode.INVALID_ARGUMENT,
    errors.TooLarge: grpc.StatusCode.INVALID_ARGUMENT,
    errors.UnsupportedMedia: grpc.StatusCode.INVALID_ARGUMENT,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.Forbidden: grpc.StatusCode.PERMISSION_DENIED,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.Conflict: grpc.StatusCode.FAILED_PRECONDITION,
    errors.RateLimited: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Overloaded: grpc.StatusCode.UNAVAILABLE,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.CallerLeft: grpc.StatusCode.CANCELLED,
    errors.ModelFailed: grpc.StatusCode.INTERNAL,
    errors.RemoteFailed: grpc.StatusCode.UNKNOWN,
    errors.CorruptData: grpc.StatusCode.DATA_LOSS,
    errors.MissingDependency: grpc.StatusCode.UNIMPLEMENTED,
    KanameError: grpc.StatusCode.INTERNAL,
}
"""A class that is not listed has the status of its nearest listed base."""

OF_NUMBER: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}
LONGEST_DETAILS = 2000
"""Characters: clients bound the metadata of an answer, to 8 KiB by default."""
LOG = logging.getLogger("kaname.grpc")


def status_of(error: KanameError) -> grpc.StatusCode:
    """The status of `error`."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def refusal(error: KanameError, _: str, request_id: str, __: int | None = None) -> tuple[int, bytes, bytes]:
    """Number of the status, metadata (as header lines) and details of a refusal."""
    head = b"x-request-id: %b\r\nx-error-code: %b\r\n" % (request_id.encode("latin-1", "replace"), error.code.encode())
    if error.retry_after_s is not None:
        head += b"grpc-retry-pushback-ms: %d\r\n" % math.ceil(error.retry_after_s * 1000)
    return status_of(error).value[0], head, str(error)[:LONGEST_DETAILS].encode("utf-8", "replace")


def metadata_of(head: bytes) -> tuple[tuple[str, str], ...]:
    """Header lines as metadata."""
    pairs = (line.partition(": ") for line in head.decode("latin-1").split("\r\n") if line)
    return tuple((name, value) for name, _, value in pairs)


def abort(context: grpc.ServicerContext, status: int, head: bytes, details: bytes) -> NoReturn:
    """End the call with what `refusal` has worded."""
    context.set_trailing_metadata(metadata_of(head))
    context.abort(OF_NUMBER[status], details.decode("utf-8", "replace"))
    raise AssertionError("abort raises")


def refuse(context: grpc.ServicerContext, error: KanameError, request_id: str) -> NoReturn:
    """End the call with `error`."""
    abort(context, *refusal(error, "", request_id))
