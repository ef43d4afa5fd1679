"""What every command prints alike: errors for people, one JSON document for machines."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from kaname.errors import InvalidInput, KanameError
from kaname.terminal import console


def print_json(value: object) -> None:
    """One JSON document on standard output; Structs become objects."""
    import msgspec

    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value)).decode() + "\n")


def problem_of(error: KanameError) -> dict[str, object]:
    """An error as machines read it: the members of a problem document that make sense without HTTP."""
    members = {
        "code": error.code,
        "detail": error.message,
        "where": error.where,
        "found": error.found,
        "expected": error.expected,
    }
    return {name: value for name, value in members.items() if value is not None}


def print_error(error: KanameError) -> None:
    """A short message in red: what failed, where, what was found, what was expected."""
    from rich.text import Text

    out = console(stderr=True)
    out.print(Text.assemble(("error: ", "bold red"), (error.message, "red")))
    for name in ("where", "found", "expected"):
        if (value := getattr(error, name)) is not None:
            out.print(Text.assemble((f"  {name:9}", "dim"), str(value)))


def exit_code(error: KanameError) -> int:
    """2 when the command was given something wrong, 1 when it could not be done."""
    return 2 if isinstance(error, InvalidInput) else 1


def report(error: KanameError, *, as_json: bool) -> int:
    """Print `error` and return the exit code."""
    if as_json:
        sys.stdout.write(json.dumps(problem_of(error), indent=2) + "\n")
    else:
        print_error(error)
    return exit_code(error)


def print_problems(problems: Sequence[KanameError]) -> None:
    """One line per problem, as compilers write them, so that editors can jump to the place."""
    from rich.text import Text

    out = console()
    for problem in problems:
        out.print(Text.assemble((problem.where or "", "bold"), ": " if problem.where else "", problem.message))
        if problem.found is not None:
            out.print(Text.assemble(("    found     ", "dim"), problem.found))
        if problem.expected is not None:
            out.print(Text.assemble(("    expected  ", "dim"), problem.expected))
