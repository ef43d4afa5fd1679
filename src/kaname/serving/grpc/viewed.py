"""`ModelInfer` of a model with a view: keys of entities are inputs, beside what else is given."""

from __future__ import annotations

from typing import cast

from kaname.call import Call
from kaname.serving.endpoint import HeaderMap
from kaname.serving.exchange import Body
from kaname.serving.grpc.codec import NO_BLOBS, Asking, GrpcCodec
from kaname.serving.grpc.contents import given
from kaname.serving.oip.asked import ROWS
from kaname.serving.views.keyed import KeyedCodec
from kaname.serving.views.tensors import rows_of


class ViewGrpcCodec(KeyedCodec[GrpcCodec]):
    """A codec that reads entities, too."""

    def fill(self, call: Call, body: Body, headers: HeaderMap) -> None:
        call.wanted = None
        named = self._assembly.named()
        request = cast("Asking", call.reply).request
        if not named.is_asked([one.name for one in request.inputs]):
            self._codec.fill(call, body, headers)
            return
        self._codec.begin(call)
        call.form = call.form or self._codec.plain
        named.fill(call, rows_of(named, given(request), self._codec.decoder, NO_BLOBS), ROWS)
