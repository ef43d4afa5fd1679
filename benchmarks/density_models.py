"""Thousands of small models, no two alike: networks of one hidden layer whose width differs, registered in bulk.

The registry is asked as `kaname model add` asks it, but for the import: one model of each width is weighed and
measured, and lends its signature and profile to the others of that width, whose weights differ.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.models import serialised
from kaname.models.importing.process import reprofile
from kaname.models.importing.types import Imported, ImportRequest
from kaname.models.registry import Models
from kaname.models.types import RuntimeChoice
from kaname.runtimes.catalog import open_session, runtime_of
from kaname.runtimes.memory import measured
from kaname.runtimes.profile import profile
from kaname.runtimes.types import Profile, SessionOptions
from kaname.signature import Feature, OutputSpec, Signature
from kaname.stores import Stores
from kaname.tensors import TensorSpec

FEATURES, CLASSES = 32, 4
WIDTHS = 48
SIGNATURE = Signature(
    task="other",
    inputs=(TensorSpec(name="X", datatype="FP32", shape=(-1, FEATURES)),),
    outputs=(OutputSpec(name="probabilities", datatype="FP32", shape=(-1, CLASSES)),),
    features=tuple(Feature(name=f"f{i}", datatype="FP32") for i in range(FEATURES)),
)


@dataclass(frozen=True, slots=True)
class Kind:
    """All models of one width: their file but for `at`, where each has weights of its own, and what was measured."""

    raw: bytes
    at: int
    profile: Profile


def name_of(number: int) -> str:
    """The model's name; the number is its rank in the traffic."""
    return f"m{number:05d}"


def register(stores: Stores, count: int, mean_bytes: int) -> list[int]:
    """Add `count` models whose sessions take `mean_bytes` on average; returns what each is expected to take."""
    draw = np.random.default_rng(5)
    kinds = [_kind(int(width)) for width in _widths(mean_bytes)]
    chosen = draw.integers(0, len(kinds), count).tolist()
    marks = draw.normal(size=(count, 16)).astype(np.float32)

    def importer(request: ImportRequest, workdir: Path) -> Imported:
        number = int(request.name[1:])
        kind = kinds[chosen[number]]
        folder = Path(tempfile.mkdtemp(dir=workdir))
        mark = marks[number].tobytes()
        (folder / "model.onnx").write_bytes(kind.raw[: kind.at] + mark + kind.raw[kind.at + len(mark) :])
        return Imported(
            files=folder,
            source="onnx",
            runtime="onnx",
            signature=SIGNATURE,
            profile=kind.profile,
            choices=(RuntimeChoice(runtime="onnx", file="model.onnx", profile=kind.profile, chosen=True),),
            sample={"features": [0.5] * FEATURES},
            notes=(),
        )

    work = stores.project.data / "work"
    models = Models(stores.database, stores.artefacts, stores.clock, importer, work, reprofile)
    for number in range(count):
        models.add(name_of(number), stores.project.root, who="benchmark")
    return [kinds[kind].profile.session_bytes for kind in chosen]


def _widths(mean_bytes: int) -> np.ndarray:
    """Widths of the hidden layer, from a quarter to more than twice of what the mean needs."""
    usual = mean_bytes / 4 / (FEATURES + CLASSES + 1)
    shares = np.exp(np.linspace(-1.2, 1.2, WIDTHS))
    widths: np.ndarray = np.maximum(usual * shares / shares.mean(), 8)
    return widths


def _kind(width: int) -> Kind:
    from onnx import TensorProto, helper, numpy_helper

    draw = np.random.default_rng(width)
    first = draw.normal(size=(FEATURES, width)).astype(np.float32)
    second = draw.normal(size=(width, CLASSES)).astype(np.float32)
    weights = [
        numpy_helper.from_array(first, "W0"),
        numpy_helper.from_array(np.zeros(width, np.float32), "b0"),
        numpy_helper.from_array(second, "W1"),
    ]
    nodes = [
        helper.make_node("Gemm", ["X", "W0", "b0"], ["h"]),
        helper.make_node("Relu", ["h"], ["a"]),
        helper.make_node("MatMul", ["a", "W1"], ["z"]),
        helper.make_node("Softmax", ["z"], ["probabilities"]),
    ]
    given = helper.make_tensor_value_info("X", TensorProto.FLOAT, ["n", FEATURES])
    taken = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", CLASSES])
    raw = serialised(helper.make_graph(nodes, "small", [given], [taken], weights))
    return Kind(raw, raw.index(first.tobytes()), _measured(raw))


def _measured(raw: bytes) -> Profile:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        file.write_bytes(raw)
        runtime_of("onnx")
        session, size = measured(lambda: open_session("onnx", file, SIGNATURE, SessionOptions()))
        rows = (np.random.default_rng(3).normal(size=(64, FEATURES)).astype(np.float32),)
        found = profile(session, SIGNATURE, rows, budget_s=0.05)
    return Profile(
        rows=found.rows, us=found.us, best_rows=found.best_rows, exact=found.exact, splits=found.splits,
        session_bytes=size,
    )  # fmt: skip
