"""The protocol as declared resources: documented here, answered by the door of the verbs and by `api`."""

from __future__ import annotations

from typing import Any

import msgspec

from kaname.serving.tfs.api import PATHS
from kaname.web.resources import Resource

TAG = "v1 (TensorFlow Serving, KServe)"


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """What was wrong: the place of the fault, what was found there and what was expected."""

    error: str


class TfsPredict(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One of `instances` and `inputs`. A text may be `{"b64": "…"}`."""

    signature_name: str | None = None
    """Accepted and of no effect: a version has one signature."""
    instances: list[object] | None = None
    """Rows: objects by feature or input name, values in order, or the only input's value."""
    inputs: object = None
    """Columns: an object of lists or tensors by name, or the only input's tensor."""


class TfsPredicted(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`predictions` of `instances`, `outputs` of `inputs`; of a single output its values, else objects by name."""

    predictions: list[object] | None = None
    outputs: object = None


class TfsExamples(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Rows as objects by feature name."""

    signature_name: str | None = None
    examples: list[object]
    context: dict[str, object] | None = None
    """Features that all examples have in common."""


class TfsResults(msgspec.Struct, frozen=True, kw_only=True):
    """One result per example: `[[label, score], …]` of `:classify`, a number of `:regress`."""

    results: list[object]


class VersionState(msgspec.Struct, frozen=True, kw_only=True):
    """The state of one version."""

    version: str
    state: str
    """`AVAILABLE`: in memory; `START`: loaded by the first request that names it; `END`: the model is unloaded."""
    status: dict[str, str]


class ModelStatus(msgspec.Struct, frozen=True, kw_only=True):
    """`name` and `ready` are KServe's, the rest TensorFlow Serving's."""

    name: str
    ready: bool
    model_version_status: list[VersionState]


class ModelMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """The signature of a version."""

    model_spec: dict[str, str]
    metadata: dict[str, object]


class ModelNames(msgspec.Struct, frozen=True, kw_only=True):
    """The models that the key may see."""

    models: list[str]


_ROW = {"input": [5.1, 3.5, 1.4, 0.2]}
_WHICH = ("the promoted version", "a version", "the version with a label")
_BODIES: dict[str, tuple[str, Any, Any, object]] = {
    "predict": ("Predict", TfsPredict, TfsPredicted, {"instances": [_ROW]}),
    "classify": ("Class labels and scores", TfsExamples, TfsResults, {"examples": [_ROW]}),
    "regress": ("Numbers", TfsExamples, TfsResults, {"examples": [_ROW]}),
}


def resources() -> list[Resource]:
    """Every method of `/v1`."""
    found = [_resource("GET", "/v1/models", "List models", ModelNames)]
    for path, which in zip(PATHS, _WHICH, strict=True):
        for verb, (what, body, answer, example) in _BODIES.items():
            found.append(
                _resource("POST", f"{path}:{verb}", f"{what} with {which}", answer, body=body, example=example)
            )
        found.append(_resource("GET", path, f"Status of {which}", ModelStatus))
        found.append(_resource("GET", f"{path}/metadata", f"Signature of {which}", ModelMetadata))
    return found


def _resource(method: Any, path: str, summary: str, answer: Any, **more: Any) -> Resource:
    return Resource(
        method=method,
        path=path,
        summary=summary,
        handler=None,
        scope="any",
        answer=answer,
        error=Refused,
        tag=TAG,
        **more,
    )
