"""What TensorFlow Serving serves: a base path of numbered SavedModels, several of them, or a `models.config`.

The fields are those of `model_server_config.proto` and `file_system_storage_path_source.proto`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from kaname.errors import InvalidInput
from kaname.repositories.section import Section
from kaname.repositories.types import Found, FoundModel, FoundVersion, Remark, Unpublished, published
from kaname.repositories.versions import (
    Policy,
    folders_in,
    is_number,
    is_staged,
    newest_first,
    numbered,
    strays,
    tags_of,
)

CONFIG = "models.config"
GRAPHS = ("saved_model.pb", "saved_model.pbtxt")
LITE = "model.tflite"
_LABEL = "a label stands for one version: none of that number is there"
_REASONS = {
    "logging_config": "every prediction is recorded",
    "model_type": "what the model is, is read from its files",
    "custom_model_config": "servables of other kinds are not served",
}


def read(root: Path, unpublished: Unpublished = published) -> Found:
    """The models that `models.config` names, else those whose base paths `root` is or holds."""
    if (root / CONFIG).is_file():
        return _configured(root, unpublished)
    if is_base(root):
        return Found(kind="tensorflow", root=root, models=(_Base(root, ".", root.name).model(unpublished),))
    models = tuple(_Base(each, each.name, each.name).model(unpublished) for each in folders_in(root))
    return Found(kind="tensorflow", root=root, models=models, remarks=tuple(strays(root)))


def is_base(folder: Path) -> bool:
    """Whether a folder holds numbered versions of a TensorFlow model."""
    numbers = (each for each in folders_in(folder) if is_number(each.name))
    return any((each / name).is_file() for each in numbers for name in (*GRAPHS, LITE))


def _configured(root: Path, unpublished: Unpublished) -> Found:
    """Raises InvalidInput where `models.config` cannot be read: nothing else says which models there are."""
    says = Section.of_textproto(root / CONFIG, CONFIG)
    models: list[FoundModel] = []
    for listed in says.sections("model_config_list"):
        models += [_entry(root, entry, unpublished) for entry in listed.sections("config")]
    remarks = list(says.left(_REASONS))
    names = [model.name for model in models]
    for i, model in enumerate(models):
        if model.name in names[:i]:
            refused = f"{CONFIG} has this model twice"
            models[i] = FoundModel(name=model.name, place=model.place, refused=refused)
    return Found(kind="tensorflow", root=root, models=tuple(models), remarks=tuple(remarks))


def _entry(root: Path, entry: Section, unpublished: Unpublished) -> FoundModel:
    name, base = "", ""
    try:
        name, base = entry.text("name") or "", entry.text("base_path") or ""
        if not name or not base:
            raise InvalidInput(
                "a model needs a name and a base path",
                where=entry.place("name" if name else "base_path" if base else ""),
                expected="name and base_path",
            )
        platform = entry.text("model_platform") or "tensorflow"
        if platform != "tensorflow":
            raise InvalidInput(
                "no runtime executes this platform",
                where=entry.place("model_platform"),
                found=platform,
                expected="tensorflow",
            )
        folder, moved = _base_of(root, base, entry.place("base_path"))
        policy = Policy.of(entry.section("model_version_policy"), "num_versions")
        labels = {key: section.whole("value") or 0 for key, section in entry.pairs("version_labels")}
        place = folder.relative_to(root).as_posix() if folder.is_relative_to(root) else str(folder)
        model = _Base(folder, place, name, policy, labels, entry.place("version_labels")).model(unpublished)
        return msgspec.structs.replace(model, remarks=(*model.remarks, *moved, *entry.left(_REASONS)))
    except InvalidInput as error:
        return FoundModel(name=name or "(without a name)", place=base, refused=str(error))


def _base_of(root: Path, base: str, where: str) -> tuple[Path, list[Remark]]:
    """The folder that a base path means, found beside the file when it was written for another machine."""
    given = Path(base.removeprefix("file://"))
    if (root / given).is_dir():
        return root / given, []
    for depth in range(1, len(given.parts)):
        here = root.joinpath(*given.parts[depth:])
        if here.is_dir():
            return here, [Remark(what="base_path", reason=f"not on this machine: read {here} instead", where=where)]
    raise InvalidInput("there is no such folder", where=where, found=base, expected=f"one of that name in {root}")


class _Base:
    """One base path."""

    def __init__(
        self,
        folder: Path,
        place: str,
        name: str,
        policy: Policy | None = None,
        labels: dict[str, int] | None = None,
        labels_at: str = "",
    ) -> None:
        self._folder = folder
        self._place = place
        self._name = name
        self._policy = policy or Policy()
        self._labels = labels or {}
        self._labels_at = labels_at

    def model(self, unpublished: Unpublished) -> FoundModel:
        versions = numbered(self._folder, self._policy, _artefact, unpublished)
        fit, unfit = tags_of(self._labels, self._labels_at)
        if not versions:
            refused = f"{self._place}: a base path without a numbered version"
            return FoundModel(name=self._name, place=self._place, refused=refused)
        return FoundModel(
            name=self._name,
            place=self._place,
            versions=tuple(self._labelled(version, fit) for version in versions),
            preferred=newest_first(versions),
            remarks=(*unfit, *self._unplaced(versions), *self._unread()),
        )

    def _labelled(self, version: FoundVersion, fit: tuple[str, ...]) -> FoundVersion:
        tags = tuple(label for label in fit if str(self._labels[label]) == version.version)
        return msgspec.structs.replace(version, tags=tags)

    def _unplaced(self, versions: tuple[FoundVersion, ...]) -> Iterator[Remark]:
        numbers = {version.version for version in versions if version.offer == "offered"}
        for label, number in self._labels.items():
            if str(number) not in numbers:
                yield Remark(what=f"version_labels.{label}", reason=f"{_LABEL} ({number})", where=self._labels_at)

    def _unread(self) -> Iterator[Remark]:
        for each in sorted(self._folder.iterdir()):
            if not is_staged(each.name) and not (each.is_dir() and is_number(each.name)):
                reason = "not a version's number" if each.is_dir() else "a base path holds numbered folders"
                yield Remark(what=each.name, reason=reason, where=f"{self._place}/{each.name}")


def _artefact(version: Path) -> Path:
    if any((version / name).is_file() for name in GRAPHS):
        return version
    if (version / LITE).is_file():
        return version / LITE
    found = ", ".join(sorted(each.name for each in version.iterdir())) or "an empty folder"
    where = f"{version.parent.name}/{version.name}"
    raise InvalidInput("not a SavedModel", where=where, found=found, expected=" or ".join((*GRAPHS, LITE)))
