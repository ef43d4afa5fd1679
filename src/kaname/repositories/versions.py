"""Numbered version folders, as Triton and TensorFlow Serving have them, and which of them a policy chooses."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec

from kaname.errors import InvalidInput
from kaname.models.names import check_tag
from kaname.repositories.section import Section
from kaname.repositories.types import FoundVersion, Remark, Unpublished

_STAGED = re.compile(r"[._].*|.*(~|\.(tmp|part|partial))", re.IGNORECASE)
_DIGITS = re.compile(r"(\d+)")
OUTSIDE = "outside the version policy"


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """Which versions are to be served: the `latest` so many, those named, or all (`latest` None, nothing named)."""

    latest: int | None = 1
    specific: frozenset[int] = frozenset()

    @classmethod
    def of(cls, section: Section | None, latest: str) -> Policy:
        """What a version policy says; `latest`: the field of the section `latest` that says how many.

        Raises InvalidInput for one that chooses nothing.
        """
        if section is None:
            return cls()
        if (specific := section.section("specific")) is not None:
            numbers = frozenset(specific.wholes("versions"))
            if not numbers:
                raise InvalidInput(
                    "the version policy names no version", where=section.place("specific"), expected="versions: [ … ]"
                )
            return cls(latest=None, specific=numbers)
        if section.section("all") is not None:
            return cls(latest=None)
        newest = section.section("latest")
        count = None if newest is None else newest.whole(latest)
        if count is not None and count < 1:
            raise InvalidInput(
                "the version policy chooses nothing",
                where=section.place("latest"),
                found=str(count),
                expected="1 or more",
            )
        return cls(latest=count or 1)

    def chosen(self, numbers: Sequence[int]) -> set[int]:
        """Those of `numbers` that are to be served."""
        if self.specific:
            return set(numbers) & self.specific
        return set(sorted(numbers)[-self.latest :] if self.latest else numbers)


def is_staged(name: str) -> bool:
    """Whether a name says that what bears it is hidden or not finished: `.x`, `_x`, `x~`, `x.tmp`, `x.part`."""
    return _STAGED.fullmatch(name) is not None


def folders_in(folder: Path) -> list[Path]:
    """The folders in `folder` that are meant to be seen, by name."""
    with os.scandir(folder) as entries:
        return [
            folder / name
            for name in sorted(each.name for each in entries if not is_staged(each.name) and each.is_dir())
        ]


def strays(root: Path) -> list[Remark]:
    """What lies at the top of a repository, where folders of models are expected, and is none."""
    found = (each for each in sorted(root.iterdir()) if not each.is_dir() and not is_staged(each.name))
    return [Remark(what=each.name, reason="not the folder of a model", where=each.name) for each in found]


def tags_of(names: Iterable[str], where: str) -> tuple[tuple[str, ...], list[Remark]]:
    """Those of the labels that can be tags here, sorted, and a remark for each that cannot."""
    tags, unfit = set(), []
    for name in names:
        try:
            tags.add(check_tag(name))
        except InvalidInput as error:
            unfit.append(Remark(what=f"label {name}", reason=str(error), where=where))
    return tuple(sorted(tags)), unfit


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """A key by which `v9` comes before `v10`."""
    parts = [part for part in _DIGITS.split(name) if part]
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts)


def is_number(name: str) -> bool:
    """Whether a folder's name is a version's number: digits that do not begin with 0."""
    return name.isascii() and name.isdecimal() and not name.startswith("0")


def numbered(
    folder: Path, policy: Policy, artefact_of: Callable[[Path], Path], unpublished: Unpublished
) -> tuple[FoundVersion, ...]:
    """The numbered versions in the folder of a model, oldest first.

    `artefact_of` gives the file or folder in a version's folder that an import takes; it raises InvalidInput.
    """
    places = sorted((each for each in folders_in(folder) if is_number(each.name)), key=lambda each: int(each.name))
    why = {each: unpublished(each) for each in places}
    chosen = policy.chosen([int(each.name) for each in places if why[each] is None])
    return tuple(_found(each, why[each], int(each.name) in chosen, artefact_of) for each in places)


def _found(place: Path, pending: str | None, chosen: bool, artefact_of: Callable[[Path], Path]) -> FoundVersion:
    if pending is not None:
        return FoundVersion(version=place.name, path=place, offer="pending", reason=pending)
    if not chosen:
        return FoundVersion(version=place.name, path=place, offer="skipped", reason=OUTSIDE)
    try:
        return FoundVersion(version=place.name, path=artefact_of(place), content=place)
    except InvalidInput as error:
        return FoundVersion(version=place.name, path=place, offer="refused", reason=str(error))


def newest_first(versions: Sequence[FoundVersion]) -> tuple[str, ...]:
    """The names of all versions, the newest first."""
    return tuple(version.version for version in reversed(versions))
