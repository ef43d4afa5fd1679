"""YAML files in which every value knows its file, line and column.

The core schema of YAML 1.2: only `true` and `false` are booleans (`off` and `yes` are text), dates are text,
numbers have no sexagesimal or octal surprises. Duplicate keys, tags, merge keys and circular anchors are refused.
"""

from __future__ import annotations

import codecs
import re
from pathlib import Path

import msgspec
import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from kaname.errors import InvalidInput, NotFound

Path_ = tuple[str | int, ...]
"""The way from the top of a document to a value: keys of mappings and positions in lists."""

_MAY_BE_SECRET = re.compile(r"passw|secret|token|key|://", re.IGNORECASE)

MOST_VALUES = 100_000
"""Values of one document, aliases expanded; a few lines of nested anchors could otherwise fill the memory."""


class Place(msgspec.Struct, frozen=True):
    """A position in a file; lines and columns count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class Document(msgspec.Struct, frozen=True):
    """The plain value of a file (dicts, lists, text, numbers, booleans, None) and the places of its parts."""

    file: str
    value: object
    places: dict[Path_, Place]
    """Where each value starts."""
    keys: dict[Path_, Place]
    """Where the key of each value of a mapping starts."""

    def place(self, path: Path_) -> Place:
        """Where the value at `path` starts, or the nearest value that encloses it."""
        while path not in self.places:
            path = path[:-1]
        return self.places[path]

    def place_of_key(self, path: Path_) -> Place:
        """Where the key of the value at `path` starts, or the value if it has none."""
        return self.keys.get(path) or self.place(path)


class _Loader(yaml.SafeLoader):
    """Composes nodes only; which plain scalars are more than text is decided by the core schema below."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012  (as its base has it)


_CORE_SCHEMA = (
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
)
for _name, _pattern, _first in _CORE_SCHEMA:
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_name}", re.compile(f"^(?:{_pattern})$"), ["" if c == "\0" else c for c in _first]
    )


def read(path: Path, *, shown: str | None = None) -> Document:
    """The document in the file at `path`, named `shown` in errors. Raises InvalidInput with the place, NotFound."""
    name = shown or str(path)
    return parse(_bytes_of(path, name), name)


def read_text(path: Path, *, shown: str | None = None) -> str:
    """The text of the file at `path`. Raises as `read` does."""
    name = shown or str(path)
    return _decode(_bytes_of(path, name), name)


def _bytes_of(path: Path, name: str) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound("no such file", where=name) from None
    except OSError as error:
        raise InvalidInput("the file cannot be read", where=name, found=error.strerror) from error


def parse(raw: bytes, file: str) -> Document:
    """The document in `raw`; an empty file is an empty mapping. Raises InvalidInput with file, line and column."""
    text = _decode(raw, file)
    try:
        root = _Loader(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error, file, text) from None
    except yaml.reader.ReaderError as error:
        place = _place_of(text, error.position, file)
        raise InvalidInput(
            "a control character in the text", where=place, found=f"U+{ord(text[error.position]):04X}"
        ) from None
    except RecursionError:
        raise InvalidInput("nested too deeply to be read", where=f"{file}:1:1") from None
    if root is None:
        return Document(file, {}, {(): Place(file, 1, 1)}, {})
    build = _Builder(file)
    value = build.value(root, ())
    return Document(file, value, build.places, build.keys)


class _Builder:
    """Turns nodes into plain values and notes where each began."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.places: dict[Path_, Place] = {}
        self.keys: dict[Path_, Place] = {}
        self._open: list[Node] = []

    def value(self, node: Node, path: Path_) -> object:
        place = self.places[path] = self._place(node)
        if len(self.places) > MOST_VALUES:
            raise InvalidInput("too many values; nested aliases multiply", where=str(place))
        if any(node is outer for outer in self._open):
            raise InvalidInput("an alias inside the value that it names", where=str(place))
        if isinstance(node, ScalarNode):
            return self._scalar(node)
        self._open.append(node)
        self._check_tag(node, "map" if isinstance(node, MappingNode) else "seq")
        found = self._mapping(node, path) if isinstance(node, MappingNode) else self._list(node, path)
        self._open.pop()
        return found

    def _mapping(self, node: MappingNode, path: Path_) -> dict[str, object]:
        found: dict[str, object] = {}
        for key_node, value_node in node.value:
            key, place = self._key(key_node), self._place(key_node)
            if key in found:
                first = self.keys[(*path, key)]
                raise InvalidInput(f"`{key}` is here twice", where=str(place), found=f"the first in line {first.line}")
            self.keys[(*path, key)] = place
            found[key] = self.value(value_node, (*path, key))
        return found

    def _list(self, node: Node, path: Path_) -> list[object]:
        assert isinstance(node, SequenceNode)
        return [self.value(item, (*path, i)) for i, item in enumerate(node.value)]

    def _key(self, node: Node) -> str:
        place = str(self._place(node))
        if not isinstance(node, ScalarNode):
            raise InvalidInput("a key is a name", where=place, found="a list or a mapping", expected="text")
        if node.style is None and node.value == "<<":
            raise InvalidInput("merge keys are not part of YAML 1.2; write the keys out", where=place, found="<<")
        key = self._scalar(node)
        if not isinstance(key, str):
            raise InvalidInput("a key is a name", where=place, found=node.value, expected=f'text, as in "{node.value}"')
        return key

    def _scalar(self, node: ScalarNode) -> object:
        text = str(node.value)
        match node.tag.removeprefix("tag:yaml.org,2002:"):
            case "str" | "!":
                return text
            case "null":
                return None
            case "bool":
                return text.lower() == "true"
            case "int":
                return int(text, 16) if text.startswith("0x") else int(text)
            case "float":
                return float(text)
        raise self._unknown_tag(node)

    def _check_tag(self, node: Node, usual: str) -> None:
        if node.tag not in (f"tag:yaml.org,2002:{usual}", "!"):
            raise self._unknown_tag(node)

    def _unknown_tag(self, node: Node) -> InvalidInput:
        tag = node.tag.replace("tag:yaml.org,2002:", "!!")
        return InvalidInput("tags have no meaning here", where=str(self._place(node)), found=tag, expected="no tag")

    def _place(self, node: Node) -> Place:
        mark = node.start_mark
        return Place(self.file, mark.line + 1, mark.column + 1)


def _decode(raw: bytes, file: str) -> str:
    """`raw` as text; a UTF-8 byte order mark is skipped."""
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InvalidInput("the file is not UTF-8", where=f"{file}:1:1", found="UTF-16", expected="UTF-8")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode("utf-8-sig", "replace")
        raise InvalidInput(
            "the file is not UTF-8",
            where=_place_of(before, len(before), file),
            found=f"byte 0x{raw[error.start]:02x}",
            expected="UTF-8",
        ) from None


def _place_of(text: str, position: int, file: str) -> str:
    """The place of the character at `position` of `text`."""
    before = text[:position]
    return str(Place(file, before.count("\n") + 1, position - (before.rfind("\n") + 1) + 1))


def _syntax_error(error: yaml.MarkedYAMLError, file: str, text: str) -> InvalidInput:
    """The parser's complaint in the words of someone who edits the file."""
    mark = error.problem_mark or error.context_mark
    assert mark is not None
    where = str(Place(file, mark.line + 1, mark.column + 1))
    lines = text.splitlines()
    line = lines[mark.line] if mark.line < len(lines) else ""
    if line[mark.column : mark.column + 1] == "\t":
        return InvalidInput("indentation with a tab", where=where, found="a tab", expected="spaces")
    problem = (error.problem or "not YAML").removeprefix("but ")
    if error.context and "expected" not in problem:
        problem = f"{problem} ({error.context})"
    found = "a line that may hold a secret" if _MAY_BE_SECRET.search(line) else line.strip()[:60]
    return InvalidInput(f"not YAML: {problem}", where=where, found=found or "the end of the file")
