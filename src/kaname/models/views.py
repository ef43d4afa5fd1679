"""What requests to `/api/v1/models…` say and are answered, beside the facts in `types.py`."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from kaname.models.importing.types import Method
from kaname.models.types import ModelInfo, VersionInfo, VersionStatus
from kaname.signature import Feature, Label, OutputSpec, Task
from kaname.tensors import TensorSpec
from kaname.web.paging import Limit


class Wait(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long to wait for the workers."""

    wait_s: Annotated[float, Meta(ge=0, le=300, description="Longest wait for all workers to apply it.")] = 30.0


class After(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which part of the change journal is asked for."""

    limit: Limit = 100
    after: Annotated[int, Meta(ge=0, description="Only changes after this number.")] = 0


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """How far a change has come. It holds as soon as it is in the journal; `laggards` still answer as before."""

    seq: Annotated[int, Meta(description="Number of the change in the journal.")]
    complete: bool
    laggards: list[str]


class Changed(msgspec.Struct, frozen=True, kw_only=True):
    """A model after a change of what answers. The status is 202 when some workers have not applied it yet."""

    model: ModelInfo
    applied: Applied


class Added(msgspec.Struct, frozen=True, kw_only=True):
    """A new version, and what a person should know about its import."""

    version: VersionInfo
    notes: tuple[str, ...]
    applied: Applied


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """What a version takes and gives. `sample`, posted to `predict`, works."""

    model: str
    model_id: int
    version: str
    status: VersionStatus
    task: Task
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[OutputSpec, ...]
    features: tuple[Feature, ...]
    labels: tuple[Label, ...]
    sample: dict[str, object] | None
    predict: Annotated[str, Meta(description="Where to post it.")]

    @classmethod
    def of(cls, version: VersionInfo, *, named: bool) -> Metadata:
        """What is said of `version`; `named`: the request named it, so its own path predicts."""
        signature = version.signature
        at = f"/versions/{version.version}" if named else ""
        return cls(
            model=version.model,
            model_id=version.model_id,
            version=version.version,
            status=version.status,
            task=signature.task,
            inputs=signature.inputs,
            outputs=signature.outputs,
            features=signature.features,
            labels=signature.labels,
            sample=version.sample,
            predict=f"/api/v1/models/{version.model}{at}/predict",
        )


class Overrides(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Single settings by dotted name; the others stay as they are."""

    set: dict[str, object] = {}
    unset: Annotated[tuple[str, ...], Meta(description="These return to the project's defaults.")] = ()


class Optimize(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to make a smaller or faster form of a version."""

    method: Method = "graph"
    min_agreement: Annotated[float, Meta(ge=0, le=1, description="Share of rows that must be answered as before.")] = (
        0.99
    )
    version: Annotated[str | None, Meta(description="Name of the new version; without, the next number.")] = None
    instances: Annotated[
        list[object] | None,
        Meta(description="Rows like those that are asked, to compare on; `int8` then covers activations, too."),
    ] = None
