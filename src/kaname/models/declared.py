"""Declarations: `models/*.yaml` says which versions a model has, which one answers, and how it is set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeVar

import msgspec
from blake3 import blake3
from msgspec import Meta

from kaname.errors import InvalidInput
from kaname.models.config import Leaves, flatten
from kaname.models.importing.types import MAX_SHARE, TOLERANCE
from kaname.models.names import check_model, check_tag, check_version
from kaname.settings import ModelConfig

T = TypeVar("T")
Path_ = tuple[str | int, ...]
Locate = Callable[[Path, Path_], str]
"""Where in a file the value at a path of keys and positions starts, as `file:line:column`."""


class Read(Protocol):
    """Reads a YAML file as a type; raises InvalidInput whose `where` is `file:line:column`."""

    def __call__(self, path: Path, of: type[T], /) -> T:
        """The file at `path`, checked."""


class DeclaredVersion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One version; paths are relative to the project."""

    version: str
    path: str
    """The model's file; for a Python model `file.py` or `file.py:ClassName`."""
    sample: str | None = None
    metrics: dict[str, float] = {}
    tags: tuple[str, ...] = ()
    trust_pickle: bool = False
    tolerance: Annotated[float, Meta(ge=0)] = TOLERANCE
    max_share: Annotated[float, Meta(ge=0, le=1)] = MAX_SHARE
    """These three allow an import, and say nothing of what was imported: changing them later changes nothing."""


class DeclaredModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file. Without `promoted`, which version answers is left to the API (the first one to begin with)."""

    name: str
    versions: tuple[DeclaredVersion, ...]
    promoted: str | None = None
    config: ModelConfig = ModelConfig()
    """Only the fields that the file names override the defaults."""


class _Given(msgspec.Struct):
    """The same file once more, for which settings it names."""

    config: dict[str, Any] = {}


class DesiredVersion(msgspec.Struct, frozen=True, kw_only=True):
    """What matters of a declared version: its name, what it is made of (as one hash), its tags."""

    version: str
    content: str
    tags: tuple[str, ...]


class Desired(msgspec.Struct, frozen=True, kw_only=True):
    """What a declaration asks for; kept after it was applied, to tell what the file changed since."""

    name: str
    versions: tuple[DesiredVersion, ...]
    promoted: str | None
    config: Leaves


class Declaration(msgspec.Struct, frozen=True, kw_only=True):
    """A file, what it says, and what that asks for."""

    file: Path
    model: DeclaredModel
    desired: Desired


def load(project: Path, read: Read, locate: Locate) -> list[Declaration]:
    """The declarations of a project, by file name; none without a folder `models`.

    Raises InvalidInput with the place of the first fault, among them two files that declare the same model and files
    that a version names but that are not there.
    """
    folder = project / "models"
    found: dict[str, Declaration] = {}
    for file in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]):
        declaration = _declaration(project, file, read, locate)
        other = found.setdefault(declaration.model.name.lower(), declaration)
        if other is not declaration:
            raise InvalidInput(
                "two files declare the same model",
                where=locate(file, ("name",)),
                found=declaration.model.name,
                expected=f"a name that {other.file.name} does not use",
            )
    return list(found.values())


def resolve(project: Path, path: str) -> tuple[Path, str]:
    """The file that a declared path means, and the class name behind its colon or nothing."""
    whole = project / path
    if whole.exists() or ":" not in path:
        return whole, ""
    file, _, name = path.rpartition(":")
    return project / file, name


def _declaration(project: Path, file: Path, read: Read, locate: Locate) -> Declaration:
    model = read(file, DeclaredModel)
    for fault in faults(project, model, lambda *at: locate(file, at)):
        raise fault
    versions: list[DesiredVersion] = []
    for version in model.versions:
        content = _content(project, version)
        versions.append(DesiredVersion(version=version.version, content=content, tags=tuple(sorted({*version.tags}))))
    given = dict(flatten(read(file, _Given).config))
    desired = Desired(name=model.name, versions=tuple(versions), promoted=model.promoted, config=given)
    return Declaration(file=file, model=model, desired=desired)


def faults(project: Path, model: DeclaredModel, at: Callable[..., str]) -> Iterator[InvalidInput]:
    """Everything about a declaration that its types cannot say. `at` gives the place of keys and positions."""
    yield from _named(check_model, model.name, at("name"))
    seen: set[str] = set()
    for i, version in enumerate(model.versions):
        yield from _named(check_version, version.version, at("versions", i, "version"))
        if version.version.lower() in seen:
            yield InvalidInput(
                "another version has that name (case does not count)",
                where=at("versions", i, "version"),
                found=version.version,
            )
        seen.add(version.version.lower())
        for j, tag in enumerate(version.tags):
            yield from _named(check_tag, tag, at("versions", i, "tags", j))
        yield from _exists(project, resolve(project, version.path)[0], version.path, at("versions", i, "path"))
        if version.sample is not None:
            yield from _exists(project, project / version.sample, version.sample, at("versions", i, "sample"))
    names = [version.version for version in model.versions]
    if model.promoted is not None and model.promoted not in names:
        expected = f"one of the declared versions: {', '.join(names) or 'there is none'}"
        yield InvalidInput("no such version", where=at("promoted"), found=model.promoted, expected=expected)


def _named(check: Callable[[str], str], name: str, where: str) -> Iterator[InvalidInput]:
    try:
        check(name)
    except InvalidInput as error:
        yield InvalidInput(error.message, where=where, found=error.found, expected=error.expected)


def _exists(project: Path, path: Path, shown: str, where: str) -> Iterator[InvalidInput]:
    if not path.exists():
        expected = f"a path that exists in {project}"
        yield InvalidInput("there is no such file", where=where, found=shown, expected=expected)


def _content(project: Path, version: DeclaredVersion) -> str:
    """One hash over all that a version is made of, for the question whether the file's author changed any of it."""
    source, name = resolve(project, version.path)
    digest = blake3(msgspec.json.encode([name, sorted(version.metrics.items())]))
    for path in [source] if version.sample is None else [source, project / version.sample]:
        for file in _files(path):
            digest.update(blake3().update_mmap(file).digest())
        digest.update(b"|")
    return digest.hexdigest()


def _files(path: Path) -> Sequence[Path]:
    return [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
