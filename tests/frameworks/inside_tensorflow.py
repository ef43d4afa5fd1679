"""TensorFlow: SavedModels, Keras files and what the real converter makes for LiteRT (run by `test_frameworks`)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import msgspec
import numpy as np
import pytest
import tensorflow as tf

from kaname.errors import CorruptData, InvalidInput, Unavailable
from kaname.models.importing.choose import again
from kaname.runtimes.catalog import begin, open_session
from kaname.runtimes.types import SessionOptions
from kaname.settings import Device
from tests.frameworks import graphs
from tests.frameworks.inside import ROWS, agree, answers, imported, make_project, predict_elsewhere, sampled
from tests.models.importing.test_process import version_of

IDS = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]], np.int32)
IMAGES = np.random.default_rng(4).normal(size=(6, 16, 16, 3)).astype(np.float32)


def said(model: Any, *inputs: Any) -> tuple[Any, ...]:
    """The model's own answer, as a tuple."""
    found = model(*inputs)
    return tuple(found.values()) if isinstance(found, dict) else (found,)


# --- SavedModels ----------------------------------------------------------------------------------------


def test_a_saved_model_answers_as_onnx(tmp_path: Path) -> None:
    """Names, types and free rows come from the serving signature; its ONNX form agrees and answers."""
    model = graphs.dense()
    model.export(str(tmp_path / "saved"), verbose=False)
    found = imported(tmp_path / "saved")
    assert (found.source, found.runtime) == ("tensorflow", "onnx")
    specs = [(s.name, s.datatype, s.shape) for s in (*found.signature.inputs, *found.signature.outputs)]
    assert specs == [("x", "FP32", (-1, 4)), ("output_0", "FP32", (-1, 3))]
    assert [choice.runtime for choice in found.choices] == ["tensorflow", "onnx"]
    assert all(choice.profile is not None and choice.parity is not None for choice in found.choices)
    agree(found, (ROWS,), lambda: said(model, ROWS))
    assert again(version_of(found), found.files)[1] == "onnx"


def test_a_model_lies_and_runs_where_it_is_put(tmp_path: Path) -> None:
    """Variables, inputs and outputs are on the second of two devices that a process has."""
    graphs.dense().export(str(tmp_path / "saved"), verbose=False)
    ran = subprocess.run(
        [sys.executable, "-m", "tests.frameworks.placed", str(tmp_path / "saved")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stdout == "['CPU:1'] ['CPU:1']", ran.stderr[-2000:]


@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_a_device_that_is_not_there_is_refused(device: Device, tmp_path: Path) -> None:
    """When TensorFlow is begun with, and when a model is opened; with the setting and what is there."""
    if tf.config.list_physical_devices("GPU"):
        begin("tensorflow", SessionOptions(device=device))
        return
    with pytest.raises(Unavailable) as raised:
        begin("tensorflow", SessionOptions(device=device))
    assert raised.value.where == "inference.device"
    found = imported(graphs.saved(graphs.Texts(), tmp_path))
    with pytest.raises(Unavailable, match="cannot use"):
        open_session("tensorflow", found.files, found.signature, SessionOptions(device=device))
    for there in ("auto", "cpu"):
        session = open_session("tensorflow", found.files, found.signature, SessionOptions(device=there))
        assert getattr(session, "device") == "cpu"  # noqa: B009  (no part of a Session)
        session.close()


def test_strings_run_in_tensorflow(tmp_path: Path) -> None:
    """No ONNX form: TensorFlow itself answers, bytes that are no UTF-8 included, and a note says why."""
    found = imported(graphs.saved(graphs.Texts(), tmp_path))
    assert found.runtime == "tensorflow"
    assert any("not converted to ONNX" in note for note in found.notes)
    assert [(s.name, s.datatype) for s in found.signature.outputs] == [("length", "INT32"), ("upper", "BYTES")]
    text = np.array([b"abc", b"\xff", b""], dtype=object)
    length, upper = answers(found, (text,))
    assert (length.tolist(), upper.tolist()) == ([3, 1, 0], [b"ABC", b"\xff", b""])
    assert (found.profile.splits, found.profile.exact) == (True, True)


def test_an_output_that_does_not_split_has_no_batch(tmp_path: Path) -> None:
    """A sum over rows makes a request one run."""
    found = imported(graphs.saved(graphs.Summed(), tmp_path))
    assert not found.signature.batched
    np.testing.assert_allclose(answers(found, (ROWS,))[0], ROWS.sum(), rtol=1e-5)


@pytest.mark.parametrize(("module", "operation"), [(graphs.Writes(), "WriteFile"), (graphs.CallsPython(), "PyFunc")])
def test_a_graph_that_leaves_its_language_needs_trust(tmp_path: Path, module: Any, operation: str) -> None:
    """The operation is found before TensorFlow is loaded."""
    with pytest.raises(InvalidInput, match=rf"--trust-pickle.*{operation}"):
        imported(graphs.saved(module, tmp_path))


def test_what_cannot_be_served_is_refused(tmp_path: Path) -> None:
    """A tensor of any rank, a SavedModel without a signature, and one that is damaged."""
    with pytest.raises(InvalidInput, match=r"x: not a tensor that is served.*known rank"):
        imported(graphs.saved(graphs.Shapeless(), tmp_path))
    tf.saved_model.save(tf.Module(), str(tmp_path / "empty"))
    with pytest.raises(InvalidInput, match="no signature"):
        imported(tmp_path / "empty")
    (tmp_path / "empty" / "saved_model.pb").write_bytes(b"nonsense")
    with pytest.raises(CorruptData, match="TensorFlow cannot load"):
        imported(tmp_path / "empty")


# --- Keras ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_keras_files_become_saved_models(tmp_path: Path, name: str) -> None:
    """Both forms answer as the model does; Keras itself is not needed to serve them."""
    model = graphs.dense()
    model.save(str(tmp_path / name))
    found = imported(tmp_path / name)
    assert (found.source, found.runtime) == ("keras", "onnx")
    assert {p.name for p in found.files.iterdir()} == {"saved_model", "model.onnx"}
    agree(found, (ROWS,), lambda: said(model, ROWS))


def test_several_inputs_and_outputs_keep_their_names(tmp_path: Path) -> None:
    """Inputs of different types, outputs by the keys of the model's dict."""
    model = graphs.mixed()
    model.save(str(tmp_path / "model.keras"))
    (tmp_path / "s.json").write_text(
        json.dumps(
            {"instances": [{"numbers": [1, 2, 3, 4], "ids": [1, 2, 3]}, {"numbers": [0, 0, 0, 1], "ids": [4, 5, 6]}]}
        )
    )
    found = imported(tmp_path / "model.keras", sample=tmp_path / "s.json")
    assert {(s.name, s.datatype) for s in found.signature.inputs} == {("ids", "INT32"), ("numbers", "FP32")}
    assert {s.name for s in found.signature.outputs} == {"score", "twice"}
    given = {"ids": IDS, "numbers": ROWS[:3]}
    wanted = [model(given)[s.name] for s in found.signature.outputs]
    agree(found, tuple(given[s.name] for s in found.signature.inputs), lambda: tuple(wanted))


def test_a_network_of_images(tmp_path: Path) -> None:
    """Convolutions with the channels last."""
    model = graphs.images()
    model.save(str(tmp_path / "model.keras"))
    found = imported(tmp_path / "model.keras")
    assert found.profile.splits
    agree(found, (IMAGES,), lambda: said(model, IMAGES))


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_python_in_a_keras_file_needs_trust(tmp_path: Path, name: str) -> None:
    """A lambda is Python code: refused in safe mode, run when it is trusted."""
    keras.Sequential([keras.layers.Input((4,)), keras.layers.Lambda(lambda x: x * 2)]).save(str(tmp_path / name))
    with pytest.raises(InvalidInput, match=r"Python code.*--trust-pickle"):
        imported(tmp_path / name)
    found = imported(tmp_path / name, trust_pickle=True)
    np.testing.assert_allclose(answers(found, (ROWS,))[0], ROWS * 2)


def test_a_layer_beside_the_file_is_found(tmp_path: Path) -> None:
    """With trust, a class of the person's own is imported from the folder of the file."""
    (tmp_path / "mine.py").write_text(
        "import keras\n\n\nclass Triple(keras.layers.Layer):\n    def call(self, x):\n        return x * 3\n"
    )
    code = (
        "import keras, mine\n"
        f"keras.Sequential([keras.layers.Input((4,)), mine.Triple()]).save({str(tmp_path / 'model.keras')!r})"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    found = imported(tmp_path / "model.keras", trust_pickle=True)
    np.testing.assert_allclose(answers(found, (ROWS,))[0], ROWS * 3)


def test_damage_is_corrupt(tmp_path: Path) -> None:
    """A file that is no Keras model."""
    (tmp_path / "model.keras").write_bytes(b"nonsense")
    with pytest.raises(CorruptData, match="Keras cannot load"):
        imported(tmp_path / "model.keras")


# --- MLflow ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flavour", ["tensorflow", "keras", "module"])
def test_an_mlflow_folder(tmp_path: Path, flavour: str) -> None:
    """A Keras file under either flavour, and a SavedModel."""
    import mlflow

    model = graphs.Twice() if flavour == "module" else graphs.dense()
    library = mlflow.keras if flavour == "keras" else mlflow.tensorflow
    library.save_model(model, str(tmp_path / "model"), pip_requirements=[])
    found = imported(tmp_path / "model")
    assert found.source == ("tensorflow" if flavour == "module" else "keras")
    agree(found, (ROWS,), lambda: said(model, ROWS))


# --- LiteRT ---------------------------------------------------------------------------------------------


def test_what_the_converter_makes_answers(tmp_path: Path) -> None:
    """A Keras model as LiteRT answers as the model does, for one row and for many."""
    for model, rows in ((graphs.dense(), ROWS), (graphs.images(), IMAGES)):
        found = imported(graphs.lite(model, tmp_path / "model.tflite"))
        assert found.runtime == "litert"
        assert found.signature.inputs[0].shape == (-1, *rows.shape[1:])
        agree(found, (rows,), lambda model=model, rows=rows: said(model, rows))  # type: ignore[misc]  # values of the loop


def test_a_quantised_model_takes_and_gives_whole_numbers(tmp_path: Path) -> None:
    """The notes hold scale and zero point; numbers turned with them are near those of the model."""
    model = graphs.dense()
    found = imported(graphs.lite(model, tmp_path / "model.tflite", representative=ROWS))
    assert [s.datatype for s in (*found.signature.inputs, *found.signature.outputs)] == ["INT8", "INT8"]
    from kaname.runtimes.litert import quantisation

    (x_scale, x_zero), (y_scale, y_zero) = quantisation(found.files / "model.tflite").values()
    assert sum("quantised numbers" in note for note in found.notes) == 2
    given = np.clip(np.round(ROWS / x_scale) + x_zero, -128, 127).astype(np.int8)
    (y,) = answers(found, (given,))
    np.testing.assert_allclose((y.astype(np.float32) - y_zero) * y_scale, said(model, ROWS)[0], atol=0.05)


# --- serving --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("needs", "features"), [(False, {"x": [1, 2, 3, 4]}), (True, {"text": "abc"})])
def test_a_worker_imports_tensorflow_only_for_what_needs_it(
    tmp_path: Path, needs: bool, features: dict[str, Any]
) -> None:
    """A model that answers as ONNX keeps TensorFlow out of the process; neither writes outside the project."""
    if needs:
        graphs.saved(graphs.Texts(), tmp_path)
    else:
        graphs.dense().export(str(tmp_path / "saved"), verbose=False)
    make_project(tmp_path / "project", tmp_path / "saved")
    ran = predict_elsewhere(tmp_path / "project", features, "tensorflow", home=tmp_path / "home")
    assert ran == needs


def test_an_import_leaves_no_trace_in_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras would write its settings into the user's home."""
    graphs.dense().save(str(tmp_path / "model.keras"))
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("KERAS_HOME", raising=False)
    monkeypatch.delenv("CI", raising=False)
    imported(tmp_path / "model.keras")
    assert list(home.rglob("*")) == []


def test_a_signature_of_another_model_is_corrupt(tmp_path: Path) -> None:
    """A name that the SavedModel lacks is found when it is opened, not at the first request."""
    found = imported(graphs.saved(graphs.Texts(), tmp_path))
    renamed = tuple(msgspec.structs.replace(spec, name="other") for spec in found.signature.inputs)
    wrong = msgspec.structs.replace(found.signature, inputs=renamed)
    with pytest.raises(CorruptData, match="no such input or output"):
        open_session("tensorflow", found.files, wrong, SessionOptions())


def test_a_sample_is_checked_against_the_signature(tmp_path: Path) -> None:
    """Another shape is refused with both."""
    model = graphs.dense()
    model.save(str(tmp_path / "model.keras"))
    with pytest.raises(InvalidInput, match="another shape"):
        imported(tmp_path / "model.keras", sample=sampled(tmp_path, x=ROWS[:, :2]))
