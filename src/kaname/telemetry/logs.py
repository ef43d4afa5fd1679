"""Structured logs on stderr: JSON lines for machines, readable ones on a terminal.

`configure` is called once per process, by the command line and by each worker. A request's id is bound with
`structlog.contextvars.bound_contextvars(request_id=…)`; the worker's slot is on every line of a worker. Lines of
libraries that use `logging` (uvicorn, asyncio) come out in the same form.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Hashable, Mapping
from typing import TextIO

import msgspec
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from kaname.clock import Clock
from kaname.errors import InvalidInput

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}


def configure(
    *,
    stream: TextIO | None = None,
    environ: Mapping[str, str] | None = None,
    slot: int | None = None,
    console: bool | None = None,
) -> None:
    """Send this process' logs to `stream` (default stderr), at level KANAME_LOG_LEVEL of `environ` (default info).

    `slot` is the worker slot that every line names. `console` chooses the readable form; None: where `stream` is a
    terminal. Raises InvalidInput for a level that does not exist.
    """
    stream = sys.stderr if stream is None else stream
    level = _level(os.environ if environ is None else environ)
    console = stream.isatty() if console is None else console
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _Worker(slot),
    ]
    ends: list[Processor] = (
        [structlog.dev.ConsoleRenderer()]
        if console
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_json)]
    )
    structlog.configure(
        processors=[*shared, *ends],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ends],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(level, logging.WARNING), force=True)


def _level(environ: Mapping[str, str]) -> int:
    text = environ.get("KANAME_LOG_LEVEL", "info")
    found = LEVELS.get(text.lower())
    if found is None:
        raise InvalidInput("not a log level", where="KANAME_LOG_LEVEL", found=repr(text), expected=", ".join(LEVELS))
    return found


def _json(event: EventDict, **_: object) -> str:
    return msgspec.json.encode(event, enc_hook=repr).decode()


class _Worker:
    """Adds the worker's slot: a constant of the process, so threads have it as well."""

    def __init__(self, slot: int | None) -> None:
        self._slot = slot

    def __call__(self, _: WrappedLogger, __: str, event: EventDict) -> EventDict:
        if self._slot is not None:
            event["worker"] = self._slot
        return event


class Throttle:
    """Says when a repeated message is due: at once the first time, then at most once per `every_s` for each key.

    May be called from any thread. Keys are constants of the program, not data: each is kept.
    """

    def __init__(self, clock: Clock, every_s: float = 60.0) -> None:
        self._clock = clock
        self._every_ns = int(every_s * 1e9)
        self._said: dict[Hashable, tuple[int, int]] = {}
        self._lock = threading.Lock()

    def due(self, key: Hashable) -> int | None:
        """How often `key` was held back since it was last said, if it should be said now; else None."""
        now = self._clock.monotonic_ns()
        with self._lock:
            before = self._said.get(key)
            if before is not None and now - before[0] < self._every_ns:
                self._said[key] = (before[0], before[1] + 1)
                return None
            self._said[key] = (now, 0)
            return before[1] if before else 0
