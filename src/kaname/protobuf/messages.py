"""The protobuf messages of the gRPC protocols.

They live in a descriptor pool of their own: a Python model may bring another client's generated code for the same
packages, and the default pool takes each name only once. `tools/protos.py` compiles the definitions.
"""

from __future__ import annotations

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


def kind(name: str) -> Kind:
    """The class of the message with this full name."""
    return message_factory.GetMessageClass(POOL.FindMessageTypeByName(name))


def parse(kind: Kind, body: bytes) -> Message:
    """The message in `body`. Raises InvalidInput."""
    try:
        return kind.FromString(body)
    except DecodeError as error:
        name = kind.DESCRIPTOR.full_name
        raise InvalidInput(f"the message cannot be read: {error}", where="message", expected=name) from None
