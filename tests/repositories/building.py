"""Repositories as the tools of others leave them, small."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kaname.clock import SystemClock
from kaname.repositories.known import Repositories
from kaname.repositories.types import How, Kind, ModelReport, Report
from tests.models.world import World, write_model

TRITON = """
name: "scale"
platform: "onnxruntime_onnx"
max_batch_size: 8
input [ { name: "x" data_type: TYPE_FP32 dims: [ 1 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 1 ] } ]
"""


def write(path: Path, content: str | dict[str, Any] = "") -> Path:
    """A file with a text, or with JSON; its folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def triton(root: Path, *versions: int, name: str = "scale", config: str = TRITON) -> Path:
    """A Triton repository with one model whose versions multiply by their number."""
    for version in versions:
        write_model(root / name / str(version) / "model.onnx", float(version))
    if config:
        write(root / name / "config.pbtxt", config)
    return root


def take(world: World, root: Path, *, kind: Kind | None = None, only: tuple[str, ...] = (), **how: Any) -> Report:
    """Take a repository over as the command line does."""
    asked = How(who="test", **how)
    return Repositories(world.models, world.database, SystemClock()).take_over(root, asked, kind=kind, only=only)


def one(report: Report) -> ModelReport:
    """The report of a repository's only model."""
    (model,) = report.models
    return model


def outcomes(model: ModelReport) -> dict[str, str]:
    """What became of each version."""
    return {version.version: version.outcome for version in model.versions}


def reasons(model: ModelReport) -> dict[str, str]:
    """Why each thing was not taken over."""
    return {remark.what: remark.reason for remark in model.not_taken}
