"""The Open Inference Protocol of a model with a view: keys of entities are inputs, beside what else is given."""

from __future__ import annotations

from kaname.call import Call
from kaname.serving.endpoint import HeaderMap
from kaname.serving.exchange import Body
from kaname.serving.oip.asked import ROWS
from kaname.serving.oip.binary import LENGTH_HEADER, parts, split
from kaname.serving.oip.codec import OipCodec
from kaname.serving.views.keyed import KeyedCodec
from kaname.serving.views.tensors import rows_of


class ViewOipCodec(KeyedCodec[OipCodec]):
    """A codec that reads entities, too."""

    def fill(self, call: Call, body: Body, headers: HeaderMap) -> None:
        call.wanted = None
        named = self._assembly.named()
        length = headers.get(LENGTH_HEADER)
        if named.mentioned(body if length is None else split(body, length)[0]):
            json, blobs = parts(body, headers)
            request = self._codec.read(json)
            if named.is_asked(one.name for one in request.inputs):
                self._codec.note(call, request, headers)
                call.form = call.form or self._codec.plain
                named.fill(call, rows_of(named, request.inputs, self._codec.decoder, blobs), ROWS)
                return
        self._codec.fill(call, body, headers)
