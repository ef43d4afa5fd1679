"""The process of one batch job: a `ChildTask` on stdin, JSON lines on stdout: `Said`, the last with an end.

It is nice to the server beside it, and dies with the thread that started it: whatever it had done by then is kept.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from kaname.batch.run import Run, Task
from kaname.batch.store import JobError
from kaname.batch.types import Progress
from kaname.clock import SystemClock
from kaname.errors import KanameError
from kaname.runtimes.catalog import open_session
from kaname.runtimes.types import SessionOptions
from kaname.secret import Secret
from kaname.settings import RemoteSettings

NICE = 10
EVERY_S = 0.2
_PR_SET_PDEATHSIG = 1


class ChildTask(msgspec.Struct, frozen=True, kw_only=True):
    """What to do."""

    task: Task
    artefact: Path
    """The file that the version's runtime reads."""
    parent: int
    remotes: tuple[RemoteSettings, ...] = ()
    """What the server of a remote model is shown."""


class Said(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How far it is, or how it ended."""

    progress: Progress | None = None
    done: bool = False
    error: JobError | None = None


def encode(task: ChildTask) -> bytes:
    """A task on its way to the child; nobody else reads that pipe, so secrets go as they are."""
    return msgspec.msgpack.encode(task, enc_hook=lambda x: x.reveal() if isinstance(x, Secret) else str(x))


def _decode(raw: bytes) -> ChildTask:
    def given(kind: type, value: Any) -> object:
        return value if kind is object else kind(value)

    return msgspec.msgpack.decode(raw, type=ChildTask, dec_hook=given)


def main() -> int:
    """Do one task."""
    asked = _decode(sys.stdin.buffer.read())
    _die_with(asked.parent)
    os.nice(NICE)
    answer = os.dup(1)
    os.dup2(2, 1)  # libraries print to stdout: that is the log
    with os.fdopen(answer, "wb") as pipe:
        _say(pipe, _run(asked, pipe))
    return 0


def _run(asked: ChildTask, pipe: Any) -> Said:
    said_at = 0.0

    def show(at: Progress) -> None:
        nonlocal said_at
        if time.monotonic() - said_at > EVERY_S:
            said_at = time.monotonic()
            _say(pipe, Said(progress=at))

    version = asked.task.version
    options = SessionOptions(threads=1, remotes=asked.remotes)
    last: list[Progress] = []

    def progress(at: Progress) -> None:
        last[:] = [at]
        show(at)

    try:
        Run(
            asked.task,
            lambda: open_session(version.runtime, asked.artefact, version.signature, options),
            SystemClock(),
            progress=progress,
        ).run()
    except KanameError as error:
        said = {name: getattr(error, name) for name in ("where", "found", "expected")}
        return Said(error=JobError(code=error.code, detail=error.message, **said), progress=last[0] if last else None)
    return Said(done=True, progress=last[0] if last else None)


def _say(pipe: Any, said: Said) -> None:
    pipe.write(msgspec.json.encode(said) + b"\n")
    pipe.flush()


def _die_with(parent: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise SystemExit(0)


if __name__ == "__main__":
    sys.exit(main())
