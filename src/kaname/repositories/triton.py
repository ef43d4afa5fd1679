"""A model repository of the Triton Inference Server: `MODEL/config.pbtxt` and `MODEL/VERSION/model.onnx`.

The fields are those of `model_config.proto`, version 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import msgspec

from kaname.errors import InvalidInput
from kaname.models.config import Leaves
from kaname.repositories.section import Section
from kaname.repositories.types import Found, FoundModel, Remark, TensorName, Unpublished, published
from kaname.repositories.versions import Policy, folders_in, is_number, is_staged, newest_first, numbered, strays

CONFIG = "config.pbtxt"
FILES = {"onnxruntime": "model.onnx", "pytorch": "model.pt", "tensorflow": "model.savedmodel"}
_PLATFORMS = {
    "onnxruntime_onnx": "onnxruntime",
    "pytorch_libtorch": "pytorch",
    "tensorflow_savedmodel": "tensorflow",
    "tensorflow_graphdef": "graphdef",
    "tensorrt_plan": "tensorrt",
    "ensemble": "ensemble",
}
_FOREST_FILES = {
    "xgboost": "xgboost.model",
    "xgboost_json": "xgboost.json",
    "xgboost_ubj": "xgboost.ubj",
    "lightgbm": "model.txt",
}
_BACKENDS = {
    "python": "a Python model of Triton is written against Triton's own interface: wrap it in a class with `predict`",
    "ensemble": "an ensemble is no model of its own; its models are taken over one by one",
    "tensorrt": "a TensorRT plan is compiled for one kind of GPU: take the ONNX file that it was made of",
    "graphdef": "a frozen TensorFlow graph is not read: save the model as a SavedModel",
    "openvino": "an OpenVINO model is not read: take the ONNX file that it was made of",
}
_MODEL_WIDE = {
    "sequence_batching": "a model with a state per sequence of requests cannot be served",
    "ensemble_scheduling": _BACKENDS["ensemble"],
}
_REASONS = {
    "instance_group": "worker processes serve every model alike: server.workers, inference.threads",
    "optimization": "ONNX Runtime optimises each graph when it is loaded",
    "model_warmup": "a version is warmed with its sample before it answers",
    "parameters": "no setting of a model is its equal",
    "metric_tags": "metrics carry the model and the version",
    "model_metrics": "metrics are those of every model",
    "model_repository_agents": "agents are Triton's own",
    "model_operations": "operator libraries are Triton's own",
    "model_transaction_policy": "an answer per request; a Python model that yields answers piece by piece",
    "cc_model_filenames": "files per GPU are Triton's own",
    "batch_input": "an input that Triton makes of the batch is the model's own business",
    "batch_output": "an output that is split by Triton's rules is the model's own business",
    "runtime": "backends are Triton's own",
}
_BATCHING = {
    "preferred_batch_size": "the best batch is measured when a version is imported",
    "preserve_ordering": "answers of one connection come in the order of its requests",
    "priority_levels": "no setting of a model is its equal",
    "default_priority_level": "no setting of a model is its equal",
    "priority_queue_policy": "no setting of a model is its equal",
}
_TENSOR = {
    "dims": "shapes are the model's own",
    "format": "the layout is the model's own",
    "reshape": "shapes are the model's own",
}


def read(root: Path, unpublished: Unpublished = published) -> Found:
    """Everything in the repository at `root`; a model that cannot be read is refused, the others are not."""
    models = tuple(_model(folder, unpublished) for folder in folders_in(root))
    return Found(kind="triton", root=root, models=models, remarks=tuple(strays(root)))


def is_model(folder: Path) -> bool:
    """Whether a folder looks like a model of Triton's: its configuration, or a numbered version with a usual file."""
    if (folder / CONFIG).is_file():
        return True
    names = {*FILES.values(), "model.plan", "model.graphdef", "model.xml"}
    return any((each / name).exists() for each in folders_in(folder) if is_number(each.name) for name in names)


def _model(folder: Path, unpublished: Unpublished) -> FoundModel:
    try:
        return _Config(folder).model(unpublished)
    except InvalidInput as error:
        return FoundModel(name=folder.name, place=folder.name, refused=str(error))


class _Config:
    """What `config.pbtxt` says of one model, or Triton's defaults where there is none."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        shown = f"{folder.name}/{CONFIG}"
        self._given = (folder / CONFIG).is_file()
        self._says = Section.of_textproto(folder / CONFIG, shown) if self._given else Section.empty()
        self._remarks: list[Remark] = []
        self._read: set[str] = set()
        self._labels: dict[str, Path] = {}

    def model(self, unpublished: Unpublished) -> FoundModel:
        says = self._says
        self._check()
        policy = Policy.of(says.section("version_policy"), "num_versions")
        versions = numbered(self._folder, policy, self._artefact(), unpublished)
        if not versions:
            raise InvalidInput(
                "a model without a numbered version", where=self._folder.name, expected="a folder 1, 2, …"
            )
        config = self._config()
        tensors = tuple(self._tensors())
        versions = tuple(msgspec.structs.replace(version, labels=self._labels) for version in versions)
        self._remarks += [*says.left(_REASONS), *self._unread()]
        return FoundModel(
            name=self._folder.name,
            place=self._folder.name,
            versions=versions,
            preferred=newest_first(versions),
            config=config,
            tensors=tensors,
            remarks=tuple(self._remarks),
        )

    def _check(self) -> None:
        name = self._says.text("name")
        if name not in (None, "", self._folder.name):
            raise InvalidInput(
                "the name is not that of the folder",
                where=self._says.place("name"),
                found=name,
                expected=self._folder.name,
            )
        for field, reason in _MODEL_WIDE.items():
            if self._says.has(field):
                raise InvalidInput(reason, where=self._says.place(field), found=field)

    # --- the model's file -------------------------------------------------------------------------------

    def _artefact(self) -> partial[Path]:
        says = self._says
        platform, backend = says.text("platform") or "", says.text("backend") or ""
        backend = backend or _PLATFORMS.get(platform, platform)
        if platform == "tensorflow_graphdef":
            backend = "graphdef"
        parameters = dict(says.pairs("parameters"))
        name = says.text("default_model_filename")
        if backend == "fil":
            name = name or self._forest(parameters)
        elif backend and backend not in FILES:
            reason = _BACKENDS.get(backend, "no runtime executes what this backend does")
            raise InvalidInput(
                reason, where=says.place("backend" if says.has("backend") else "platform"), found=backend
            )
        self._remarks += [
            Remark(what=f"parameters.{key}", reason=_REASONS["parameters"], where=entry.place("key"))
            for key, entry in parameters.items()
        ]
        return partial(_file_in, name=name, backend=backend)

    def _forest(self, parameters: dict[str, Section]) -> str:
        entry = parameters.pop("model_type", None)
        value = None if entry is None else entry.section("value")
        kind = (value and value.text("string_value")) or "xgboost"
        if kind not in _FOREST_FILES:
            raise InvalidInput(
                "no runtime executes this kind of forest",
                where=self._says.place("parameters"),
                found=kind,
                expected=", ".join(_FOREST_FILES),
            )
        return _FOREST_FILES[kind]

    # --- settings ---------------------------------------------------------------------------------------

    def _config(self) -> Leaves:
        config: Leaves = {}
        most = self._says.whole("max_batch_size")
        if most is not None and most >= 0:
            config["max_batch_rows"] = max(1, most)
        cache = self._says.section("response_cache")
        if cache is not None and cache.flag("enable"):
            config["cache.enabled"] = True
        batching = self._says.section("dynamic_batching")
        if batching is not None:
            config |= self._delay(batching) | self._queue(batching)
            self._remarks += batching.left(_BATCHING)
        return config

    def _delay(self, batching: Section) -> Leaves:
        delay_us = batching.whole("max_queue_delay_microseconds")
        return {"max_delay_ms": delay_us / 1000} if delay_us else {}

    def _queue(self, batching: Section) -> Leaves:
        policy = batching.section("default_queue_policy")
        if policy is None:
            return {}
        config: Leaves = {}
        if length := policy.whole("max_queue_size"):
            config["limits.queue"] = length
        timeout_us, action = policy.whole("default_timeout_microseconds"), policy.text("timeout_action") or "REJECT"
        if timeout_us and action == "REJECT":
            config["timeout_ms"] = max(1, round(timeout_us / 1000))
        elif timeout_us:
            self._remarks.append(
                policy.remark("timeout_action", "a request that is too late is refused, never put off")
            )
        policy.flag("allow_timeout_override")  # any request may name its deadline
        self._remarks += policy.left()
        return config

    # --- inputs and outputs -----------------------------------------------------------------------------

    def _tensors(self) -> Iterator[TensorName]:
        for field in ("input", "output"):
            for tensor in self._says.sections(field):
                name, kind = tensor.text("name") or "", tensor.text("data_type") or ""
                if label := tensor.text("label_filename"):
                    self._labels[name] = self._label_file(label, tensor.place("label_filename"))
                tensor.wholes("dims")
                self._remarks += tensor.left(_TENSOR)
                yield TensorName(name=name, datatype=_datatype(kind), where=tensor.place("name"))

    def _label_file(self, label: str, where: str) -> Path:
        file = self._folder / label
        if not file.is_file():
            raise InvalidInput("the file of labels is not there", where=where, found=label)
        self._read.add(label)
        return file

    def _unread(self) -> Iterator[Remark]:
        """Files and folders beside the versions that nothing names."""
        for each in sorted(self._folder.iterdir()):
            if each.name == CONFIG or each.name in self._read or is_staged(each.name):
                continue
            if not (each.is_dir() and is_number(each.name)):
                reason = "not a version's number" if each.is_dir() else f"{CONFIG} does not name it"
                yield Remark(what=each.name, reason=reason, where=f"{self._folder.name}/{each.name}")


def _file_in(version: Path, *, name: str | None, backend: str) -> Path:
    """The model in the folder of a version. Raises InvalidInput when it is not there."""
    wanted = [name] if name else [FILES[backend]] if backend else list(FILES.values())
    for one in wanted:
        file = version / one
        if file.is_dir() and (file / one).is_file() and one.endswith(".onnx"):
            return file / one  # with its weights in files beside it
        if file.exists():
            return file
    found = ", ".join(sorted(each.name for each in version.iterdir())) or "an empty folder"
    where = f"{version.parent.name}/{version.name}"
    raise InvalidInput("the model's file is not there", where=where, found=found, expected=" or ".join(wanted))


def _datatype(kind: str) -> str:
    name = kind.removeprefix("TYPE_")
    return "BYTES" if name == "STRING" else name if kind else ""
