"""What a folder looks like."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kaname.repositories.detect import kind_of
from tests.models.world import write_model
from tests.repositories.building import triton, write
from tests.repositories.test_mlflow import export, version
from tests.repositories.test_mlserver import settings


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda root: triton(root, 1), "triton"),
        (lambda root: triton(root, 1, config=""), "triton"),
        (lambda root: write(root / "m" / "config.pbtxt"), "triton"),
        (lambda root: write(root / "m/1/model.savedmodel/saved_model.pb"), "triton"),
        (lambda root: settings(root), "mlserver"),
        (lambda root: settings(root, "."), "mlserver"),
        (lambda root: settings(root, "deep/down"), "mlserver"),
        (lambda root: write(root / "1" / "saved_model.pb"), "tensorflow"),
        (lambda root: write(root / "m" / "1" / "saved_model.pb"), "tensorflow"),
        (lambda root: write(root / "m" / "1" / "model.tflite"), "tensorflow"),
        (lambda root: write(root / "models.config"), "tensorflow"),
        (lambda root: export(root, version("1")), "mlflow"),
        (lambda root: export(root / "models" / "wine", version("1")), "mlflow"),
        (lambda root: write(root / "mlruns/models/wine/meta.yaml"), "mlflow"),
        (lambda root: (write(root / "wine/meta.yaml"), write(root / "wine/version-1/meta.yaml")), "mlflow"),
        (lambda root: write_model(root / "m" / "first" / "scale.onnx", 1.0), "folders"),
        (lambda root: write_model(root / "m" / "2026-11-28" / "any.onnx", 1.0), "folders"),
    ],
)
def test_each_kind_is_known_by_its_files(root: Path, make: Callable[[Path], object], kind: str) -> None:
    """Names of files and folders tell the kinds apart; nothing is read but what lies there."""
    make(root)
    write(root / ".git" / "model-settings.json")
    write(root / "staged.tmp" / "config.pbtxt")
    assert kind_of(root) == kind
