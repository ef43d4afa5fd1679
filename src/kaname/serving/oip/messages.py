"""The request bodies of the protocol, as they are on the wire.

Sources: https://github.com/kserve/open-inference-protocol (inference_rest.md) and the protocol extensions of
https://github.com/triton-inference-server/server (docs/protocol). Fields that the protocol does not know are ignored;
of duplicate JSON keys the last one counts.
"""

from __future__ import annotations

from typing import Any

import msgspec

NOTHING = msgspec.Raw()
"""A field that was not given."""


class InferInput(msgspec.Struct, kw_only=True):
    """One input tensor. `data` is read once its datatype is known; binary data follows the JSON in the body."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] | None = None
    data: msgspec.Raw = NOTHING


class RequestedOutput(msgspec.Struct, kw_only=True):
    """One output that the caller wants, and how."""

    name: str
    parameters: dict[str, Any] | None = None


class InferRequest(msgspec.Struct, kw_only=True):
    """The body of `POST …/infer`, or its JSON part; `asked` reads parameters and outputs."""

    inputs: list[InferInput]
    id: str | None = None
    parameters: msgspec.Raw = NOTHING
    outputs: msgspec.Raw = NOTHING


class IndexRequest(msgspec.Struct, kw_only=True):
    """The body of `POST /v2/repository/index`; `ready`: only what can answer now."""

    ready: bool = False


class RepositoryRequest(msgspec.Struct, kw_only=True):
    """The body of a load or unload request."""

    parameters: dict[str, Any] = {}


def refuse_shared_memory(parameters: dict[str, Any] | None) -> str | None:
    """The first parameter that asks for shared memory, which this server does not have."""
    return next((name for name in parameters or () if name.startswith("shared_memory_")), None)
