"""Reads of views as a declared resource; its own door answers it (`serving.views.reads`)."""

from __future__ import annotations

from typing import Literal

import msgspec

from kaname.web.resources import Resource


class ReadRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whose features are wanted: one entity, or several."""

    entity: dict[str, object] | None = None
    """The entity keys of the view, by name."""
    entities: list[dict[str, object]] | None = None
    """Those of several."""


class UsedFeature(msgspec.Struct, frozen=True, kw_only=True):
    """A feature that a view gave, or the request in its place."""

    value: object
    origin: Literal["request", "cache", "shared", "store", "stale", "default", "derived"]
    """The request, a cache of this process, one of all nodes, the store, a cache because the store does not answer, the
    view's default, or computed."""
    age_s: float | None
    """Since the value was written, or since the time of the row; null: it has none."""


class ReadAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The columns of the view, in the form in which a prediction takes features."""

    view: str
    features: dict[str, object] | None = None
    """Of one entity; with `?explain=features` objects with the value, its origin and its age."""
    instances: list[dict[str, object]] | None = None
    """Of several, in their order."""


class Explain(msgspec.Struct, frozen=True, kw_only=True):
    """The query of a prediction or of a read."""

    explain: Literal["features"] | None = None
    """List where each value of a view came from, and how old it is."""


def resources() -> list[Resource]:
    """The resource."""
    return [
        Resource(
            method="POST",
            path="/api/v1/views/{view}/read",
            summary="Read the features of entities",
            handler=None,
            scope="any",
            body=ReadRequest,
            query=Explain,
            answer=ReadAnswer,
            tag="features",
            description="Needs the scope `read:<relation>` of every relation of the view.",
            example={"entity": {"user_id": "u1"}},
        )
    ]
