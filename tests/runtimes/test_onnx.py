"""ONNX Runtime sessions."""

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
from kaname.runtimes.onnx import OnnxSession
from kaname.runtimes.types import Session, SessionOptions
from kaname.signature import OutputSpec, Signature
from kaname.tensors import TensorSpec
from tests.runtimes import graphs
from tests.runtimes.graphs import ROWS, signature_of


def opened(path: Path, signature: Signature | None = None) -> Session:
    return open_session("onnx", path, signature or signature_of(path), SessionOptions())


@pytest.mark.parametrize("rows", [1, 2, 64])
def test_every_size_answers_row_by_row(tmp_path: Path, rows: int) -> None:
    """One row (bound buffers) and many (plain run) give the same sums."""
    session = opened(graphs.doubled(tmp_path / "m.onnx"))
    (found,) = session.run((ROWS[:rows],))
    np.testing.assert_array_equal(found, ROWS[:rows] * 2)


def test_single_rows_are_bound_and_bit_equal_to_the_plain_run(tmp_path: Path) -> None:
    """The bound path is really used for one row, and it answers with the same bits."""
    session = opened(graphs.quantised(tmp_path / "m.onnx"))
    assert isinstance(session, OnnxSession)
    (bound,) = session.run((ROWS[:1],))
    assert session._bound is not None
    session._bound = None
    (plain,) = session.run((ROWS[:1],))
    assert bound.tobytes() == plain.tobytes()


def test_outputs_are_fresh(tmp_path: Path) -> None:
    """A later run does not touch what an earlier one answered."""
    session = opened(graphs.doubled(tmp_path / "m.onnx"))
    (first,) = session.run((ROWS[:1],))
    kept = first.copy()
    session.run((ROWS[1:2],))
    np.testing.assert_array_equal(first, kept)


def test_outputs_come_in_the_order_of_the_signature(tmp_path: Path) -> None:
    """A signature may order outputs otherwise than the file, or leave some out."""
    path = graphs.two_outputs(tmp_path / "m.onnx")
    declared = signature_of(path)
    turned = msgspec.structs.replace(declared, outputs=declared.outputs[::-1])
    for rows in (1, 3):
        y, z = opened(path, turned).run((ROWS[:rows],))
        np.testing.assert_array_equal(y, ROWS[:rows] * 2)
        np.testing.assert_array_equal(z, -ROWS[:rows])
        (only,) = opened(path, msgspec.structs.replace(declared, outputs=declared.outputs[1:])).run((ROWS[:rows],))
        np.testing.assert_array_equal(only, ROWS[:rows] * 2)


def test_dtypes_and_shapes_of_the_signature_win(tmp_path: Path) -> None:
    """Doubles in and out of a float file, a trailing dimension of one dropped."""
    path = graphs.summed_columns(tmp_path / "m.onnx")
    wanted = Signature(
        task="regression",
        inputs=(TensorSpec(name="x", datatype="FP64", shape=(-1, 4)),),
        outputs=(OutputSpec(name="y", datatype="FP64", shape=(-1,), role="value"),),
    )
    session = opened(path, wanted)
    for rows in (1, 5):
        (found,) = session.run((ROWS[:rows].astype(np.float64),))
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, ROWS[:rows].sum(axis=1), rtol=1e-6)


def test_text_goes_in_and_out_as_bytes(tmp_path: Path) -> None:
    """BYTES tensors hold `bytes` on both sides; what is not UTF-8 is the caller's fault."""
    session = opened(graphs.strings(tmp_path / "m.onnx"))
    given = np.array([["grün".encode()], [b""]], dtype=object)
    (found,) = session.run((given,))
    assert found.tolist() == given.tolist()
    with pytest.raises(InvalidInput, match="UTF-8"):
        session.run((np.array([[b"\xff"]], dtype=object),))


def test_a_wrong_shape_raises_and_the_next_run_works(tmp_path: Path) -> None:
    """A fault in one run leaves the session usable, bound or not."""
    session = opened(graphs.doubled(tmp_path / "m.onnx"))
    for rows in (1, 2):
        with pytest.raises(Exception, match=r"(?i)invalid|broadcast|dimension"):
            session.run((np.zeros((rows, 7), np.float32),))
        (found,) = session.run((ROWS[:rows],))
        np.testing.assert_array_equal(found, ROWS[:rows] * 2)


def test_a_broken_file_is_corrupt(tmp_path: Path) -> None:
    """The error names the file; a missing one as well."""
    (tmp_path / "model.onnx").write_bytes(b"not a model")
    signature = Signature(task="other", inputs=(), outputs=())
    with pytest.raises(CorruptData, match=r"model\.onnx"):
        open_session("onnx", tmp_path, signature, SessionOptions())
    with pytest.raises(CorruptData, match="lacks the file"):
        open_session("onnx", tmp_path / "gone", signature, SessionOptions())
    with pytest.raises(InvalidInput, match="no such runtime"):
        open_session("fortran", tmp_path, signature, SessionOptions())


def test_a_signature_of_another_file_is_corrupt(tmp_path: Path) -> None:
    """A name that the file lacks is found when it is opened, not at the first request."""
    path = graphs.doubled(tmp_path / "m.onnx")
    good = signature_of(path)
    wrong = msgspec.structs.replace(good, inputs=(TensorSpec(name="other", datatype="FP32", shape=(-1, 4)),))
    with pytest.raises(CorruptData, match="no such input"):
        opened(path, wrong)


def test_importing_onnxruntime_leaves_no_trace_in_home(tmp_path: Path) -> None:
    """The vendor's telemetry is off: an empty HOME stays empty, also outside CI."""
    path = graphs.doubled(tmp_path / "m.onnx")
    home = tmp_path / "home"
    home.mkdir()
    code = f"from kaname.runtimes.onnx import describe; from pathlib import Path; describe(Path({str(path)!r}))"
    environment = {k: v for k, v in os.environ.items() if k not in ("CI", "ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")}
    subprocess.run([sys.executable, "-c", code], env={**environment, "HOME": str(home)}, check=True)
    assert list(home.rglob("*")) == []
