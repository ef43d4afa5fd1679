"""Runs the command line as a person does: in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

COMMAND = [str(Path(sys.executable).with_name("kaname"))]


class Ran:
    """What a command left behind."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr

    def json(self) -> Any:
        """Standard output as the one JSON document that it is."""
        return json.loads(self.out)


def kaname(*arguments: str | Path, cwd: Path | None = None, **environ: str) -> Ran:
    """Run `kaname` with `arguments`; settings of the tester's own environment do not leak in."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("KANAME_")}
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        cwd=cwd,
        env={**clean, "COLUMNS": "200", "NO_COLOR": "1", **environ},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return Ran(done)
