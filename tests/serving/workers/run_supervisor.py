"""Runs a supervisor as its own process, as the command line does: `python -m … OPTIONS`."""

from __future__ import annotations

import sys

import msgspec

from kaname.errors import KanameError
from kaname.serving.workers.supervisor import Supervisor
from kaname.serving.workers.types import ServeOptions
from kaname.telemetry import logs

if __name__ == "__main__":
    logs.configure()
    try:
        options = msgspec.json.decode(sys.argv[1], type=ServeOptions, dec_hook=lambda kind, value: kind(value))
        sys.exit(Supervisor(options).run())
    except KanameError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
