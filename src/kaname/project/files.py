"""Reads the files of one project, named in errors relative to it."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from kaname.errors import KanameError
from kaname.project.document import Document, read, read_text
from kaname.project.typed import problems_in, read_yaml

T = TypeVar("T")


class Files:
    """What `models.declared`, `models.reconcile` and `features` need to know of files: values, places, text."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self, path: Path, of: type[T], /) -> T:
        """The file as an `of`; raises its first problem with `file:line:column`."""
        return read_yaml(path, of, shown=self._shown(path))

    def locate(self, path: Path, at: tuple[str | int, ...], /) -> str:
        """Where the value at `at` starts."""
        return str(self.document(path).place(at))

    def document(self, path: Path) -> Document:
        """The file with all its places."""
        return read(path, shown=self._shown(path))

    def examined(self, path: Path, of: type[T], /) -> tuple[Document, T | None, list[KanameError]]:
        """The file, and what it says as an `of` or everything that is wrong with it."""
        document = self.document(path)
        return document, *problems_in(document, of)

    def text(self, path: Path) -> tuple[str, str]:
        """How errors name the file, and its text; for files that are not YAML."""
        shown = self._shown(path)
        return shown, read_text(path, shown=shown)

    def _shown(self, path: Path) -> str:
        return str(path.relative_to(self._root))
