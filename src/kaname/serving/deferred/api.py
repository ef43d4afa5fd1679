"""`/api/v1/answers/{id}`: the answers to requests that were deferred."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from kaname.serving.deferred.answers import Answers, AnswerView
from kaname.web.resources import Asked, Reply, Resource


class AnswerQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long to wait for an answer that is not there yet."""

    wait_ms: Annotated[int, Meta(ge=0, le=30_000, description="Milliseconds.")] = 0


def resources(answers: Answers) -> list[Resource]:
    """Show an answer, or that it is waited for."""

    def show(asked: Asked) -> Reply:
        found = answers.get(asked.path["id"], asked.principal, asked.query(AnswerQuery).wait_ms / 1000)
        return Reply(value=found)

    return [
        Resource(
            method="GET",
            path="/api/v1/answers/{id}",
            summary="The answer to a request that was deferred",
            description="For the key that asked, and for those with the scope `read`. `status` is `waiting` or `done`; "
            "`http_status`, `content_type` and `answer` are what would have been sent.",
            handler=show,
            scope="any",
            query=AnswerQuery,
            answer=AnswerView,
            tag="predict",
        )
    ]
