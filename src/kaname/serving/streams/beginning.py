"""How a stream begins: what speaks against the whole of it, and the first bytes of its answer."""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import Scope, Send

from kaname.call import Principal
from kaname.errors import Forbidden, KanameError, NotFound
from kaname.models.types import VersionInfo
from kaname.serving import json_codec
from kaname.serving.asgi import AsgiReply
from kaname.serving.exchange import Fields, Head
from kaname.serving.gate import Gate

Refused = tuple[int, bytes, bytes]
"""Status, header lines and body of a refusal."""


class StreamGuard:
    """Says before the first byte of an answer what speaks against it: who asks, and what for."""

    def __init__(
        self,
        gate: Gate,
        principal_of: Callable[[bytes | None], Principal],
        version_of: Callable[[str, str | None], VersionInfo],
    ) -> None:
        self._gate = gate
        self._principal_of = principal_of
        self._version_of = version_of

    async def refusal(self, scope: Scope, target: bytes, name: str, check: Callable[[Fields], None]) -> Refused | None:
        """The refusal of a request whose lone prediction would go to `target`. `check` looks at the headers."""
        fields: Fields = dict(scope["headers"])
        endpoint = self._gate.find(target)
        if endpoint is not None and not endpoint.lasting:  # an unknown or unloaded model, in its own words
            reply = AsgiReply()
            endpoint.enter(Head(target, fields | {b"x-request-id": name.encode()}), b"", reply)
            return await reply.answered
        try:
            principal = self._principal_of(fields.get(b"authorization"))
            if endpoint is None:
                raise NotFound("no such resource", where="path")
            self._check_scope(principal, scope["path_params"])
            check(fields)
        except KanameError as error:
            return json_codec.refusal(error, target.decode("latin-1"), name)
        return None

    def _check_scope(self, principal: Principal, asked: dict[str, str]) -> None:
        model = self._version_of(asked["model"], asked.get("version")).model
        if principal.may_predict is not None and model not in principal.may_predict:
            raise Forbidden("this key may not predict with this model", where=model, expected=f"predict:{model}")


def predict_target(scope: Scope, ending: bytes) -> bytes:
    """The URL that predicts, of a URL that has `ending` behind it."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    return raw.removesuffix(ending)


async def start(send: Send, scope: Scope, status: int, head: bytes) -> None:
    """Begin an answer with the header lines of `head`."""
    headers = [tuple(line.split(b": ", 1)) for line in head.split(b"\r\n") if line]
    headers += [pair for pair in scope["headers"] if pair[0] == b"traceparent"][:1]
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def answer(send: Send, scope: Scope, refused: Refused) -> None:
    """A whole answer."""
    status, head, body = refused
    await start(send, scope, status, head + b"content-length: %d\r\n" % len(body))
    await send({"type": "http.response.body", "body": body})
