"""What the codecs have in common that read entities where another codec reads whole rows."""

from __future__ import annotations

from typing import Generic, TypeVar

from kaname.serving.endpoint import Codec
from kaname.serving.views.assemble import Assembly

C = TypeVar("C", bound=Codec)


class KeyedCodec(Generic[C]):
    """Answers and refuses like the codec that it stands in front of; what it reads is up to `fill`."""

    def __init__(self, codec: C, assembly: Assembly) -> None:
        self.accepts = codec.accepts
        self.refuse = codec.refuse
        self.answer = codec.answer
        self._codec = codec
        self._assembly = assembly
