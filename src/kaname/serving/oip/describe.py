"""Models in the protocol's own words: metadata, configuration, repository index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kaname.models.types import VersionInfo
from kaname.serving.oip.types import Catalog
from kaname.serving.snapshot import ModelEntry
from kaname.tensors import TensorSpec

PLATFORMS = {"onnx": "onnxruntime_onnx"}
"""The protocol's names of runtimes, where it has one; the others are called as here."""
READY, UNAVAILABLE = "READY", "UNAVAILABLE"


def metadata(info: VersionInfo, entry: ModelEntry) -> dict[str, Any]:
    """`$metadata_model_response` of a version."""
    return {
        "name": info.model,
        "versions": [version.version for version in entry.versions],
        "platform": PLATFORMS.get(info.runtime, info.runtime),
        "inputs": [_tensor(spec) for spec in info.signature.inputs],
        "outputs": [_tensor(spec) for spec in info.signature.outputs],
    }


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}


def configuration(info: VersionInfo, entry: ModelEntry, max_rows: int) -> dict[str, Any]:
    """The version as a `ModelConfig` of the model configuration extension; `dims` are without the batch."""
    batched = info.signature.batched
    most = max_rows if batched else 0
    config: dict[str, Any] = {
        "name": info.model,
        "platform": PLATFORMS.get(info.runtime, info.runtime),
        "backend": "onnxruntime" if info.runtime == "onnx" else info.runtime,
        "version_policy": {"specific": {"versions": [version.version for version in entry.versions]}},
        "max_batch_size": most,
        "input": [_config_tensor(spec, batched) for spec in info.signature.inputs],
        "output": [_config_tensor(spec, batched) for spec in info.signature.outputs],
    }
    if batched:
        delay_us = int(entry.info.config.max_delay_ms * 1000)
        best = info.profile.best_rows
        config["dynamic_batching"] = {"preferred_batch_size": [best], "max_queue_delay_microseconds": delay_us}
    return config


def _config_tensor(spec: TensorSpec, batched: bool) -> dict[str, Any]:
    kind = "TYPE_STRING" if spec.datatype == "BYTES" else f"TYPE_{spec.datatype}"
    return {"name": spec.name, "data_type": kind, "dims": list(spec.shape[1:] if batched else spec.shape)}


def index(catalog: Catalog, models: Sequence[ModelEntry], *, ready_only: bool) -> list[dict[str, str]]:
    """`$repository_index_response`: every version of `models` and whether it can answer."""
    listed = []
    for entry in models:
        for version in entry.versions:
            reason = catalog.missing(version) if entry.info.loaded else "unloaded"
            if not (reason and ready_only):
                state = UNAVAILABLE if reason else READY
                listed.append({"name": version.model, "version": version.version, "state": state, "reason": reason})
    return listed
