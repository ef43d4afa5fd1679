"""The JSON protocol of a model with a view."""

from __future__ import annotations

from typing import Any

import msgspec

from kaname.call import Answer, Call
from kaname.errors import InvalidInput, KanameError
from kaname.features.views.plan import Used
from kaname.serving.endpoint import Codec, HeaderMap
from kaname.serving.exchange import Body
from kaname.serving.json_rows import ONE
from kaname.serving.views.assemble import Assembly

_encode = msgspec.json.Encoder(decimal_format="number").encode


class ViewCodec:
    """A codec that reads entities, too; with `explain` its answers list the features that were used."""

    def __init__(self, codec: Codec, assembly: Assembly, *, explain: bool = False) -> None:
        self._codec = codec
        self.accepts = codec.accepts
        self.refuse = codec.refuse
        self.fill = self._fill if not explain else self._fill_explained
        self.answer = codec.answer if not explain else self._explained
        self._input = assembly

    def _fill(self, call: Call, body: Body, _: HeaderMap) -> None:
        self._input.fill(call, body)

    def _fill_explained(self, call: Call, body: Body, _: HeaderMap) -> None:
        self._input.fill(call, body)
        if call.wanted is None:
            raise InvalidInput("which features are there to explain?", where="body", expected="an entity")
        call.wanted.used = []

    def _explained(self, call: Call, answer: Answer, latency_ns: int) -> tuple[bytes, bytes]:
        head, body = self._codec.answer(call, answer, latency_ns)
        used: list[dict[str, Used]] = call.wanted.used
        said: Any = used[0] if call.form is ONE else used
        return head, body[:-1] + b',"features":' + _encode(said) + b"}"


class ViewlessCodec:
    """In the place of a codec that reads entities, while the view cannot be read: whole rows are answered."""

    def __init__(self, codec: Codec, error: KanameError) -> None:
        self.accepts = codec.accepts
        self.refuse = codec.refuse
        self.answer = codec.answer
        self._fill = codec.fill
        self._error = error

    def fill(self, call: Call, body: Body, headers: HeaderMap) -> None:
        try:
            self._fill(call, body, headers)
        except InvalidInput:  # keys of an entity, perhaps: nobody knows them
            raise self._error from None


def unexplained(model: str) -> KanameError:
    """The error for a model whose features come with the request."""
    return InvalidInput("this model reads no features", where=model, found="explain=features", expected="a view")
