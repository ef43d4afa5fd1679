"""What a remote's statuses mean here: most of its 4xx are the request's fault, some the description's."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from kaname import errors
from kaname.client.exchanged import Reply
from kaname.errors import KanameError
from kaname.runtimes.remote.types import Trouble

_OURS = {
    401: "the remote does not accept our credentials",
    403: "the remote does not let us ask this model",
    404: "the remote does not know this model",
    405: "the remote does not speak as described",
}
_REQUEST: dict[int, type[KanameError]] = {413: errors.TooLarge}
_GATEWAY = frozenset({502, 503, 504})
LONGEST = 300
T = TypeVar("T")


class _Said(msgspec.Struct):
    error: msgspec.Raw = msgspec.Raw()
    detail: msgspec.Raw = msgspec.Raw()
    message: msgspec.Raw = msgspec.Raw()


def said(body: bytes) -> str:
    """What the server said, in one line: of JSON its `error`, `detail` or `message`, else the beginning."""
    try:
        found = msgspec.json.decode(body, type=_Said)
        raw = next((bytes(one) for one in (found.error, found.detail, found.message) if bytes(one)), b"")
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raw = b""
    text = (raw or body[: 4 * LONGEST]).decode("utf-8", "replace").strip().strip('"')
    return " ".join(text.split())[:LONGEST] or "nothing"


def refused(reply: Reply, address: str) -> Trouble:
    """The failure that a status of 300 and more stands for."""
    status = reply.status
    found = f"status {status}: {said(reply.body)}"
    if status in _OURS:
        return Trouble(errors.RemoteFailed(_OURS[status], where=address, found=found))
    if status == 429:
        wait_s = reply.retry_after_s
        error: KanameError = errors.Overloaded("the remote limits us", where=address, found=found, retry_after_s=wait_s)
        return Trouble(error)
    if status in (408, 504):
        error = errors.DeadlineExceeded("the remote ran out of time", where=address, found=found)
        return Trouble(error, blame=status in _GATEWAY)
    if status == 503:
        wait_s = reply.retry_after_s
        error = errors.Unavailable("the remote cannot answer now", where=address, found=found, retry_after_s=wait_s)
        return Trouble(error, again=True, blame=True)
    if 400 <= status < 500:
        kind = _REQUEST.get(status, errors.InvalidInput)
        return Trouble(kind("the remote refused the request", where=address, found=found))
    return Trouble(errors.RemoteFailed("the remote failed", where=address, found=found), blame=status in _GATEWAY)


def understood(read: Callable[[], T], address: str) -> T:
    """What `read` makes of an answer. Raises Trouble: an answer may be anything, and is then the remote's failure."""
    try:
        return read()
    except Trouble:
        raise
    except errors.RemoteFailed as error:
        error.where = address
        raise Trouble(error) from error
    except Exception as error:
        found = f"{type(error).__name__}: {error}"[:LONGEST]
        raise Trouble(errors.RemoteFailed("the answer cannot be read", where=address, found=found)) from error
