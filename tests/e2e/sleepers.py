"""A model that takes its time without taking the processor, so that a busy machine does not change what a test sees."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.kaname import kaname

CODE = """
import time
import numpy as np

class Model:
    def predict(self, batch):
        time.sleep({seconds})
        return {{"twice": np.asarray(batch["x"], np.float32) * 2}}
"""
RUN_S = 0.004


def add(project: Path, *settings: str) -> None:
    """Add the model `sleeper` to a project: `RUN_S` per request, one request per run; `settings` are `name=value`."""
    code = project / "sleeper.py"
    code.write_text(CODE.format(seconds=RUN_S))
    sample = project / "sleeper.json"
    sample.write_text(json.dumps({"features": {"x": 1.5}}))
    ran = kaname("-C", project, "model", "add", "sleeper", f"{code}:Model", "--sample", sample)
    assert ran.code == 0, ran.out + ran.err
    configure(project, "max_batch_rows=1", *settings)


def configure(project: Path, *settings: str) -> None:
    """Set settings of the model."""
    ran = kaname("-C", project, "model", "set", "sleeper", *settings)
    assert ran.code == 0, ran.out + ran.err
