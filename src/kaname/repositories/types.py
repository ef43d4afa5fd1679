"""What is found in a repository, and what became of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Literal

import msgspec

from kaname.models.config import Leaves

Kind = Literal["triton", "mlserver", "tensorflow", "mlflow", "folders"]
Doing = Callable[[str], AbstractContextManager[object]]
Unpublished = Callable[[Path], str | None]
"""Why the folder of a version may not be looked into yet, or None: it is finished."""
Offer = Literal["offered", "skipped", "pending", "refused"]
"""What a repository says of a version: to be taken, left out by its policy, still being written, not readable."""
Outcome = Literal["taken", "there", "skipped", "pending", "refused", "gone", "possible"]
"""What became of a version: `there`: taken before; `gone`: no longer in the repository; `possible`: of a dry run."""


def published(_: Path) -> str | None:
    """For a repository that nobody writes to: every version is finished."""
    return None


class How(msgspec.Struct, frozen=True, kw_only=True):
    """How a repository is taken over."""

    who: str
    trust_pickle: bool = False
    withdraw: bool = False
    """Archive versions and unload models that are gone from the repository; else they stay."""
    dry_run: bool = False
    """Say what could be taken, and change nothing."""
    doing: Doing = nullcontext
    """Tells a person what goes on while the context lasts."""


class Remark(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was not taken over."""

    what: str
    """A field as its file spells it, a file, or a folder."""
    reason: str
    where: str
    """`model/config.pbtxt:7:1`, relative to the repository."""


class TensorName(msgspec.Struct, frozen=True, kw_only=True):
    """An input or output that a repository declares beside the model."""

    name: str
    datatype: str
    """As the Open Inference Protocol names it; empty: not said."""
    where: str


class FoundVersion(msgspec.Struct, frozen=True, kw_only=True):
    """One version as it lies in the repository."""

    version: str
    """Its name; empty where the repository has none: it is then counted, a new one for each new content."""
    path: Path
    """The model's file or folder, as an import takes it."""
    content: Path | None = None
    """The file or folder whose bytes tell whether the version is still the same; None: `path`."""
    offer: Offer = "offered"
    reason: str = ""
    """Why it is not offered."""
    tags: tuple[str, ...] = ()
    metrics: dict[str, float] = {}
    sample: Path | None = None
    labels: dict[str, Path] = {}
    """Output -> a file with a line for the class of each of its columns."""


class FoundModel(msgspec.Struct, frozen=True, kw_only=True):
    """One model of a repository, with everything that is said of it there."""

    name: str
    place: str
    """Its folder, relative to the repository."""
    versions: tuple[FoundVersion, ...] = ()
    preferred: tuple[str, ...] = ()
    """Versions in the order in which they should answer: the first that could be taken does."""
    config: Leaves = {}
    """Settings of the model that have an equal here, by dotted name."""
    tensors: tuple[TensorName, ...] = ()
    remarks: tuple[Remark, ...] = ()
    refused: str = ""
    """Why nothing of it can be taken; empty: it can."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A whole repository."""

    kind: Kind
    root: Path
    models: tuple[FoundModel, ...]
    remarks: tuple[Remark, ...] = ()
    """What belongs to no model: settings of the server, files that nothing names."""


class VersionReport(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one version."""

    version: str
    outcome: Outcome
    reason: str = ""
    notes: tuple[str, ...] = ()
    """What the import said."""


class ModelReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was taken over of one model, and what was not."""

    model: str
    place: str
    versions: tuple[VersionReport, ...] = ()
    answers: str | None = None
    """The version that answers afterwards."""
    config: Leaves = {}
    """Settings taken over."""
    changes: tuple[str, ...] = ()
    """What was changed this time, besides versions that came."""
    drift: tuple[str, ...] = ()
    """What others changed since; it stands."""
    not_taken: tuple[Remark, ...] = ()
    refused: str = ""
    """Why nothing was taken over; empty: something was."""
    seen: str = ""
    """Where the repository is watched: differs whenever a file of the model changed."""

    @property
    def whole(self) -> bool:
        """Whether no model and no version was refused."""
        return not self.refused and all(each.outcome != "refused" for each in self.versions)


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What was taken over of a repository."""

    kind: Kind
    path: str
    models: tuple[ModelReport, ...]
    not_taken: tuple[Remark, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether no model and no version was refused."""
        return all(model.whole for model in self.models)
