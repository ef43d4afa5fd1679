"""The URLs of streams: routes, and their description."""

from __future__ import annotations

from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from kaname.serving.predict_api import PredictAnswer, PredictRequest
from kaname.serving.streams.ndjson import MEDIA_TYPES
from kaname.web.resources import Resource, Upload

_WHICH = {
    "/api/v1/models/{model}": "the promoted version",
    "/api/v1/models/{model}/versions/{version}": "a version",
}


def routes(lines: ASGIApp, events: ASGIApp) -> list[BaseRoute]:
    """The URLs of both kinds of stream; their other methods are refused where they are described."""
    return [
        Route(f"{path}/predict/{kind}", app, methods=["POST"])
        for path in _WHICH
        for kind, app in (("stream", lines), ("events", events))
    ]


def resources() -> list[Resource]:
    """The same, documented."""
    return [one for path, which in _WHICH.items() for one in (_lines(path, which), _events(path, which))]


def _lines(path: str, which: str) -> Resource:
    return Resource(
        method="POST",
        path=f"{path}/predict/stream",
        summary=f"Predict line by line with {which}",
        description=(
            "Newline-delimited JSON both ways: each line is a body of `predict`, and is answered by a line, in order:"
            " the answer, or a problem document. Read answers while you send: unread answers stop the server's reading."
        ),
        handler=None,
        scope="any",
        body=Upload(MEDIA_TYPES, "Lines of JSON."),
        answer=PredictAnswer,
        media="application/x-ndjson",
        tag="predict",
    )


def _events(path: str, which: str) -> Resource:
    return Resource(
        method="POST",
        path=f"{path}/predict/events",
        summary=f"Predict piece by piece with {which}",
        description=(
            "Server-sent events of a Python model with a method `stream`: `data` is an answer as far as it has come;"
            " `event: end` follows the last one, `event: error` has a problem document."
        ),
        handler=None,
        scope="any",
        body=PredictRequest,
        answer=PredictAnswer,
        media="text/event-stream",
        tag="predict",
        example={"features": {"input": [5.1, 3.5, 1.4, 0.2]}},
    )
