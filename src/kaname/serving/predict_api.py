"""The prediction path as declared resources: documented here, answered by its own door; and the smoke test."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from kaname.call import Principal
from kaname.errors import NotFound
from kaname.models.types import VersionInfo
from kaname.serving.views import documented
from kaname.serving.views.documented import Explain, UsedFeature
from kaname.web.resources import Asked, Resource


class PredictRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Rows, or entities where the model has a view. Tabular models take an object of the features by name, or their
    values in order; tensor models an object of nested lists by input name. `GET …/metadata` has a body that works."""

    features: dict[str, object] | list[object] | None = None
    """One row."""
    instances: list[dict[str, object] | list[object]] | None = None
    """Several rows."""
    entity: dict[str, object] | None = None
    """Keys by which the model's view finds the features that the request does not bring; of several rows, the keys that
    are the same for all."""
    entities: list[dict[str, object]] | None = None
    """The keys of each of several rows."""


class Predicted(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer for one row."""

    prediction: object
    """The label of a classifier, the number of a regression, else the model's outputs."""
    confidence: float | None
    """The top probability of a classifier, else null."""
    probabilities: dict[str, float] | None = None
    """By label, for classifiers that give them."""


class PredictAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer; of several rows, `predictions` holds the per-row part in the order of `instances`."""

    model: str
    version: str
    request_id: str
    latency_ms: float
    prediction: object = None
    confidence: float | None = None
    probabilities: dict[str, float] | None = None
    predictions: list[Predicted] | None = None
    features: dict[str, UsedFeature] | list[dict[str, UsedFeature]] | None = None
    """With `?explain=features`: what was used, of each row."""


class SmokeAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What the version answered to its own sample."""

    ok: bool
    status: int
    request: dict[str, object]
    answer: dict[str, object]


Ask = Callable[[str, str | None, bytes, Principal], tuple[int, bytes]]
"""Send a body down the request path; blocks, on a thread."""


def predict_resources(ask: Ask, version_of: Callable[[str, str | None], VersionInfo]) -> list[Resource]:
    """Predict and smoke, for a model's promoted version and for a named one."""
    one = "/api/v1/models/{model}"
    named = f"{one}/versions/{{version}}"

    def smoke(asked: Asked) -> SmokeAnswer:
        info = version_of(asked.path["model"], asked.path.get("version"))
        if info.sample is None:
            raise NotFound("this version has no sample", where=f"{info.model}@{info.version}")
        status, answer = ask(info.model, info.version, msgspec.json.encode(info.sample), asked.principal)
        found = msgspec.json.decode(answer, type=dict[str, object])
        return SmokeAnswer(ok=status == 200, status=status, request=info.sample, answer=found)

    return [
        *documented.resources(),
        *(
            Resource(
                method="POST",
                path=f"{path}/predict",
                summary=f"Predict with {what}",
                handler=None,
                scope="any",
                body=PredictRequest,
                query=Explain,
                answer=PredictAnswer,
                tag="predict",
                description="Needs the scope `predict:<model>`. `x-request-timeout-ms` sets a deadline.",
                example={"features": {"input": [5.1, 3.5, 1.4, 0.2]}},
            )
            for path, what in ((one, "the promoted version"), (named, "a version"))
        ),
        *(
            Resource(
                method="POST",
                path=f"{path}/smoke",
                summary=f"Send {what} its own sample",
                handler=smoke,
                scope="any",
                answer=SmokeAnswer,
                tag="predict",
            )
            for path, what in ((one, "the promoted version"), (named, "a version"))
        ),
    ]
