"""A program of its own: `python -m tests.features.relayout.process PROJECT writer USER SEED`, or `… runner`."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from kaname.features.relayout.choosing import choose
from kaname.features.relayout.types import How
from tests.features.relayout.programs import Program, Writer


def main(project: str, kind: str, *rest: str) -> None:
    """Write until standard input ends, then print what must be there; or do what the files say, then end."""
    program = Program(Path(project))
    if kind == "runner":
        if program.relayouts.status("order") is None and not _is_done(program):
            program.relayouts.begin("order", *choose(program.features, "order", None, []))
        program.relayouts.run("order", How(rows_per_s=2_500), lambda _: None)  # long enough to be killed in between
    else:
        writer = Writer(program.features, rest[0], int(rest[1]), keys=200)
        writer.start()
        sys.stdout.write("writing\n")
        sys.stdout.flush()
        sys.stdin.read()
        writer.end()
        sys.stdout.buffer.write(msgspec.json.encode([writer.writes, list(writer.expected.values())]) + b"\n")
    program.features.close()


def _is_done(program: Program) -> bool:
    return [kept.facts.name for kept in program.features.record("order").layouts] == ["by_n"]


if __name__ == "__main__":
    main(*sys.argv[1:])
