"""Models as the prediction log in SQL lists them."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from kaname.models.registry import Models
from kaname.models.types import ModelInfo, VersionInfo
from kaname.predictions.shards.types import ModelRow


def model_rows(models: Models) -> list[ModelRow]:
    """A row per model with a version that is not archived: of the one that answers, or the newest."""
    _, found = models.snapshot_rows()
    return [_row(model, _shown(model, versions)) for model, versions in found if versions]


def _shown(model: ModelInfo, versions: list[VersionInfo]) -> VersionInfo:
    return next((version for version in versions if version.version == model.promoted), versions[-1])


def _row(model: ModelInfo, version: VersionInfo) -> ModelRow:
    accuracy = version.metrics.get("accuracy")
    return ModelRow(
        model_id=model.id,
        model_name=model.name,
        model_version=version.version,
        model_path=f"artefacts/{version.artefact}",
        model_type=version.source,
        status=version.status,
        accuracy=None if accuracy is None else Decimal(f"{accuracy:.6f}"),
        created_at=datetime.fromtimestamp(version.created_us // 1_000_000, UTC),
    )
