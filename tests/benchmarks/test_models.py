"""The benchmark's models are the ones that it speaks of."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from benchmarks import models

pytest.importorskip("onnx")


def test_the_cnn_has_the_stated_size() -> None:
    """325 million multiply-adds, to the million."""
    assert round(models.cnn_multiply_adds() / 1e6) == 325


@pytest.mark.slow
@pytest.mark.skipif(find_spec("skl2onnx") is None, reason="skl2onnx is not installed")
def test_models_are_built_once_and_answer(tmp_path: Path) -> None:
    """Each file takes its row and gives probabilities; a second call builds nothing; the seeds fix the bytes."""
    built = models.build(tmp_path)
    import onnxruntime

    import kaname.runtimes.onnx  # noqa: F401  # keeps ONNX Runtime quiet

    for model in built.values():
        session = onnxruntime.InferenceSession(str(model.path), providers=["CPUExecutionProvider"])
        probabilities = session.run(None, {session.get_inputs()[0].name: model.row[None]})[-1]
        assert np.allclose(probabilities.sum(axis=1), 1.0, atol=1e-4)
        assert probabilities.std() > 0
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    models.build(tmp_path)
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    again = models.build(tmp_path / "again")
    assert again["mlp"].path.read_bytes() == built["mlp"].path.read_bytes()
