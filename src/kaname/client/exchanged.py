"""What becomes of a request: a whole answer, or a broken connection."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Broken(Exception):
    """The connection failed. `before_answer`: no byte of an answer had come, so asking again may be right."""

    def __init__(self, why: str, *, before_answer: bool) -> None:
        super().__init__(why)
        self.before_answer = before_answer


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """A complete answer; `retry_after_s` is its header, if it is a number of seconds. Header names are lower case."""

    status: int
    body: bytes
    retry_after_s: float | None = None
    headers: Mapping[str, str] = {}
