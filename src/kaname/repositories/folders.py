"""The plain repository: `MODEL/VERSION/` holds one model file, and if you like its sample and its metrics."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec

from kaname.errors import InvalidInput
from kaname.models.importing.detect import detect
from kaname.repositories.finished import SUMS
from kaname.repositories.types import Found, FoundModel, FoundVersion, Remark, Unpublished, published
from kaname.repositories.versions import folders_in, is_staged, natural, newest_first, strays

METRICS = "metrics.json"
SAMPLES = ("sample.json", "sample.csv", "sample.npy", "sample.npz")


def read(root: Path, unpublished: Unpublished = published) -> Found:
    """Every model in the repository at `root`."""
    models = tuple(_model(folder, unpublished) for folder in folders_in(root))
    return Found(kind="folders", root=root, models=models, remarks=tuple(strays(root)))


def is_model(folder: Path) -> bool:
    """Whether a folder holds versions with a model file in them."""
    return any(_is_version(each) for each in folders_in(folder))


def _is_version(folder: Path) -> bool:
    try:
        _artefact(folder)
    except InvalidInput:
        return False
    return True


def _model(folder: Path, unpublished: Unpublished) -> FoundModel:
    places = sorted(folders_in(folder), key=lambda each: natural(each.name))
    versions = tuple(_version(each, unpublished(each)) for each in places)
    remarks = [
        Remark(what=each.name, reason="a model's folder holds folders of versions", where=f"{folder.name}/{each.name}")
        for each in sorted(folder.iterdir())
        if not each.is_dir() and not is_staged(each.name)
    ]
    refused = "" if versions else f"{folder.name}: a model without a version; expected a folder per version"
    return FoundModel(
        name=folder.name,
        place=folder.name,
        versions=versions,
        preferred=newest_first(versions),
        remarks=tuple(remarks),
        refused=refused,
    )


def _version(folder: Path, pending: str | None) -> FoundVersion:
    if pending is not None:
        return FoundVersion(version=folder.name, path=folder, offer="pending", reason=pending)
    try:
        path, metrics = _artefact(folder), _metrics(folder)
    except InvalidInput as error:
        return FoundVersion(version=folder.name, path=folder, offer="refused", reason=str(error))
    sample = next((folder / name for name in SAMPLES if (folder / name).is_file()), None)
    return FoundVersion(version=folder.name, path=path, content=folder, metrics=metrics, sample=sample)


def _artefact(folder: Path) -> Path:
    """The one model in the folder of a version, or the folder itself where that is a model."""
    try:
        detect(folder)
    except InvalidInput:
        pass
    else:
        return folder
    known = {METRICS, SUMS, *SAMPLES}
    files = [each for each in sorted(folder.iterdir()) if each.name not in known and not is_staged(each.name)]
    models = [each for each in files if _is_model(each)]
    if len(models) == 1:
        return models[0]
    found = ", ".join(each.name for each in models or files) or "an empty folder"
    where = f"{folder.parent.name}/{folder.name}"
    raise InvalidInput("not one model file", where=where, found=found, expected="exactly one file that can be imported")


def _is_model(path: Path) -> bool:
    try:
        detect(path)
    except InvalidInput:
        return False
    return True


def _metrics(folder: Path) -> dict[str, float]:
    file = folder / METRICS
    if not file.is_file():
        return {}
    where = f"{folder.parent.name}/{folder.name}/{METRICS}"
    try:
        found = msgspec.json.decode(file.read_bytes(), type=dict[str, float])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidInput(f"not metrics: {error}", where=where, expected='{"name": number, …}') from error
    if bad := [name for name, value in found.items() if not math.isfinite(value)]:
        raise InvalidInput("a metric is a finite number", where=where, found=bad[0])
    return found
