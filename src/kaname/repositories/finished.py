"""Whether the folder of a version is finished, while others may be writing to the repository.

Who renames a finished folder into place publishes it at that instant. Who cannot rename writes `SHA256SUMS` last, in
the form of `sha256sum`: the version is there when every file is listed and none differs.

A folder that is written where it lies is told from one that was renamed by what the kernel notes of inodes (ctime): a
new entry marks the folder, writing marks the file, renaming marks the folder alone, after its entries. Within one tick
of the clock nothing can be told, so then the folder is waited on until it has been quiet for a while.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from kaname.clock import Clock

SUMS = "SHA256SUMS"
CHUNK = 1 << 20
_LINE = re.compile(r"\\?(?P<sum>[0-9a-f]{64}) [ *](?:\./)?(?P<path>.+)")
QUIET_S = 10.0
IN_PLACE = (
    "its files are younger than the folder, as if they were written in place: rename finished folders into place, or "
    f"write {SUMS} last; if this one is finished, `touch` the folder"
)


TOO_FAST = f"it was made within one tick of the clock: it counts when it has been quiet for {QUIET_S:g} s"


class Finished:
    """Tells which folders are finished; remembers sums that it has computed until a file changes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sums: dict[Path, tuple[tuple[int, ...], str]] = {}

    def __call__(self, folder: Path) -> str | None:
        """Why the version in `folder` is not published, or None: it is."""
        try:
            if (folder / SUMS).is_file():
                return self._by_sums(folder)
            return self._by_times(folder)
        except OSError as error:
            return f"it changes while it is looked at: {error.strerror}"

    def _by_times(self, folder: Path) -> str | None:
        found = folder.stat()
        if any(os.stat(path).st_ctime_ns > found.st_ctime_ns for path in _all(folder)):  # noqa: PTH116  (of many)
            return IN_PLACE
        quiet_ns = self._clock.time_ns() - found.st_ctime_ns
        return None if found.st_ctime_ns > found.st_mtime_ns or quiet_ns > QUIET_S * 1e9 else TOO_FAST

    def _by_sums(self, folder: Path) -> str | None:
        listed: dict[str, str] = {}
        for line in (folder / SUMS).read_text(errors="replace").splitlines():
            found = _LINE.fullmatch(line)
            if found is None:
                return f"{SUMS} is not finished: {line[:80]!r} is not a line of sha256sum"
            listed[found["path"]] = found["sum"]
        present = {path.relative_to(folder).as_posix() for path in _files(folder)} - {SUMS}
        if missing := sorted(listed.keys() - present):
            return f"{SUMS} lists {missing[0]}, which is not there yet"
        if extra := sorted(present - listed.keys()):
            return f"{SUMS} does not list {extra[0]}"
        wrong = next((path for path, digest in sorted(listed.items()) if self._sum(folder / path) != digest), None)
        return None if wrong is None else f"{wrong} is not yet what {SUMS} says"

    def _sum(self, path: Path) -> str:
        key = stamp(path)
        known = self._sums.get(path)
        if known is None or known[0] != key:
            digest = hashlib.sha256()
            with path.open("rb") as source:
                while chunk := source.read(CHUNK):
                    digest.update(chunk)
            known = self._sums[path] = (key, digest.hexdigest())
        return known[1]


def stamp(path: Path) -> tuple[int, ...]:
    """Differs whenever a file or folder was changed or replaced."""
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _all(folder: Path) -> Iterator[str]:
    """Everything below a folder; as texts, for there may be a lot."""
    for base, folders, files in os.walk(folder):
        yield from (f"{base}/{name}" for name in (*folders, *files))


def _files(folder: Path) -> Iterator[Path]:
    return (Path(path) for path in _all(folder) if Path(path).is_file())
