"""Two questions about models that programs ask often: which answer, and what are the class labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from kaname.errors import Forbidden, NotFound, Unavailable
from kaname.serving.snapshot import ModelEntry
from kaname.serving.tfs.api import may_see
from kaname.signature import Label
from kaname.web.resources import Asked, Resource

Health = Literal["ok", "ng"]


def model_resources(
    models: Callable[[], Sequence[ModelEntry]], answers: Callable[[ModelEntry], bool]
) -> list[Resource]:
    """`models` are those of the snapshot in force, `answers` tells whether one answers without loading first."""

    def health(asked: Asked) -> dict[str, Health]:
        seen = [entry for entry in models() if may_see(asked.principal, entry.info.name)]
        return {entry.info.name: "ok" if answers(entry) else "ng" for entry in seen}

    def labels(asked: Asked) -> list[Label]:
        ref = asked.path["model"]
        entry = next((e for e in models() if ref in (e.info.name, str(e.info.id))), None)
        if not may_see(asked.principal, ref if entry is None else entry.info.name):
            raise Forbidden("the API key lacks a scope", where="Authorization", expected=f"read or predict:{ref}")
        if entry is None:
            raise NotFound("no such model", where="model", found=ref)
        if entry.promoted is None:
            raise Unavailable("no version of this model has been promoted", where=entry.info.name)
        return list(entry.promoted.signature.labels)

    return [
        Resource(
            method="GET",
            path="/health/all",
            summary="Tell which models answer",
            description="`ok`: the promoted version is in memory; `ng`: it is not, or the model is unloaded.",
            handler=health,
            scope="any",
            answer=dict[str, Health],
            tag="predict",
        ),
        Resource(
            method="GET",
            path="/label/{model}",
            summary="List the class labels of a model",
            description="In the order of its probabilities; empty for models that do not classify.",
            handler=labels,
            scope="any",
            answer=list[Label],
            tag="predict",
        ),
    ]
