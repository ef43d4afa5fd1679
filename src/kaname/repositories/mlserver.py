"""A folder of MLServer: a `model-settings.json` per model, and `settings.json` for the server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from kaname.errors import InvalidInput
from kaname.models.config import Leaves
from kaname.repositories.section import Section
from kaname.repositories.types import Found, FoundModel, FoundVersion, Remark, TensorName, Unpublished, published
from kaname.repositories.versions import is_staged, natural

MODEL, SERVER = "model-settings.json", "settings.json"
_RUNTIMES: dict[str, tuple[str, ...]] = {
    "mlserver_sklearn.SKLearnModel": ("model.joblib", "model.pickle", "model.pkl"),
    "mlserver_xgboost.XGBoostModel": ("model.bst", "model.json", "model.ubj"),
    "mlserver_lightgbm.LightGBMModel": ("model.bst", "model.txt"),
    "mlserver_onnx.OnnxModel": ("model.onnx",),
    "mlserver_mlflow.MLflowRuntime": ("MLmodel",),
}
"""Implementation -> files that it looks for where no `uri` says which, in its order."""
_SHORT = {name.rpartition(".")[2]: files for name, files in _RUNTIMES.items()}
_REASONS = {
    "parallel_workers": "worker processes serve every model alike: server.workers",
    "warm_workers": "workers are warmed before they answer",
    "platform": "a label for people",
    "versions": "the version is that of parameters.version",
    "tags": "a label for people",
    "model_repository_root": "the folder is the one that was read",
}
_PARAMETERS = {
    "content_type": "values are decoded by their datatype",
    "environment_tarball": "models run in the environment of this program",
    "environment_path": "models run in the environment of this program",
    "inference_pool_gid": "worker processes serve every model alike: server.workers",
    "autogenerate_inference_pool_gid": "worker processes serve every model alike: server.workers",
    "format": "the format is read from the file",
    "extra": "no setting of a model is its equal",
}
_SERVER = {
    "host": "set server.host",
    "http_port": "set server.port",
    "grpc_port": "set server.grpc_port",
    "parallel_workers": "set server.workers",
    "root_path": "paths are those of the Open Inference Protocol",
    "metrics_endpoint": "metrics are at /metrics of the same port",
    "metrics_port": "metrics are at /metrics of the same port",
    "debug": "set KANAME_LOG_LEVEL",
    "logging_settings": "set KANAME_LOG_LEVEL",
    "cors_settings": "set server.allowed_origins",
    "load_models_at_startup": "models that answer are loaded before the server is ready",
    "model_repository_root": "the folder is the one that was read",
    "extensions": "extensions are MLServer's own",
    "kafka_enabled": "requests come over HTTP and gRPC",
    "cache_enabled": "set models.cache.enabled",
    "cache_size": "set models.cache.max_bytes",
    "tracing_server": "no equal",
}


def read(root: Path, unpublished: Unpublished = published) -> Found:
    """Every model below `root`, at any depth, as MLServer finds them."""
    models = _told_apart([_model(root, place, unpublished) for place in places(root)])
    remarks: list[Remark] = []
    if (root / SERVER).is_file():
        try:
            remarks += Section.of_json(root / SERVER, SERVER).left(_SERVER)
        except InvalidInput as error:
            remarks.append(Remark(what=SERVER, reason=str(error), where=SERVER))
    named = {place.parent for place in places(root)}
    remarks += [
        Remark(what=each.name, reason=f"no {MODEL} in it", where=each.name)
        for each in sorted(root.iterdir())
        if each.is_dir() and not is_staged(each.name) and not any(each == one or each in one.parents for one in named)
    ]
    return Found(kind="mlserver", root=root, models=models, remarks=tuple(remarks))


def places(root: Path) -> list[Path]:
    """The files that describe models, sorted."""
    found = []
    for base, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not is_staged(name)]
        if MODEL in files:
            found.append(Path(base) / MODEL)
    return sorted(found)


def _told_apart(models: list[FoundModel]) -> tuple[FoundModel, ...]:
    """One model per name: folders of one name are its versions, unless two are the same version."""
    by_name: dict[str, list[FoundModel]] = {}
    for model in models:
        by_name.setdefault(model.name, []).append(model)
    return tuple(_together(each) for each in by_name.values())


def _together(models: list[FoundModel]) -> FoundModel:
    first, *others = models
    if not others:
        return first
    places_ = ", ".join(model.place for model in models)
    names = [version.version for model in models for version in model.versions]
    if any(model.refused for model in models) or len({*names}) < len(names) or "" in names:
        reason = f"several folders have this model in the same version; found {places_}; expected parameters.version"
        refused = next((model.refused for model in models if model.refused), reason)
        return FoundModel(name=first.name, place=first.place, refused=refused)
    ordered = sorted(models, key=lambda model: natural(model.versions[0].version))
    newest = ordered[-1]
    return FoundModel(
        name=first.name,
        place=newest.place,
        versions=tuple(model.versions[0] for model in ordered),
        preferred=tuple(model.versions[0].version for model in reversed(ordered)),
        config=newest.config,
        tensors=newest.tensors,
        remarks=tuple(remark for model in ordered for remark in model.remarks),
    )


def _model(root: Path, file: Path, unpublished: Unpublished) -> FoundModel:
    place = file.parent.relative_to(root).as_posix()
    name = file.parent.name if place != "." else root.name
    shown = file.relative_to(root).as_posix()
    try:
        says = Section.of_json(file, shown)
        return _described(says, says.text("name") or name, file.parent, place, unpublished(file.parent))
    except InvalidInput as error:
        return FoundModel(name=name, place=place, refused=str(error))


def _described(says: Section, name: str, folder: Path, place: str, pending: str | None) -> FoundModel:
    parameters = says.section("parameters") or Section.empty()
    version = parameters.text("version") or ""
    if pending is None:
        found = FoundVersion(version=version, path=_artefact(says, parameters, folder))
    else:
        found = FoundVersion(version=version, path=folder, offer="pending", reason=pending)
    config, remarks = _config(says)
    tensors = tuple(_tensors(says, remarks))
    remarks += [*parameters.left(_PARAMETERS), *says.left(_REASONS)]
    return FoundModel(
        name=name,
        place=place,
        versions=(found,),
        preferred=(version,),
        config=config,
        tensors=tensors,
        remarks=tuple(remarks),
    )


# --- the model's file -----------------------------------------------------------------------------------


def _artefact(says: Section, parameters: Section, folder: Path) -> Path:
    implementation = says.text("implementation") or ""
    names = _RUNTIMES.get(implementation) or _SHORT.get(implementation.rpartition(".")[2])
    if names is None:
        raise InvalidInput(
            "no runtime executes what this implementation does; wrap the model in a class with `predict`",
            where=says.place("implementation"),
            found=implementation or "none",
            expected=", ".join(_RUNTIMES),
        )
    uri = parameters.text("uri")
    where = parameters.place("uri") if uri else folder.name
    place = _local(uri, folder, where) if uri else folder
    if place.is_file() or (place / "MLmodel").is_file():
        return place.parent if place.name == "MLmodel" else place
    if place.is_dir():
        file = next((place / name for name in names if (place / name).is_file()), None)
        if file is not None:
            return file
    found = uri or "none of them"
    raise InvalidInput("the model's file is not there", where=where, found=found, expected=" or ".join(names))


def _local(uri: str, folder: Path, where: str) -> Path:
    parts = urlsplit(uri)
    if parts.scheme not in ("", "file") or parts.netloc not in ("", "localhost"):
        raise InvalidInput("the model is not in the folder", where=where, found=uri, expected="a path on this machine")
    return folder / (unquote(parts.path) if parts.scheme else uri)


# --- settings -------------------------------------------------------------------------------------------


def _config(says: Section) -> tuple[Leaves, list[Remark]]:
    """Batches form only where both fields say so, and so do the settings that are their equal."""
    config: Leaves = {"cache.enabled": True} if says.flag("cache_enabled") else {}
    most, longest_s = says.whole("max_batch_size") or 0, says.number("max_batch_time") or 0.0
    if most > 1 and longest_s > 0:
        return config | {"max_batch_rows": most, "max_delay_ms": longest_s * 1000}, []
    reason = "batches are off for MLServer without max_batch_size above 1 and max_batch_time; here they are measured"
    return config, [says.remark(name, reason) for name in ("max_batch_size", "max_batch_time") if says.has(name)]


def _tensors(says: Section, remarks: list[Remark]) -> Iterator[TensorName]:
    for field in ("inputs", "outputs"):
        for tensor in says.sections(field):
            yield TensorName(
                name=tensor.text("name") or "", datatype=tensor.text("datatype") or "", where=tensor.place("name")
            )
            tensor.wholes("shape")
            remarks += tensor.left({"parameters": _PARAMETERS["content_type"], "tags": _REASONS["tags"]})
