"""The service `inference.GRPCInferenceService`: the Open Inference Protocol and its extensions."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc

from kaname import __version__
from kaname.errors import InvalidInput
from kaname.models.types import VersionInfo
from kaname.protobuf.messages import Message, kind, parse
from kaname.serving.grpc.codec import REQUEST, GrpcCodec
from kaname.serving.grpc.door import Door
from kaname.serving.grpc.rpc import Access, Method, Rpcs
from kaname.serving.grpc.status import refusal
from kaname.serving.grpc.stream import Stream
from kaname.serving.grpc.ticket import Asked
from kaname.serving.grpc.viewed import ViewGrpcCodec
from kaname.serving.oip import describe
from kaname.serving.oip.types import EXTENSIONS, Catalog
from kaname.serving.routes import Form

SERVICE = "inference.GRPCInferenceService"
INFER, STREAM = f"/{SERVICE}/ModelInfer", f"/{SERVICE}/ModelStreamInfer"


def _codec(info: VersionInfo, max_rows: int) -> GrpcCodec:
    return GrpcCodec(info.signature, info.model, info.version, max_rows)


FORM = Form(refusal, _codec, ViewGrpcCodec)


def asked(request: Message, instance: str) -> Asked:
    """The model that a ModelInferRequest names."""
    return Asked(FORM, instance, request.model_name, request.model_version or None)


def methods(
    rpcs: Rpcs,
    door: Door,
    catalog: Catalog,
    access: Access,
    *,
    is_ready: Callable[[], bool],
    max_rows: int,
    closing: threading.Event,
) -> dict[str, Method]:
    """The methods by path; streams end when `closing` is set and what was asked has been answered."""

    def infer(body: bytes) -> tuple[Asked, Message]:
        request = parse(REQUEST, body)
        return asked(request, INFER), request

    def stream(bodies: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        return Stream(door, lambda request: asked(request, STREAM), context, closing).answers(bodies)

    service = _Service(catalog, access, is_ready, max_rows)
    found = {"ModelInfer": rpcs.predicting(infer, door), "ModelStreamInfer": rpcs.stream(stream)}
    for name, (handle, slow) in service.methods().items():
        found[name] = rpcs.unary(kind(f"inference.{name}Request"), handle, slow=slow)
    return {f"/{SERVICE}/{name}": method for name, method in found.items()}


class _Service:
    """Everything but inference."""

    def __init__(self, catalog: Catalog, access: Access, is_ready: Callable[[], bool], max_rows: int) -> None:
        self._catalog = catalog
        self._access = access
        self._is_ready = is_ready
        self._max_rows = max_rows

    def methods(self) -> dict[str, tuple[Any, bool]]:
        """By name, with whether it may take long."""
        return {
            "ServerLive": (self._live, False),
            "ServerReady": (self._ready, False),
            "ServerMetadata": (self._server, False),
            "ModelReady": (self._model_ready, False),
            "ModelMetadata": (self._metadata, False),
            "ModelConfig": (self._config, False),
            "ModelStatistics": (self._statistics, True),
            "RepositoryIndex": (self._index, False),
            "RepositoryModelLoad": (self._load, True),
            "RepositoryModelUnload": (self._unload, True),
        }

    def _live(self, _: Message, context: grpc.ServicerContext) -> Message:
        self._access.open(context)
        return _answer("ServerLive", live=True)

    def _ready(self, _: Message, context: grpc.ServicerContext) -> Message:
        self._access.open(context)
        return _answer("ServerReady", ready=self._is_ready())

    def _server(self, _: Message, context: grpc.ServicerContext) -> Message:
        self._access.open(context)
        return _answer("ServerMetadata", name="kaname", version=__version__, extensions=EXTENSIONS)

    def _model_ready(self, request: Message, context: grpc.ServicerContext) -> Message:
        name, version = self._named(request, context)
        return _answer("ModelReady", ready=self._catalog.is_ready(name, version))

    def _metadata(self, request: Message, context: grpc.ServicerContext) -> Message:
        name, version = self._named(request, context)
        return _answer(
            "ModelMetadata", **describe.metadata(self._catalog.version(name, version), self._catalog.entry(name))
        )

    def _config(self, request: Message, context: grpc.ServicerContext) -> Message:
        name, version = self._named(request, context)
        info = self._catalog.version(name, version)
        config = describe.configuration(info, self._catalog.entry(name), self._max_rows)
        numbers = [int(one) for one in config["version_policy"]["specific"]["versions"] if one.isdigit()]
        config["version_policy"] = {"specific": {"versions": numbers}}
        return _answer("ModelConfig", config=config)

    def _statistics(self, request: Message, context: grpc.ServicerContext) -> Message:
        catalog = self._catalog
        if request.name:
            name, version = self._named(request, context)
            versions = catalog.entry(name).versions if version is None else (catalog.version(name, version),)
        else:
            self._access.need(context, "read")
            versions = tuple(version for entry in catalog.models() for version in entry.versions)
        answer = _answer("ModelStatistics")
        for one in catalog.statistics(versions):
            found = answer.model_stats.add(
                name=one.name,
                version=one.version,
                last_inference=one.last_inference,
                inference_count=one.inference_count,
                execution_count=one.execution_count,
            )
            for field in one.inference_stats.__struct_fields__:
                duration = getattr(one.inference_stats, field)
                target = getattr(found.inference_stats, field)
                target.count, target.ns = duration.count, duration.ns
        return answer

    def _index(self, request: Message, context: grpc.ServicerContext) -> Message:
        self._access.need(context, "read")
        models = self._catalog.models()
        return _answer("RepositoryIndex", models=describe.index(self._catalog, models, ready_only=request.ready))

    def _load(self, request: Message, context: grpc.ServicerContext) -> Message:
        who = self._access.need(context, "write").name
        for name in request.parameters:
            if name == "config" or name.startswith("file:"):
                raise InvalidInput(
                    "versions here are immutable: add one instead",
                    where=f"parameters.{name}",
                    expected="POST /api/v1/models/{model}/versions",
                )
        model = _model(request)
        self._catalog.load(model, who)
        return _answer("RepositoryModelLoad", model_name=model, is_loaded=True)

    def _unload(self, request: Message, context: grpc.ServicerContext) -> Message:
        who = self._access.need(context, "write").name
        model = _model(request)
        self._catalog.unload(model, who)
        return _answer("RepositoryModelUnload", model_name=model, is_unloaded=True)

    def _named(self, request: Message, context: grpc.ServicerContext) -> tuple[str, str | None]:
        """Model and version, for a caller who may read about it."""
        self._access.need(context, "read", request.name)
        return request.name, request.version or None


def _answer(method: str, **fields: Any) -> Message:
    return kind(f"inference.{method}Response")(**fields)


def _model(request: Message) -> str:
    """The model to load or unload: KServe's clients name it in the first field."""
    name: str = request.model_name or request.repository_name
    return name
