"""Events as people and programs read and name their values."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from kaname.call import Outputs
from kaname.predictions.shown import shown
from kaname.predictions.types import Prediction, Subject
from kaname.settings import Recording
from tests.predictions.traffic import IMAGES, answer, open_reader, record, tensor_call


def event(**inputs: object) -> Prediction:
    """An event with these inputs."""
    return Prediction(
        partition="iris/0",
        offset=0,
        request_id="r",
        time_us=0,
        latency_us=1,
        model="iris",
        model_id=1,
        version="1",
        version_id=1,
        key_id="k",
        rows=1,
        status="ok",
        inputs=dict(inputs),
    )


def test_texts_are_shown_as_text(tmp_path: Path) -> None:
    """The record keeps texts as bytes; JSON has the text, at any depth, and base64 only for what is none."""
    image, caption = np.zeros((1, 2), dtype=np.uint8), np.array(["café".encode()], dtype=object)
    run = Outputs((np.zeros((1, 2), dtype=np.float32),))
    record(tmp_path, [(tensor_call("r", image, caption), answer(run=run))], Recording(), IMAGES)
    (found,) = open_reader(tmp_path).scan()
    assert (found.inputs["caption"], shown(found).inputs["caption"]) == ([b"caf\xc3\xa9"], ["café"])
    raw = shown(event(x=[[b"caf\xc3\xa9", b"\xff"], 1.5, None]))
    assert msgspec.json.decode(msgspec.json.encode(raw))["inputs"] == {"x": [["café", "/w=="], 1.5, None]}


def test_a_number_is_found_as_it_was_sent(tmp_path: Path) -> None:
    """A tensor of single precision holds 5.1 as 5.0999999: who asks for 5.1 means it, and nobody means 5.2."""
    row = np.array([[5.1, 3.5, 1.4, 0.2]], dtype=np.float32)
    record(tmp_path, [(tensor_call("r", row), answer())], Recording())
    (found,) = open_reader(tmp_path).scan()
    (name,) = found.inputs
    assert Subject(inputs={name: 5.1}).test()(found)
    assert not Subject(inputs={name: 5.2}).test()(found)


@pytest.mark.parametrize(
    ("kept", "meant"),
    [(b"red", "red"), ("red", "red"), (1e300, 1e300), (10**400, 10**400)],
    ids=["bytes", "text", "large", "huge"],
)
def test_values_of_other_kinds_are_found(kept: object, meant: str | float) -> None:
    """Text as text or bytes, and numbers beyond single precision."""
    assert Subject(inputs={"x": meant}).test()(event(x=[[kept]]))
