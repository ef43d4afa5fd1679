"""From the URL of a request to the endpoint that answers it, compiled when it is first asked for."""

from __future__ import annotations

import urllib.parse
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol

from kaname.call import Observer, Principal
from kaname.clock import Clock
from kaname.errors import KanameError, Unavailable
from kaname.ids import IdSource
from kaname.inference.cache.step import ResultCache
from kaname.inference.residency import Residency
from kaname.inference.resident import Resident
from kaname.inference.streams import Streams
from kaname.inference.turnstile import Turnstile
from kaname.models.types import VersionInfo
from kaname.serving.caching import MarkingCodec
from kaname.serving.endpoint import Codec, Deferral, Path, PredictEndpoint, PrincipalOf, Refusal, RefusingEndpoint
from kaname.serving.exchange import Endpoint
from kaname.serving.json_codec import JsonCodec, refusal
from kaname.serving.meters import DoorMeters, VersionMeters
from kaname.serving.oip import codec as oip
from kaname.serving.oip.codec import OipCodec
from kaname.serving.overloaded import ValueCodec, value_handler
from kaname.serving.predict import Admission, infer, observe, shedding
from kaname.serving.tfs import codec as tfs
from kaname.serving.tfs.codec import VERBS, TfsCodec, Verb
from kaname.serving.traced import Tracing
from kaname.serving.views.assemble import Assembly
from kaname.serving.views.codec import ViewCodec, ViewlessCodec, unexplained
from kaname.serving.views.oip import ViewOipCodec
from kaname.serving.views.opened import Assemblies
from kaname.serving.views.reads import reads_of
from kaname.serving.views.tfs import ViewTfsCodec
from kaname.settings import ModelConfig, Settings
from kaname.telemetry.metrics import Metrics


def oip_refusal(error: KanameError, _: str, request_id: str, status: int | None) -> tuple[int, bytes, bytes]:
    """A refusal in the Open Inference Protocol's form, which names no path."""
    return oip.refusal(error, request_id, status)


EXPLAIN = b"explain=features"
"""In the query of a request whose answer is to list the features that were used."""


class Form(NamedTuple):
    """One protocol: how it refuses, its codec of a version with the most rows of a request, and what reads entities
    with that codec (None: nothing does)."""

    word: Refusal
    codec: Callable[[VersionInfo, int], Codec]
    viewed: Callable[[Any, Assembly], Codec] | None = None


JSON = Form(refusal, lambda info, most: JsonCodec(info.signature, info.model, info.version, most), ViewCodec)
EXPLAINED = JSON._replace(viewed=partial(ViewCodec, explain=True))
OIP = Form(oip_refusal, lambda info, most: OipCodec(info.signature, info.model, info.version, most), ViewOipCodec)


def _verb(verb: Verb) -> Form:
    return Form(tfs.refusal, lambda info, most: TfsCodec(info.signature, info.model, verb, most), ViewTfsCodec)


TFS: dict[str, Form] = {verb: _verb(verb) for verb in VERBS}


class Facts(Protocol):
    """What the router asks of the node."""

    settings: Settings
    clock: Clock
    ids: IdSource
    residency: Residency
    streams: Streams
    door_meters: DoorMeters
    deferral: Deferral | None
    tracing: Tracing | None
    assemblies: Assemblies
    metrics: Metrics

    def name_of(self, ref: str) -> str: ...
    def version(self, ref: str, version: str | None) -> VersionInfo: ...
    def labelled(self, ref: str, label: str) -> VersionInfo: ...
    def want(self, info: VersionInfo) -> Resident: ...
    def config_of(self, info: VersionInfo) -> ModelConfig: ...
    def meters_of(self, info: VersionInfo) -> VersionMeters: ...
    def admission_of(self, info: VersionInfo) -> Admission: ...
    def cache_of(self, info: VersionInfo) -> ResultCache | None: ...
    def turnstile_of(self, info: VersionInfo, resident: Resident) -> Turnstile | None: ...
    def recorder_of(self, info: VersionInfo) -> Observer | None: ...
    @property
    def principal_of(self) -> PrincipalOf: ...


def _path_of(target: bytes) -> str:
    """A request target without its query, as the routes read it."""
    return urllib.parse.unquote(target.partition(b"?")[0].decode("latin-1"))


class Router:
    """The URLs that predict, as of one snapshot. Endpoints are built on first use: a node may know 10,000 models."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._reads = reads_of(facts.assemblies.views, facts.ids, facts.clock, facts.metrics, facts.settings)
        self._endpoints: dict[str, Endpoint] = {}
        self._streamed: dict[str, Endpoint] = {}
        self._paths: dict[tuple[int, bool], Path] = {}

    def replay(self, target: bytes, principal: Principal, again: Deferral) -> Endpoint | None:
        """The endpoint of `target` for a request that was accepted before from `principal`, and put aside; `again` is
        told when it cannot be answered now either."""
        return self._find(_path_of(target), lambda _: principal, again, explain=EXPLAIN in target)

    def find(self, target: bytes) -> Endpoint | None:
        """The endpoint of `target`, one that refuses when the model cannot be asked, None for other URLs."""
        path, explain = _path_of(target), EXPLAIN in target
        kept = f"{path}?" if explain else path
        known = self._endpoints.get(kept)
        if known is None:
            known = self._find(path, None, self._facts.deferral, explain=explain)
            if known is not None and known.lasting:  # as many as there are models and versions, not as queries
                self._endpoints[kept] = known
        return known

    def _find(
        self, path: str, who: PrincipalOf | None, later: Deferral | None, *, explain: bool = False
    ) -> Endpoint | None:
        json = EXPLAINED if explain else JSON
        match path.split("/"):
            case ["", "api", "v1", "models", ref, "predict"]:
                return self._endpoint(path, ref, None, json, who, deferral=later)
            case ["", "api", "v1", "models", ref, "versions", version, "predict"]:
                return self._endpoint(path, ref, version, json, who, deferral=later)
            case ["", "api", "v1", "views", name, "read"] if self._reads is not None:
                return self._reads.endpoint(name, who or self._facts.principal_of, explained=explain)
            case ["", "v2", "models", ref, "infer"]:
                return self._endpoint(path, ref, None, OIP, who, deferral=later)
            case ["", "v2", "models", ref, "versions", version, "infer"]:
                return self._endpoint(path, ref, version, OIP, who, deferral=later)
            case ["", "v1", "models", *_]:
                return self._find_verb(path, who, later)
        return None

    def _find_verb(self, path: str, who: PrincipalOf | None, later: Deferral | None) -> Endpoint | None:
        """The endpoint of a URL of TensorFlow Serving that ends in `:predict` or another verb."""
        place, _, verb = path.rpartition(":")
        form = TFS.get(verb)
        if form is None:
            return None
        match place.split("/")[3:]:
            case [ref]:
                return self._endpoint(path, ref, None, form, who, deferral=later)
            case [ref, "versions", version]:
                return self._endpoint(path, ref, version, form, who, deferral=later)
            case [ref, "labels", label]:
                return self._endpoint(path, ref, label, form, who, labelled=True, deferral=later)
        return None

    def events(self, path: str, ref: str, version: str | None) -> Endpoint:
        """The endpoint of a model whose answers come piece by piece, under the URL `path`."""
        known = self._streamed.get(path)
        if known is None:
            known = self._endpoint(path, ref, version, JSON, streamed=True)
            if known.lasting:
                self._streamed[path] = known
        return known

    def endpoint(self, ref: str, version: str | None, principal_of: PrincipalOf) -> Endpoint:
        """The JSON endpoint of a model for callers inside the process, who are who `principal_of` says."""
        return self._endpoint(f"/api/v1/models/{ref}/predict", ref, version, JSON, principal_of)

    def by_name(self, form: Form, instance: str, ref: str, version: str | None, *, labelled: bool = False) -> Endpoint:
        """The endpoint of a model for protocols that name it in the message; `instance` is what they call."""
        return self._endpoint(instance, ref, version, form, labelled=labelled, grpc=True)

    def _endpoint(
        self,
        url: str,
        ref: str,
        version: str | None,
        form: Form,
        principal_of: PrincipalOf | None = None,
        *,
        labelled: bool = False,
        streamed: bool = False,
        deferral: Deferral | None = None,
        grpc: bool = False,
    ) -> Endpoint:
        """`labelled`: `version` is not a version's name but a label for one. `deferral`: for callers over HTTP, to whom
        202 says something. `grpc`: `url` is a method."""
        facts = self._facts
        from_outside = principal_of is None and not streamed  # streams are traced as a whole, where they come in
        tracing = facts.tracing if from_outside else None
        principal_of = principal_of or facts.principal_of
        try:
            info = facts.labelled(ref, version) if labelled and version else facts.version(ref, version)
            assembly, unread = self._assembly(info, form)
        except KanameError as error:
            name = facts.name_of(ref)
            refusing = RefusingEndpoint(error, name, form.word, principal_of, facts.ids, facts.door_meters.count)
            if tracing is None:
                return refusing
            return tracing.endpoint(tracing.place(url, name, version, grpc=grpc), refusing, refusing)
        codec = form.codec(info, facts.settings.inference.max_rows)
        if unread is not None:
            codec = ViewlessCodec(codec, unread)
        elif assembly is not None and form.viewed is not None:
            codec = form.viewed(codec, assembly)
        if facts.cache_of(info) is not None:
            codec = MarkingCodec(codec)
        config, path = facts.config_of(info), self._path(info, assembly)
        if deferral is facts.deferral and config.overload != "queue":  # another one is a replay's, whatever holds now
            deferral = None
        if config.overload == "value":
            codec = ValueCodec(codec)
        if streamed:
            step = facts.streams.step(facts.want(info))
            steps = facts.admission_of(info).step(step if assembly is None else assembly.step(step))
            path = Path(path.observers, steps, None)

        def endpoint(path: Path) -> PredictEndpoint:
            return PredictEndpoint(
                info=info,
                instance=url,
                codec=codec,
                path=path,
                principal_of=principal_of,
                refused=facts.door_meters.count,
                clock=facts.clock,
                ids=facts.ids,
                timeout_ms=config.timeout_ms,
                max_body_bytes=facts.settings.server.max_body_bytes,
                deferral=deferral,
                lasting=unread is None,
            )

        if tracing is None:
            return endpoint(path)
        place = tracing.place(url, info.model, info.version, grpc=grpc)
        return tracing.endpoint(place, endpoint(path), endpoint(tracing.path(path)))

    def _assembly(self, info: VersionInfo, form: Form) -> tuple[Assembly | None, KanameError | None]:
        """What reads the features of a version for requests of this form, or why nothing does that should. Raises that
        where the form is this server's own."""
        own = form is JSON or form is EXPLAINED
        try:
            view = self._facts.config_of(info).view if form.viewed is not None else ""
            assembly = self._facts.assemblies.of(info, view)
        except Unavailable as error:
            if own:
                raise
            return None, error
        if form is EXPLAINED and assembly is None:
            raise unexplained(info.model)
        return assembly, None

    def _path(self, info: VersionInfo, assembly: Assembly | None) -> Path:
        """What observes the calls of a version, and the steps they take; shared by its URLs."""
        kept = info.id, assembly is not None
        path = self._paths.get(kept)
        if path is None:
            path = self._paths[kept] = self._compose(info, assembly)
        return path

    def _compose(self, info: VersionInfo, assembly: Assembly | None) -> Path:
        facts = self._facts
        meters, resident = facts.meters_of(info), facts.want(info)
        steps = infer(facts.residency, resident)
        turnstile, cache, config = facts.turnstile_of(info, resident), facts.cache_of(info), facts.config_of(info)
        full = None
        if turnstile is not None:
            at_once = cache is None and config.overload == "shed"
            steps = turnstile.step(steps, resident, asked=at_once)
            full = shedding(turnstile, meters.refused) if at_once else None
        if cache is not None:
            steps = cache.step(info, steps)  # what was answered before is answered under overload, too
        if assembly is not None:
            steps = assembly.step(steps)
        instead = value_handler(info, config.overload_value) if config.overload == "value" else None
        record = facts.recorder_of(info)
        observers = observe(meters.meter(facts.clock), record, instead)
        return Path(observers, facts.admission_of(info).step(steps), full, record)
