"""Models in the protocol's own words: the status of versions, and the signature as a SignatureDef."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from kaname.models.types import VersionInfo
from kaname.serving.oip.types import Catalog
from kaname.serving.snapshot import ModelEntry
from kaname.signature import Signature
from kaname.tensors import TENSORFLOW_OF, TensorSpec

SIGNATURE = "serving_default"
METHOD = "tensorflow/serving/predict"


def status(entry: ModelEntry, asked: str | None, catalog: Catalog) -> dict[str, Any]:
    """`GetModelStatusResponse` of one version or of all, and beside it what KServe answers: the name, and whether the
    version, or the one that answers, is in memory. Raises NotFound."""
    versions = entry.versions if asked is None else [catalog.version(entry.info.name, asked)]
    return {
        "name": entry.info.name,
        "ready": catalog.is_ready(entry.info.name, asked),
        "model_version_status": [
            {
                "version": version.version,
                "state": _state(entry, version, catalog),
                "status": {"error_code": "OK", "error_message": ""},
            }
            for version in versions
        ],
    }


def _state(entry: ModelEntry, version: VersionInfo, catalog: Catalog) -> str:
    """`START` is a version that is loaded by the first request that names it."""
    if not entry.info.loaded:
        return "END"
    return "AVAILABLE" if catalog.is_ready(entry.info.name, version.version) else "START"


def metadata(info: VersionInfo) -> dict[str, Any]:
    """`GetModelMetadataResponse`. The inputs are the names that `inputs` and `instances` have: features, if any."""
    signature = info.signature
    return {
        "model_spec": {"name": info.model, "signature_name": "", "version": info.version},
        "metadata": {
            "signature_def": {
                "signature_def": {
                    SIGNATURE: {
                        "inputs": dict(_inputs(signature)),
                        "outputs": {spec.name: _of(spec) for spec in signature.outputs},
                        "method_name": METHOD,
                    }
                }
            }
        },
    }


def _inputs(signature: Signature) -> Iterator[tuple[str, dict[str, Any]]]:
    for feature in signature.features:
        datatype = "BYTES" if feature.categories is not None else feature.datatype
        yield feature.name, _tensor(feature.name, datatype, (-1,))
    if not signature.features:
        specs: Sequence[TensorSpec] = signature.inputs
        for spec in specs:
            yield spec.name, _of(spec)


def _of(spec: TensorSpec) -> dict[str, Any]:
    return _tensor(spec.name, spec.datatype, spec.shape)


def _tensor(name: str, datatype: str, shape: Sequence[int]) -> dict[str, Any]:
    """A `TensorInfo`, whose 64-bit sizes are strings in JSON."""
    dims = [{"size": str(size), "name": ""} for size in shape]
    return {"dtype": TENSORFLOW_OF[datatype], "tensor_shape": {"dim": dims, "unknown_rank": False}, "name": name}
