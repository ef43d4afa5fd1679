"""The registry of MLflow: an export of `mlflow-export-import`, or the folder `mlruns` of its file store."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import msgspec
import yaml

from kaname.errors import InvalidInput
from kaname.models.config import Leaves
from kaname.repositories.types import Found, FoundModel, FoundVersion, Remark, Unpublished, published
from kaname.repositories.versions import folders_in, natural, tags_of

T = TypeVar("T")
EXPORTED, META = "model.json", "meta.yaml"
_CHAMPIONS = ("champion", "production")
_ARTIFACTS = re.compile(r"/artifacts(?:/(?P<path>.*))?$")


class _Version(msgspec.Struct, frozen=True, kw_only=True):
    """One registered version, as both forms know it; what else a file says is told apart by `_ignored`."""

    version: str | int
    source: str = ""
    run_id: str | None = None
    model_id: str | None = None
    current_stage: str | None = None
    status: str | int | None = None
    aliases: tuple[str, ...] = ()
    description: str | None = None


class _Registered(msgspec.Struct, frozen=True, kw_only=True):
    """One registered model of an export."""

    name: str
    description: str | None = None
    versions: tuple[_Version, ...] = ()
    latest_versions: tuple[_Version, ...] = ()
    tags: Any = None
    permissions: Any = None


class _Part(msgspec.Struct, frozen=True, kw_only=True):
    registered_model: _Registered


class _Exported(msgspec.Struct, frozen=True, kw_only=True):
    """The file `model.json`."""

    mlflow: _Part


class _Meta(msgspec.Struct, frozen=True, kw_only=True):
    """The file `meta.yaml` of a registered model."""

    name: str
    description: str | None = None


class _Metric(msgspec.Struct, frozen=True, kw_only=True):
    value: float | None = None
    step: int = 0
    timestamp: int = 0


def read(root: Path, unpublished: Unpublished = published) -> Found:
    """Every registered model in an export or a registry at `root`."""
    exported = [_exported(root, file, unpublished) for file in exports(root)]
    registered = [_stored(root, folder, unpublished) for folder in registries(root)]
    return Found(kind="mlflow", root=root, models=tuple(sorted(exported + registered, key=lambda model: model.name)))


def exports(root: Path) -> list[Path]:
    """The files of exported models: of one, of several, or of a whole export with its runs."""
    places = [root, *folders_in(root)]
    if (root / "models").is_dir():
        places += folders_in(root / "models")
    found = {place / EXPORTED for place in places if (place / EXPORTED).is_file()}
    return sorted(file for file in found if b'"registered_model"' in file.read_bytes())


def registries(root: Path) -> list[Path]:
    """The folders of registered models in a file store: `root` is `models`, `mlruns`, or what holds `mlruns`."""
    for place in (root / "mlruns" / "models", root / "models", root):
        found = [each for each in folders_in(place) if (each / META).is_file()] if place.is_dir() else []
        if found := [each for each in found if any(each.glob("version-*")) or place.name == "models"]:
            return found
    return []


# --- an export ------------------------------------------------------------------------------------------


def _exported(root: Path, file: Path, unpublished: Unpublished) -> FoundModel:
    place = file.parent.relative_to(root).as_posix()
    try:
        said = _decoded(file, _Exported, f"{place}/{EXPORTED}").mlflow.registered_model
    except InvalidInput as error:
        return FoundModel(name=file.parent.name, place=place, refused=str(error))
    runs = _Runs([file.parent, *root.glob("experiments/*"), *root.glob("experiments/*/logged_models")])
    ignored = [
        Remark(what=name, reason="no equal", where=f"{place}/{EXPORTED}")
        for name in ("tags", "permissions")
        if getattr(said, name)
    ]
    return _model(said, place, (said.versions or said.latest_versions), runs, unpublished, ignored)


class _Runs:
    """Where the files of a version may lie."""

    def __init__(self, folders: Iterable[Path]) -> None:
        self._folders = list(folders)

    def candidates(self, version: _Version) -> Iterator[Path]:
        """Folders that may hold the model of a version, the likeliest first."""
        source = version.source
        given = Path(unquote(urlsplit(source).path)) if source.startswith(("/", "file:")) else None
        found = _ARTIFACTS.search(source)
        inside = (found and found["path"]) or ""
        if source.startswith("runs:/"):
            inside = source.removeprefix("runs:/").partition("/")[2]
        for folder in self._folders:
            yield folder / "version_models" / str(version.version)
            if version.run_id:
                yield folder / version.run_id / "artifacts" / inside
            for name in {*([version.model_id] if version.model_id else []), *_logged(source)}:
                yield from (folder / name, folder / name / "artifacts", folder / "models" / name / "artifacts")
        if given is not None:
            yield given
            for folder in self._folders:
                yield from (folder.joinpath(*given.parts[depth:]) for depth in range(1, len(given.parts)))

    def metrics(self, version: _Version) -> dict[str, float]:
        """The last finite value of each metric of the run that made a version."""
        if not version.run_id:
            return {}
        for folder in self._folders:
            run = folder / version.run_id
            if (run / "run.json").is_file():
                return _exported_metrics(run / "run.json")
            if (run / "metrics").is_dir():
                return _stored_metrics(run / "metrics")
        return {}


def _logged(source: str) -> list[str]:
    """The number of a logged model in a source, as MLflow 3 has it."""
    return re.findall(r"(?:^models:/|/models/)(m-[0-9a-f]+)", source)


def _exported_metrics(file: Path) -> dict[str, float]:
    try:
        run = msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
        series = msgspec.convert(run["mlflow"].get("metrics", {}), dict[str, list[_Metric]])
    except (msgspec.MsgspecError, KeyError, AttributeError, OSError):
        return {}
    last = {
        name: max(values, key=lambda one: (one.step, one.timestamp)).value for name, values in series.items() if values
    }
    return _finite(last)


def _stored_metrics(folder: Path) -> dict[str, float]:
    found: dict[str, float | None] = {}
    for file in sorted(folder.iterdir()):
        try:
            found[file.name] = float(file.read_text().splitlines()[-1].split()[1])
        except (OSError, IndexError, ValueError):
            continue
    return _finite(found)


def _finite(values: Mapping[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None and math.isfinite(value)}


# --- a file store ---------------------------------------------------------------------------------------


def _stored(root: Path, folder: Path, unpublished: Unpublished) -> FoundModel:
    place = folder.relative_to(root).as_posix()
    try:
        meta = _yaml(folder / META, _Meta, f"{place}/{META}")
        aliases: dict[str, list[str]] = {}
        for file in sorted((folder / "aliases").glob("*")):
            aliases.setdefault(file.read_text().strip(), []).append(file.name)
        versions = []
        for each in sorted(folder.glob("version-*")):
            found = _yaml(each / META, _Version, f"{place}/{each.name}/{META}")
            names = tuple(dict.fromkeys([*found.aliases, *aliases.get(str(found.version), [])]))
            versions.append(msgspec.structs.replace(found, aliases=names))
    except InvalidInput as error:
        return FoundModel(name=folder.name, place=place, refused=str(error))
    said = _Registered(name=meta.name, description=meta.description)
    store = folder.parent.parent
    runs = _Runs([*folders_in(store), store.parent])
    ignored = [
        Remark(what=f"{each.relative_to(folder)}", reason="no equal", where=f"{place}/{each.relative_to(folder)}")
        for each in [*folder.glob("tags/*"), *folder.glob("version-*/tags/*")]
    ]
    return _model(said, place, tuple(versions), runs, unpublished, ignored)


# --- both -----------------------------------------------------------------------------------------------


def _model(
    said: _Registered,
    place: str,
    versions: tuple[_Version, ...],
    runs: _Runs,
    unpublished: Unpublished,
    remarks: list[Remark],
) -> FoundModel:
    ordered = sorted(versions, key=lambda one: natural(str(one.version)))
    if not ordered:
        return FoundModel(name=said.name, place=place, refused=f"{place}: a registered model without a version")
    config: Leaves = {"description": said.description} if said.description else {}
    found = []
    for one in ordered:
        stage = [one.current_stage] if one.current_stage not in (None, "", "None") else []
        tags, unfit = tags_of([*map(str, stage), *one.aliases], place)
        remarks += unfit
        if one.description:
            remarks.append(Remark(what=f"description of version {one.version}", reason="no equal", where=place))
        found.append(_version(one, tags, place, runs, unpublished))
    return FoundModel(
        name=said.name,
        place=place,
        versions=tuple(found),
        preferred=_preferred(ordered),
        config=config,
        remarks=tuple(remarks),
    )


def _version(one: _Version, tags: tuple[str, ...], place: str, runs: _Runs, unpublished: Unpublished) -> FoundVersion:
    name = str(one.version)
    folder = next((each for each in runs.candidates(one) if (each / "MLmodel").is_file()), None)
    path = folder or Path(place)
    if (one.current_stage or "").lower() == "archived":
        return FoundVersion(version=name, path=path, offer="skipped", reason="archived in the registry")
    if str(one.status) not in ("READY", "None"):
        return FoundVersion(version=name, path=path, offer="skipped", reason=f"not ready in the registry: {one.status}")
    if folder is None:
        reason = f"{place}: its files are not there; found source {one.source!r}; expected a folder with MLmodel in it"
        return FoundVersion(version=name, path=path, offer="refused", reason=reason)
    if (pending := unpublished(folder)) is not None:
        return FoundVersion(version=name, path=path, offer="pending", reason=pending)
    return FoundVersion(version=name, path=folder, tags=tags, metrics=runs.metrics(one))


def _preferred(ordered: list[_Version]) -> tuple[str, ...]:
    """The version that the registry holds for the best: by stage, by alias, else the newest."""

    def rank(one: _Version) -> int:
        if (one.current_stage or "").lower() == "production":
            return 0
        aliases = {alias.lower() for alias in one.aliases}
        return next((1 + i for i, name in enumerate(_CHAMPIONS) if name in aliases), 9)

    newest = [*reversed(ordered)]
    newest.sort(key=rank)
    return tuple(str(one.version) for one in newest)


def _decoded(file: Path, of: type[T], shown: str) -> T:
    try:
        return msgspec.json.decode(file.read_bytes(), type=of)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidInput(f"not what it should be: {error}", where=shown) from error


def _yaml(file: Path, of: type[T], shown: str) -> T:
    try:
        return msgspec.convert(yaml.safe_load(file.read_bytes()), of, strict=False)
    except (msgspec.MsgspecError, yaml.YAMLError, OSError) as error:
        said = str(error).replace("\n", " ")
        raise InvalidInput(f"not what it should be: {said}", where=shown) from error
