"""The result caches of a node, and how an answer says that it came from one."""

from __future__ import annotations

from kaname.call import Answer, Call
from kaname.errors import KanameError
from kaname.inference.cache.fleet import Remote
from kaname.inference.cache.meters import CacheMeters
from kaname.inference.cache.step import ResultCache
from kaname.models.types import VersionInfo
from kaname.resilience.deadlines import Deadlines
from kaname.serving.endpoint import Codec
from kaname.serving.snapshot import Snapshot
from kaname.settings import ModelConfig
from kaname.telemetry.metrics import Metrics

HIT = b"cache-status: kaname; hit\r\n"
"""RFC 9211: the answer was not computed for this request."""


class Caches:
    """The caches of the models that have one; kept over snapshots unless their settings change."""

    def __init__(self, metrics: Metrics, deadlines: Deadlines, remote: Remote | None) -> None:
        """`remote`: where all nodes keep their answers, too."""
        self._remote = remote
        self._metrics = metrics
        self._deadlines = deadlines
        self._of: dict[int, ResultCache] = {}

    def of(self, info: VersionInfo, config: ModelConfig) -> ResultCache | None:
        """The cache for calls of a version; None where nothing is kept."""
        if not config.cache.enabled or not info.signature.deterministic:
            return None
        kept = self._of.get(info.model_id)
        if kept is None or kept.caching != config.cache:
            kept = self._of[info.model_id] = ResultCache(config.cache, self._deadlines, self._meters, self._remote)
        return kept

    def keep(self, snapshot: Snapshot) -> None:
        """Let go of the answers of models that are gone, unloaded, or no longer keep any."""
        stay = {entry.info.id for entry in snapshot.models if entry.info.loaded and entry.info.config.cache.enabled}
        self._of = {model: cache for model, cache in self._of.items() if model in stay}

    def _meters(self, info: VersionInfo) -> CacheMeters:
        return CacheMeters(self._metrics, info.model, info.version)


class MarkingCodec:
    """A codec whose HTTP answers tell that they come from the cache."""

    def __init__(self, codec: Codec) -> None:
        self._answer = codec.answer
        self.accepts = codec.accepts
        self.fill = codec.fill
        self._refuse = codec.refuse

    def answer(self, call: Call, answer: Answer, latency_ns: int) -> tuple[bytes, bytes]:
        head, body = self._answer(call, answer, latency_ns)
        return (head + HIT if answer.outputs.cached else head), body

    def refuse(
        self, error: KanameError, instance: str, request_id: str, status: int | None = None
    ) -> tuple[int, bytes, bytes]:
        return self._refuse(error, instance, request_id, status)
