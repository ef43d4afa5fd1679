"""What is wrong with schema files, gathered: a person who edits them wants to see all of it at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from kaname.errors import InvalidInput
from kaname.features.declared import Word

MOST_LETTERS = 48
"""Of a name: families and tables of a store have no longer ones."""


class Problems:
    """Every fault found so far, each with the place of its word."""

    def __init__(self) -> None:
        self.found: list[InvalidInput] = []

    def __len__(self) -> int:
        return len(self.found)

    def add(self, message: str, at: str, found: object = None, expected: str | None = None) -> None:
        """Note a fault at `file:line:column`."""
        said = None if found is None else f"`{found}`"
        self.found.append(InvalidInput(message, where=at, found=said, expected=expected))

    def sorted(self) -> list[InvalidInput]:
        """All of them by file, from top to bottom."""
        return sorted(self.found, key=lambda problem: _place(str(problem.where)))

    def check_name(self, what: str, name: Word) -> None:
        """Note a name that is too long."""
        if len(name.text) > MOST_LETTERS:
            self.add(f"a {what} has too long a name", name.at, name, f"at most {MOST_LETTERS} letters")

    def check_twice(self, what: str, names: Iterable[Word]) -> dict[str, InvalidInput]:
        """Note each name that comes again; case does not count. Returns the last note of each, in small letters."""
        first: dict[str, Word] = {}
        twice: dict[str, InvalidInput] = {}
        for name in names:
            other = first.setdefault(name.text.lower(), name)
            if other is not name:
                self.add(
                    f"another {what} has that name (case does not count)", name.at, name, f"not that of {other.at}"
                )
                twice[name.text.lower()] = self.found[-1]
        return twice

    def check_known(self, what: str, name: Word, known: Sequence[str]) -> bool:
        """Whether `name` is in `known`; note it otherwise."""
        if name.text in known:
            return True
        near = difflib.get_close_matches(name.text, known, n=2)
        expected = " or ".join(f"`{each}`" for each in near) or f"one of {', '.join(known) or 'nothing'}"
        self.add(f"no such {what}", name.at, name, expected)
        return False


def _place(where: str) -> tuple[str, int, int]:
    file, line, column = where.rsplit(":", 2)
    return file, int(line), int(column)
