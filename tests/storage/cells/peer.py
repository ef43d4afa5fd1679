"""Another process that uses an embedded store: `python -m tests.storage.cells.peer FOLDER own | write NAME`.

`own` becomes the owner and waits for its end; `write` writes rows NAME0, NAME1, ... and prints the number of each once
it is confirmed, or the error and tries it again.
"""

from __future__ import annotations

import sys
from itertools import count
from pathlib import Path

from kaname.clock import SystemClock
from kaname.errors import KanameError
from kaname.storage.cells.lmdb.store import LmdbCells
from kaname.storage.cells.types import Family, Put, Table

TABLE = Table("peers", {"f": Family()})
WRITE_TIMEOUT_S = 1.0


def main(folder: Path, verb: str, name: str = "") -> None:
    """Do as the command line says until the process is ended."""
    store = LmdbCells(folder, SystemClock(), write_timeout_s=WRITE_TIMEOUT_S)
    store.define(TABLE)
    if verb == "own":
        print("owns", flush=True)
        sys.stdin.read()
        store.close()
        return
    for number in count():
        _write(store, name, number)


def _write(store: LmdbCells, name: str, number: int) -> None:
    row = f"{name}{number:06}".encode()
    while True:
        try:
            store.write([Put(TABLE.name, row, "f", {b"number": b"%d" % number, b"again": row})])
        except KanameError as error:
            print(error.code, flush=True)
        else:
            print(number, flush=True)
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
