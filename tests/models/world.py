"""A registry on a temporary folder with a small importer of its own: ONNX files, read by ONNX Runtime."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from kaname.clock import Clock, SystemClock
from kaname.errors import InvalidInput
from kaname.models.importing.types import Imported, ImportRequest
from kaname.models.registry import Models, Profiled
from kaname.models.types import RuntimeChoice, VersionInfo
from kaname.runtimes.types import Profile
from kaname.signature import OutputSpec, Signature
from kaname.storage.blobs.file import ArtefactStore
from kaname.tensors import TensorSpec
from tests.databases import open_at, open_database

PROFILE = Profile(rows=(1, 2), us=(2.0, 3.0), best_rows=2, exact=True, splits=True)


def write_model(path: Path, factor: float) -> Path:
    """An ONNX file that multiplies its input by `factor`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    weight = numpy_helper.from_array(np.array([factor], dtype=np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "w"], ["y"])],
        "scale",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1])],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    onnx.checker.check_model(str(path))
    return path


def import_onnx(request: ImportRequest, workdir: Path) -> Imported:
    """Read the file with ONNX Runtime and take the signature from it."""
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(request.path.read_bytes(), providers=["CPUExecutionProvider"])
    except (OSError, RuntimeError, ValueError) as error:
        raise InvalidInput("not an ONNX file", where=str(request.path)) from error
    except Exception as error:
        if type(error).__module__.startswith("onnxruntime"):
            raise InvalidInput("not an ONNX file", where=str(request.path)) from error
        raise
    inputs = tuple(TensorSpec(name=each.name, datatype="FP32", shape=(-1, 1)) for each in session.get_inputs())
    outputs = tuple(
        OutputSpec(name=each.name, datatype="FP32", shape=(-1, 1), role="value") for each in session.get_outputs()
    )
    files = workdir / "files"
    files.mkdir()
    shutil.copyfile(request.path, files / "model.onnx")
    return Imported(
        files=files,
        source="onnx",
        runtime="onnx",
        signature=Signature(task="regression", inputs=inputs, outputs=outputs),
        profile=PROFILE,
        choices=(
            RuntimeChoice(runtime="onnx", file="model.onnx", profile=PROFILE, chosen=True, reason="the only one"),
        ),
        sample={"instances": [[1.0]]},
        notes=("one input",),
    )


def profile_by_size(version: VersionInfo, path: Path) -> Profiled:
    """A profile that shows it saw the artefact: its first time is the size of the file."""
    size = float((path / "model.onnx").stat().st_size)
    profile = Profile(rows=(1, 2), us=(size, size), best_rows=1, exact=True, splits=True)
    return profile, version.runtime, (RuntimeChoice(runtime=version.runtime, file="model.onnx", chosen=True),)


def factor_of(models: Models, artefacts: ArtefactStore, name: str, version: str) -> float:
    """What a version multiplies by, read from its stored artefact."""
    loaded = onnx.load(str(artefacts.path(models.version(name, version).artefact) / "model.onnx"))
    (factor,) = struct.unpack("<f", loaded.graph.initializer[0].raw_data)
    return float(factor)


class World:
    """Everything that a registry needs, on one folder; open it twice for two processes."""

    def __init__(self, folder: Path, clock: Clock | None = None, url: str | None = None) -> None:
        """`url`: the database; without, a file in the folder."""
        self.folder = folder
        self.clock = clock or SystemClock()
        self.database = open_database(folder / "control.db") if url is None else open_at(url)
        self.artefacts = ArtefactStore(folder / "artefacts")
        self.requests: list[ImportRequest] = []
        self.models = Models(
            self.database, self.artefacts, self.clock, self._import, folder / "imports", profile_by_size
        )

    def _import(self, request: ImportRequest, workdir: Path) -> Imported:
        self.requests.append(request)
        return import_onnx(request, workdir)

    def file(self, factor: float) -> Path:
        """A model file that multiplies by `factor`."""
        return write_model(self.folder / f"times-{factor}.onnx", factor)

    def add(
        self, name: str, factor: float = 1.0, version: str | None = None, promote: bool | None = None
    ) -> VersionInfo:
        """Add a version that multiplies by `factor`."""
        return self.models.add(name, self.file(factor), who="test", version=version, promote=promote)[0]

    def actions(self) -> list[tuple[str, str]]:
        """Action and subject of every change."""
        return [(change.action, change.subject) for change in self.models.changes(limit=10_000)]

    def close(self) -> None:
        """Close the database."""
        self.database.close()
