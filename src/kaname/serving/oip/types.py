"""What the protocol's resources need of a server, and the answers that they give."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import msgspec
from starlette.requests import Request

from kaname.call import Principal
from kaname.models.types import VersionInfo
from kaname.serving.snapshot import ModelEntry

Scope = Literal["read", "write"]
Authorize = Callable[[Request, Scope], Principal]
"""Who asks; raises Unauthenticated, or Forbidden without the scope."""

EXTENSIONS = (
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "model_repository",
    "model_repository(unload_dependents)",
    "parameters",
    "statistics",
)


class Duration(msgspec.Struct, frozen=True):
    """How often something happened and how long it took in all."""

    count: int = 0
    ns: int = 0


class InferenceStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """`success`, `fail` and `queue` count requests, `compute_input` and `compute_infer` runs, each for many
    requests. `queue` is the time from the whole request to its run. Writing the answers is part of `success` alone.
    `cache_hit` and `cache_miss` count requests of models that keep answers; their time is not taken apart.
    """

    success: Duration = Duration()
    fail: Duration = Duration()
    queue: Duration = Duration()
    compute_input: Duration = Duration()
    compute_infer: Duration = Duration()
    compute_output: Duration = Duration()
    cache_hit: Duration = Duration()
    cache_miss: Duration = Duration()


class ModelStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """The statistics of one version over all workers, since its first request in this project."""

    name: str
    version: str
    last_inference: int = 0
    """Milliseconds since the Unix epoch; 0 when not known."""
    inference_count: int = 0
    """Rows predicted."""
    execution_count: int = 0
    """Runs of the runtime."""
    inference_stats: InferenceStatistics = InferenceStatistics()
    batch_stats: tuple[None, ...] = ()


class Catalog(Protocol):
    """The models of a server. `load`, `unload` and `statistics` may block: they are called on a thread."""

    def models(self) -> Sequence[ModelEntry]:
        """Every model with its versions."""

    def entry(self, model: str) -> ModelEntry:
        """A model by name or number. Raises NotFound."""

    def version(self, model: str, version: str | None) -> VersionInfo:
        """A version, or the one that answers. Raises NotFound, or Unavailable when it cannot be asked."""

    def is_ready(self, model: str, version: str | None) -> bool:
        """Whether it can answer without loading first. Raises NotFound."""

    def unready(self, model: str, version: str | None) -> str:
        """Why it cannot, for people; nothing where it can. Raises NotFound."""

    def missing(self, info: VersionInfo) -> str:
        """What a version lacks to answer without loading first, for people; nothing where it can."""

    def statistics(self, versions: Sequence[VersionInfo]) -> list[ModelStatistics]:
        """What the versions have done, in the same order."""

    def load(self, model: str, who: str) -> None:
        """Let the model answer; returns when it does. Raises NotFound, Unavailable."""

    def unload(self, model: str, who: str) -> None:
        """Let the model refuse requests; returns when it does. Raises NotFound."""
