"""The protocol as declared resources: documented here, answered by the door of `infer` and by `api`."""

from __future__ import annotations

from typing import Any

import msgspec

from kaname.serving.oip.types import ModelStatistics
from kaname.tensors import Datatype
from kaname.web.resources import Resource

TAG = "v2 (Open Inference Protocol)"
_WHICH = {"/v2/models/{model}": "the promoted version", "/v2/models/{model}/versions/{version}": "a version"}


class OipRefused(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was wrong: the place of the fault, what was found there and what was expected; or that it is not ready."""

    error: str | None = None
    name: str | None = None
    live: bool | None = None
    ready: bool | None = None


class ServerMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """The server and the extensions that it has."""

    name: str
    version: str
    extensions: list[str]


class Live(msgspec.Struct, frozen=True, kw_only=True):
    """The process answers."""

    live: bool


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot is applied and what must be in memory is; 503 otherwise."""

    live: bool
    ready: bool


class ModelReady(msgspec.Struct, frozen=True, kw_only=True):
    """The version can answer without loading first; 503 otherwise."""

    name: str
    ready: bool
    reason: str = ""
    """Why it cannot answer."""


class TensorMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """One input or output; -1 in a shape admits any size."""

    name: str
    datatype: Datatype
    shape: list[int]


class OipModelMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """The signature of a version."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class OipTensor(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A tensor; its `data` flat or nested, row by row, or behind the JSON as `binary_data_size` bytes."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, object] | None = None
    data: object = None


class OipOutput(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One output that is wanted; parameters `binary_data` and `classification`."""

    name: str
    parameters: dict[str, object] | None = None


class OipRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The inputs of a version, all of them, with one number of rows."""

    inputs: list[OipTensor]
    id: str | None = None
    parameters: dict[str, object] | None = None
    """`timeout` in microseconds, `binary_data_output`."""
    outputs: list[OipOutput] | None = None
    """All outputs when absent."""


class OipAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The outputs that were wanted."""

    model_name: str
    model_version: str
    outputs: list[OipTensor]
    id: str | None = None
    parameters: dict[str, object] | None = None


class OipIndexed(msgspec.Struct, frozen=True, kw_only=True):
    """One version in the repository: `READY`, or `UNAVAILABLE` with the reason."""

    name: str
    version: str
    state: str
    reason: str


class OipIndexRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`ready`: only what can answer now."""

    ready: bool = False


class OipRepositoryRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Versions are immutable: `config` and `file:…` among the parameters are refused."""

    parameters: dict[str, object] = {}


class OipStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What versions have done, over all workers."""

    model_stats: list[ModelStatistics]


_INPUT = {"name": "input", "shape": [1, 4], "datatype": "FP32", "data": [5.1, 3.5, 1.4, 0.2]}


def resources() -> list[Resource]:
    """Every method of `/v2`."""
    found = [
        _resource("GET", "/v2", "Name, release and extensions", ServerMetadata, scope="public"),
        _resource("GET", "/v2/health/live", "Whether the process answers", Live, scope="public"),
        _resource("GET", "/v2/health/ready", "Whether the server may be asked", Ready, scope="public"),
        _resource("GET", "/v2/models/stats", "Statistics of all versions", OipStatistics),
    ]
    for path, which in _WHICH.items():
        found += _of_model(path, which)
    for verb, what in (("load", "Let a model answer"), ("unload", "Let a model refuse requests")):
        path = f"/v2/repository/models/{{model}}/{verb}"
        found.append(_resource("POST", path, what, None, scope="write", body=OipRepositoryRequest, example={}))
    index = _resource(
        "POST", "/v2/repository/index", "All versions", list[OipIndexed], body=OipIndexRequest, example={}
    )
    return [*found, index]


def _of_model(path: str, which: str) -> list[Resource]:
    infer = _resource(
        "POST", f"{path}/infer", f"Infer with {which}", OipAnswer, body=OipRequest, example={"inputs": [_INPUT]}
    )
    return [
        infer,
        _resource("GET", path, f"Signature of {which}", OipModelMetadata),
        _resource("GET", f"{path}/ready", f"Whether {which} is in memory", ModelReady),
        _resource("GET", f"{path}/config", f"{which.capitalize()} as a model configuration", dict[str, object]),
        _resource("GET", f"{path}/stats", f"Statistics of {which}", OipStatistics),
    ]


def _resource(method: Any, path: str, summary: str, answer: Any, *, scope: Any = "any", **more: Any) -> Resource:
    return Resource(
        method=method,
        path=path,
        summary=summary,
        handler=None,
        scope=scope,
        answer=answer,
        error=OipRefused,
        tag=TAG,
        **more,
    )
