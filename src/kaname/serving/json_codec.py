"""The platform's own prediction protocol: JSON in, JSON out, problem details for errors."""

from __future__ import annotations

from kaname.errors import KanameError, NotFound
from kaname.ids import IdSource
from kaname.serving.exchange import Body, Head, Reply, header_lines
from kaname.serving.json_input import json_input
from kaname.serving.json_output import JsonOutput
from kaname.signature import Signature
from kaname.web.problems import problem


class JsonCodec:
    """`POST /api/v1/models/{model}[/versions/{v}]/predict` for one version."""

    def __init__(self, signature: Signature, model: str, version: str, max_rows: int) -> None:
        self.fill = json_input(signature, max_rows).fill
        self.answer = JsonOutput(signature, model, version).render

    def accepts(self, content_type: bytes) -> bool:
        kind = content_type.partition(b";")[0].strip()
        return kind == b"application/json" or (kind.startswith(b"application/") and kind.endswith(b"+json"))

    def refuse(
        self, error: KanameError, instance: str, request_id: str, status: int | None = None
    ) -> tuple[int, bytes, bytes]:
        return refusal(error, instance, request_id, status)


def refusal(error: KanameError, instance: str, request_id: str, status: int | None = None) -> tuple[int, bytes, bytes]:
    """A problem document as status, header lines (without content-length) and body."""
    status, headers, body = problem(error, instance=instance, request_id=request_id, status=status)
    return status, header_lines([pair for pair in headers if pair[0] != b"content-length"]), body


class ProblemEndpoint:
    """The endpoint of requests that reach no other: it only words refusals."""

    lasting = True

    def __init__(self, ids: IdSource) -> None:
        self._ids = ids

    def enter(self, head: Head, _: Body, reply: Reply) -> None:
        self.refuse(404, NotFound("no such resource"), head, reply)

    def refuse(self, status: int, error: KanameError, head: Head, reply: Reply) -> None:
        reply.send(*refusal(error, head.path, self._ids(), status))
