"""The protobuf messages of the gRPC protocols.

They live in a descriptor pool of their own: a Python model may bring another client's generated code for the same
packages, and the default pool takes each name only once. `tools/protos.py` compiles the definitions.
"""

from __future__ import annotations

import threading
from importlib import resources
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError

from kaname.errors import InvalidInput

Message = Any
"""A protobuf message: its class is made at run time."""
Kind = Any
"""The class of one."""


def _pool() -> DescriptorPool:
    pool = DescriptorPool()
    raw = (resources.files("kaname.protobuf") / "protos" / "descriptors.binpb").read_bytes()
    for file in FileDescriptorSet.FromString(raw).file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool


POOL = _pool()


_kinds: dict[str, Kind] = {}
_making = threading.Lock()


def kind(name: str) -> Kind:
    """The class of the message with this full name, which is made once, with those of the messages in it, and kept.

    The library itself makes classes where they are first used, in whichever thread that is, and lets go of them again.
    """
    found = _kinds.get(name)
    if found is None:
        with _making:
            _make(POOL.FindMessageTypeByName(name))
        found = _kinds[name]
    return found


def _make(descriptor: Any) -> None:
    if descriptor.full_name in _kinds:
        return
    _kinds[descriptor.full_name] = message_factory.GetMessageClass(descriptor)
    for field in descriptor.fields:
        if field.message_type is not None:
            _make(field.message_type)


def parse(kind: Kind, body: bytes) -> Message:
    """The message in `body`. Raises InvalidInput."""
    try:
        return kind.FromString(body)
    except DecodeError as error:
        name = kind.DESCRIPTOR.full_name
        raise InvalidInput(f"the message cannot be read: {error}", where="message", expected=name) from None
