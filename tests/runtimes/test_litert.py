"""LiteRT sessions."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from kaname.errors import CorruptData, InvalidInput
from kaname.runtimes.catalog import open_session
from kaname.runtimes.litert import describe, quantisation
from kaname.runtimes.types import Session, SessionOptions
from kaname.signature import OutputSpec, Signature
from kaname.tensors import TensorSpec
from tests.runtimes import lites
from tests.runtimes.lites import ROWS, WEIGHTS

SIGNATURE = Signature(
    task="other",
    inputs=(TensorSpec(name="x", datatype="FP32", shape=(-1, 4)),),
    outputs=(OutputSpec(name="y", datatype="FP32", shape=(-1, 3)),),
)


def opened(path: Path, signature: Signature = SIGNATURE, threads: int = 1) -> Session:
    return open_session("litert", path, signature, SessionOptions(threads=threads))


@pytest.mark.parametrize("threads", [1, 2])
def test_runs_of_changing_sizes_answer_row_by_row(tmp_path: Path, threads: int) -> None:
    """The interpreter is resized between runs; every row's answer stays the same to the bit."""
    session = opened(lites.dense(tmp_path / "m.tflite"), threads=threads)
    alone = np.concatenate([session.run((ROWS[i : i + 1],))[0] for i in range(64)])
    np.testing.assert_allclose(alone, ROWS @ WEIGHTS.T, rtol=1e-5)
    for rows in (2, 64, 1, 7, 64, 63):
        (found,) = session.run((ROWS[:rows],))
        assert found.tobytes() == alone[:rows].tobytes()


def test_outputs_are_fresh_and_inputs_may_be_read_only(tmp_path: Path) -> None:
    """A later run does not touch what an earlier one answered; bytes of a request are taken as they are."""
    session = opened(lites.dense(tmp_path / "m.tflite"))
    (first,) = session.run((np.frombuffer(ROWS[:2].tobytes(), np.float32).reshape(2, 4),))
    kept = first.copy()
    session.run((ROWS[2:4],))
    np.testing.assert_array_equal(first, kept)


def test_a_wrong_size_raises_and_the_next_run_works(tmp_path: Path) -> None:
    """A failed resize is done again by the run after it."""
    session = opened(lites.dense(tmp_path / "m.tflite"))
    session.run((ROWS[:2],))
    with pytest.raises((ValueError, RuntimeError)):
        session.run((np.zeros((2, 7), np.float32),))
    (found,) = session.run((ROWS[:2],))
    np.testing.assert_allclose(found, ROWS[:2] @ WEIGHTS.T, rtol=1e-5)


def test_names_come_from_the_signature_or_the_tensors(tmp_path: Path) -> None:
    """Without a signature, a tensor's name loses what the converter put around it."""
    inputs, outputs = describe(lites.dense(tmp_path / "a.tflite"))
    assert [(s.name, s.datatype, s.shape) for s in (*inputs, *outputs)] == [
        ("x", "FP32", (-1, 4)),
        ("y", "FP32", (-1, 3)),
    ]
    inputs, outputs = describe(lites.dense(tmp_path / "b.tflite", signed=False, varies=False))
    assert [(s.name, s.shape) for s in (*inputs, *outputs)] == [("x", (1, 4)), ("StatefulPartitionedCall", (1, 3))]


def test_quantised_tensors_say_how(tmp_path: Path) -> None:
    """Scale and zero point of the tensor that has them, and numbers as they are."""
    path = lites.quantised(tmp_path / "m.tflite")
    assert quantisation(path) == {"y": (0.5, 3)}
    eights = msgspec.structs.replace(SIGNATURE, outputs=(OutputSpec(name="y", datatype="INT8", shape=(-1, 4)),))
    (found,) = opened(path, eights).run((np.array([[0, 1, 2, -4]], np.float32),))
    assert found.tolist() == [[3, 5, 7, -5]]


def test_what_cannot_be_opened_says_why(tmp_path: Path) -> None:
    """Bytes that are no model, a name that the file lacks, and strings."""
    (tmp_path / "broken.tflite").write_bytes(b"\x1c\x00\x00\x00TFL3 and no more")
    with pytest.raises(CorruptData, match=r"broken\.tflite"):
        opened(tmp_path / "broken.tflite")
    wrong = msgspec.structs.replace(SIGNATURE, inputs=(TensorSpec(name="z", datatype="FP32", shape=(-1, 4)),))
    with pytest.raises(CorruptData, match="no such input"):
        opened(lites.dense(tmp_path / "m.tflite"), wrong)
    with pytest.raises(InvalidInput, match="not served"):
        describe(lites.texts(tmp_path / "t.tflite"))


def test_a_run_leaves_no_trace_in_home(tmp_path: Path) -> None:
    """The library writes nothing and reports to nobody: an empty HOME stays empty."""
    path = lites.dense(tmp_path / "m.tflite")
    home = tmp_path / "home"
    home.mkdir()
    code = f"from kaname.runtimes.litert import describe; from pathlib import Path; describe(Path({str(path)!r}))"
    environment = {k: v for k, v in os.environ.items() if k not in ("CI", "XDG_CACHE_HOME")}
    subprocess.run([sys.executable, "-c", code], env={**environment, "HOME": str(home)}, check=True)
    assert list(home.rglob("*")) == []
