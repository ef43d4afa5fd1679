"""How far a run has come, on disk: what lets a killed run go on without losing or repeating a row.

Beside `OUTPUT` lie `OUTPUT.part` (answers so far), `OUTPUT.errors.part` (bad rows so far) and `OUTPUT.journal`.
A commit puts the first two on disk and then replaces the journal, which says how long they are. What stands beyond
that length after a crash was written by no commit, and is cut off.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO

import msgspec
from blake3 import blake3

from kaname.batch.output import sync
from kaname.batch.types import START, Options, Position
from kaname.errors import Conflict, CorruptData, InvalidInput

EDGE_BYTES = 1024 * 1024


class InputIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """Tells one input from another without reading all of it."""

    bytes: int
    mtime_ns: int
    edges: str
    """BLAKE3 of its first and its last megabyte."""

    @classmethod
    def of(cls, path: Path) -> InputIdentity:
        """The identity of a file as it is now. Raises InvalidInput when there is none."""
        try:
            with path.open("rb") as file:
                facts = os.fstat(file.fileno())
                hashed = blake3(file.read(EDGE_BYTES))
                file.seek(max(0, facts.st_size - EDGE_BYTES))
                hashed.update(file.read(EDGE_BYTES))
        except FileNotFoundError:
            raise InvalidInput("there is no such input file", where=str(path)) from None
        except IsADirectoryError:
            raise InvalidInput("the input is a folder", where=str(path), expected="a file") from None
        return cls(bytes=facts.st_size, mtime_ns=facts.st_mtime_ns, edges=hashed.hexdigest())


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """What a journal says."""

    input: InputIdentity
    model: str
    version: str
    version_id: int
    options: Options
    run_rows: int
    """Rows that the model is given at once."""
    position: Position = START
    """Where the next chunk begins."""
    rows: int = 0
    bad: int = 0
    part_bytes: int = 0
    errors_bytes: int = 0
    complete: bool = False
    """Every row is in the working file, which only needs its name."""


class Files:
    """The output of a run and what lies beside it while it is written."""

    def __init__(self, output: Path) -> None:
        self.output = output
        self.part = output.with_name(output.name + ".part")
        self.errors = output.with_name(output.name + ".errors.jsonl")
        self.errors_part = output.with_name(output.name + ".errors.part")
        self.journal = output.with_name(output.name + ".journal")
        self.draft = output.with_name(output.name + ".draft")

    def forget(self) -> None:
        """Remove what an unfinished run left."""
        for path in (self.journal, self.part, self.errors_part, self.draft):
            path.unlink(missing_ok=True)

    def entry(self) -> Entry | None:
        """What the journal says, if there is one. Raises CorruptData."""
        try:
            return msgspec.json.decode(self.journal.read_bytes(), type=Entry)
        except FileNotFoundError:
            return None
        except msgspec.MsgspecError as error:
            raise CorruptData(
                f"the journal of a run that was begun cannot be read: {error}; --restart begins anew",
                where=str(self.journal),
            ) from None


class Working:
    """The working files, open; only one process has them."""

    def __init__(self, files: Files) -> None:
        """Raises Conflict while another process writes the same output."""
        self._files = files
        self._part = _exclusive(files.part)
        self._errors = files.errors_part.open("ab")

    def begin(self, entry: Entry) -> None:
        """Cut off what no commit wrote."""
        for file, size in ((self._part, entry.part_bytes), (self._errors, entry.errors_bytes)):
            if file.seek(0, os.SEEK_END) < size:
                raise CorruptData(
                    "a working file is shorter than its journal says; --restart begins anew",
                    where=file.name,
                    found=f"{file.tell()} bytes",
                    expected=f"{size} bytes",
                )
            file.truncate(size)
            file.seek(size)

    def write(self, answers: bytes, errors: bytes) -> None:
        """Append; nothing holds before the next commit."""
        self._part.write(answers)
        if errors:
            self._errors.write(errors)

    def commit(self, entry: Entry) -> Entry:
        """Make everything written so far hold; the entry with the lengths filled in."""
        for file in (self._part, self._errors):
            file.flush()
            sync(file.fileno())
        entry = msgspec.structs.replace(entry, part_bytes=self._part.tell(), errors_bytes=self._errors.tell())
        draft = self._files.journal.with_name(self._files.journal.name + ".draft")
        with draft.open("wb") as file:
            file.write(msgspec.json.encode(entry))
            file.flush()
            sync(file.fileno())
        draft.replace(self._files.journal)
        _sync_folder(self._files.journal.parent)
        return entry

    def close(self) -> None:
        """Let go of the files."""
        self._part.close()
        self._errors.close()


def _exclusive(path: Path) -> IO[bytes]:
    """`path` opened for appending, made if need be; held by this process alone until it is closed."""
    while True:
        file = path.open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise Conflict("another run is writing this output", where=str(path)) from None
        try:
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        except FileNotFoundError:
            pass
        file.close()  # the run before renamed it between the opening and the lock


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        sync(fd)
    finally:
        os.close(fd)
