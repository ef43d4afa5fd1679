"""From a document to a typed value: msgspec checks, and its complaints gain the place in the file.

msgspec stops at its first complaint. To list all of them, the offending value is taken out and the rest checked again.
"""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from kaname.errors import InvalidInput, KanameError, first_of
from kaname.project.document import Document, Path_, read
from kaname.secret import Secret, secret_hook

T = TypeVar("T")

WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "object": "a mapping",
    "array": "a list",
    "null": "nothing",
}
"""The data model's names in the words of the person who edits the file."""

_PATH = re.compile(r"^(?P<what>.*?)(?: - at (?P<key>`key` in )?`\$(?P<path>.*)`)?$", re.DOTALL)
_PART = re.compile(r"\.(?P<name>[^.\[]+)|\[(?P<index>\d+|\.\.\.)\]")
_FIELD = re.compile(r"^Object (?P<what>contains unknown|missing required) field `(?P<name>.*)`$", re.DOTALL)
_EXPECTED = re.compile(r"^Expected `(?P<type>[^`]+)`(?P<rest>.*)$", re.DOTALL)


def read_yaml(path: Path, of: type[T], *, shown: str | None = None) -> T:
    """The file at `path` as an `of`. Raises its first problem, which says how many more there are."""
    value, problems = problems_in(read(path, shown=shown), of)
    if value is None:
        raise first_of(problems)
    return value


def problems_in(document: Document, of: type[T]) -> tuple[T | None, list[KanameError]]:
    """The document as an `of` and no problem, or None and everything that is wrong with it, top to bottom."""
    try:
        return msgspec.convert(document.value, of, dec_hook=secret_hook), []
    except msgspec.ValidationError:
        problems = _all_problems(document, of)
        return None, sorted(problems, key=_order)


def _order(problem: KanameError) -> tuple[int, ...]:
    return tuple(int(part) for part in str(problem.where).rsplit(":", 2)[1:])


def _all_problems(document: Document, of: type[T]) -> list[KanameError]:
    value, rest, problems = copy.deepcopy(document.value), _Rest(), list[KanameError]()
    while True:
        try:
            msgspec.convert(value, of, dec_hook=secret_hook)
        except msgspec.ValidationError as error:
            complaint = _Complaint(str(error), value, of)
            at = complaint.path
            if not (complaint.kind == "missing" and rest.original(at) in rest.gone):
                problems.append(complaint.problem(document, rest.original(at)))
            # A mapping that lacks a key cannot be mended: it is taken out whole.
            at = at[:-1] if complaint.kind == "missing" else at
            if not at:
                return problems
            rest.take_out(value, at)
        else:
            return problems


class _Rest:
    """What is left of a document after parts of it were taken out, and how its paths map to the original ones."""

    def __init__(self) -> None:
        self.gone: set[Path_] = set()

    def take_out(self, value: object, path: Path_) -> None:
        """Remove the value at `path` of the rest."""
        self.gone.add(self.original(path))
        parent = _at(value, path[:-1])
        del parent[path[-1]]  # type: ignore[attr-defined]  # a dict or a list, as the path says

    def original(self, path: Path_) -> Path_:
        """`path` of the rest as a path of the whole: items of a list before it may be gone."""
        found: Path_ = ()
        for part in path:
            if isinstance(part, int):
                for gone in sorted(p[-1] for p in self.gone if p[:-1] == found and isinstance(p[-1], int)):
                    part += gone <= part
            found = (*found, part)
        return found


class _Complaint:
    """One message of msgspec about `value`, taken apart."""

    def __init__(self, message: str, value: object, of: Any) -> None:
        self.of = of
        found = _PATH.match(message)
        assert found is not None
        self.what = found["what"]
        self.path = _resolve(found["path"] or "", message, value, of)
        self.kind = "key" if found["key"] else "value"
        if field := _FIELD.match(self.what):
            self.kind = "unknown" if field["what"] == "contains unknown" else "missing"
            self.path = (*self.path, field["name"])

    def problem(self, document: Document, path: Path_) -> InvalidInput:
        """The complaint about the value at `path` of the document."""
        name = _dotted(path)
        if self.kind == "missing":
            return InvalidInput(f"`{name}` is missing", where=str(document.place(path[:-1])))
        if self.kind == "unknown":
            fields = [field.encode_name for field in fields_at(self.of, self.path[:-1])]
            return InvalidInput(
                f"unknown key `{self.path[-1]}`",
                where=str(document.place_of_key(path)),
                expected=near(str(self.path[-1]), fields),
            )
        value, where = _at(document.value, path), str(document.place(path))
        if not self.what.startswith(("Expected", "Invalid")):  # a rule of the type itself, in its own words
            return InvalidInput(f"`{name}`: {self.what}" if name else self.what, where=where)
        expected = expectation(self.what, type_at(self.of, self.path))
        if expected == "text" and isinstance(value, int | float):
            expected = f'text, as in "{shown_value(value)}"'
        return InvalidInput(
            f"`{name}` is not what it should be" if name else "not what it should be",
            where=where,
            found=shown_value(value),
            expected=expected,
        )


def expectation(what: str, kind: inspect.Type | None) -> str:
    """What msgspec's message asks for, in plain words."""
    literal = next((t for t in _alternatives(kind) if isinstance(t, inspect.LiteralType)), None)
    if literal is not None:
        return " or ".join(str(v) for v in literal.values)
    found = _EXPECTED.match(what)
    if found is None:
        return what
    words = " or ".join(WORDS.get(name, name) for name in found["type"].split(" | "))
    return words + found["rest"].split(", got ")[0]


def near(name: str, names: list[str]) -> str:
    """`names`, or the few that `name` was probably meant to be."""
    from difflib import get_close_matches

    meant = name.lower().replace("-", "_")
    close = get_close_matches(meant, names, n=2, cutoff=0.6) or [n for n in names if len(meant) > 2 and meant in n]
    if close:
        return " or ".join(f"`{match}`" for match in close)
    return "one of " + ", ".join(sorted(names)) if names else "nothing"


def shown_value(value: object) -> str:
    """A short form of a value for an error."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = "nothing" if value is None else msgspec.json.encode(value).decode()
    return text if len(text) <= 60 else text[:57] + "…"


def fields_at(of: Any, path: Path_) -> tuple[inspect.Field, ...]:
    """The fields of the Struct at `path` inside the type `of`; none when there is no Struct."""
    structs = [t for t in _alternatives(type_at(of, path)) if isinstance(t, inspect.StructType)]
    return tuple(field for struct in structs for field in struct.fields)


def type_at(of: Any, path: Path_) -> inspect.Type | None:
    """The type of the value at `path` inside the type `of`."""
    kinds = _alternatives(inspect.type_info(of))
    for part in path:
        kinds = [inner for kind in kinds for inner in _inside(kind, part)]
    return inspect.UnionType(tuple(kinds)) if kinds else None


def _alternatives(kind: inspect.Type | None) -> list[inspect.Type]:
    if isinstance(kind, inspect.Metadata):
        return _alternatives(kind.type)
    if isinstance(kind, inspect.UnionType):
        return [inner for alternative in kind.types for inner in _alternatives(alternative)]
    return [] if kind is None else [kind]


def is_secret(kind: inspect.Type | None) -> bool:
    """Whether a value of this type must not be shown."""
    return any(isinstance(inner, inspect.CustomType) and inner.cls is Secret for inner in _alternatives(kind))


def _inside(kind: inspect.Type, part: str | int) -> list[inspect.Type]:
    if isinstance(kind, inspect.StructType):
        return [inner for f in kind.fields if f.encode_name == part for inner in _alternatives(f.type)]
    if isinstance(kind, inspect.DictType):
        return _alternatives(kind.value_type)
    if isinstance(kind, inspect.ListType | inspect.VarTupleType):
        return _alternatives(kind.item_type)
    return []


def _resolve(path: str, message: str, value: object, of: Any) -> Path_:
    """The path of a message; msgspec writes `[...]` for any key of a mapping, so each is tried alone."""
    found: Path_ = ()
    for part in _PART.finditer(path):
        if part["index"] == "...":
            found = (*found, _culprit(found, message, value, of))
        else:
            found = (*found, part["name"] if part["index"] is None else int(part["index"]))
    return found


def _culprit(path: Path_, message: str, value: object, of: Any) -> str:
    """The key of the mapping at `path` whose value alone brings the same message."""
    mapping = _at(value, path)
    assert isinstance(mapping, dict)
    for key in mapping:
        alone = copy.deepcopy(value)
        inner = _at(alone, path)
        assert isinstance(inner, dict)
        for other in mapping:
            if other != key:
                del inner[other]
        try:
            msgspec.convert(alone, of, dec_hook=secret_hook)
        except msgspec.ValidationError as error:
            if str(error) == message:
                return str(key)
    raise AssertionError(message)


def _at(value: object, path: Path_) -> object:
    for part in path:
        value = value[part]  # type: ignore[index]  # the path was found in this very value
    return value


def _dotted(path: Path_) -> str:
    out = ""
    for part in path:
        out += f"[{part}]" if isinstance(part, int) else f".{part}" if out else part
    return out
