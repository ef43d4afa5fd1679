"""Python models: a class in a file; its signature declared by the class, or inferred by running it on the sample."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from kaname.errors import InvalidInput, ModelFailed
from kaname.models.importing import draw, sample
from kaname.models.importing.detect import split_python
from kaname.models.importing.types import ImportRequest, Prepared, Tensors
from kaname.runtimes.catalog import FILES
from kaname.runtimes.python import MANIFEST, PythonManifest, instantiate, load_module
from kaname.signature import Feature, OutputSpec, Signature
from kaname.tensors import Datatype, TensorSpec, datatype_of


def prepare(request: ImportRequest, folder: Path) -> Prepared:
    """Copy the module and the files that its class names, and find its signature."""
    file, wanted = split_python(request.path)
    found = _class(file, wanted)
    _copy(file, found, folder)
    target = folder / FILES["python"]
    model = instantiate(target, found.__name__)
    given = None if request.sample is None else sample.read(request.sample)
    declared = getattr(found, "signature", None)
    if declared is not None:
        signature = _declared(declared, file, found.__name__)
        rows = (
            draw.blank(signature, np.random.default_rng(4), 8, 1) if given is None else sample.rows_of(given, signature)
        )
    elif given is None:
        raise InvalidInput(
            "a Python model needs a sample, or a class attribute `signature`", where=f"{file}:{found.__name__}"
        )
    else:
        signature, rows = _inferred(model, given)
    if not getattr(found, "deterministic", True):
        signature = msgspec.structs.replace(signature, deterministic=False)
    return Prepared(
        folder=folder,
        source="python",
        signature=signature,
        runtimes=("python",),
        rows=rows,
        given=given is not None,
        notes=[] if given is not None else ["no sample was given: one of random numbers was made up"],
    )


def _class(file: Path, wanted: str | None) -> type[Any]:
    """The class to import: the one named, or the only one in the file that has a `predict`."""
    module = load_module(file)
    classes = {
        name: item
        for name, item in vars(module).items()
        if isinstance(item, type) and item.__module__ == module.__name__ and callable(getattr(item, "predict", None))
    }
    if wanted is None and len(classes) == 1:
        return next(iter(classes.values()))
    if wanted is None or wanted not in classes:
        raise InvalidInput(
            "which class is the model?" if wanted is None else "the file has no such class with a `predict`",
            where=str(file),
            found=", ".join(classes) or "no class with a `predict`",
            expected=wanted or "file.py:ClassName",
        )
    return classes[wanted]


def _copy(file: Path, found: type[Any], folder: Path) -> None:
    shutil.copyfile(file, folder / FILES["python"])
    (folder / MANIFEST).write_bytes(msgspec.json.encode(PythonManifest(class_name=found.__name__)))
    for name in getattr(found, "files", ()):
        source = (file.parent / name).resolve()
        if file.parent.resolve() not in source.parents or not source.is_file():
            raise InvalidInput("no such file beside the module", where=f"{found.__name__}.files", found=str(name))
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, folder / name)


def _declared(declared: object, file: Path, name: str) -> Signature:
    if isinstance(declared, Signature):
        return declared
    try:
        return msgspec.convert({"task": "other", **declared} if isinstance(declared, dict) else declared, Signature)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"the declared signature is not one: {error}", where=f"{file}:{name}.signature") from error


# --- inference of the signature -------------------------------------------------------------------------


def _inferred(model: Any, given: sample.Sample) -> tuple[Signature, Tensors]:
    """Inputs from the sample, outputs from what `predict` answers to it."""
    inputs, features = _inputs(given)
    draft = Signature(task="other", inputs=inputs, outputs=(), features=features)
    rows = sample.rows_of(given, draft)
    batch = dict(zip((spec.name for spec in inputs), sample.narrow(rows, draft), strict=True))
    answer = model.predict(batch)
    named = answer if isinstance(answer, dict) else {"output": answer}
    outputs = tuple(_output(name, np.asarray(array), len(rows[0])) for name, array in named.items())
    return msgspec.structs.replace(draft, outputs=outputs), rows


def _inputs(given: sample.Sample) -> tuple[tuple[TensorSpec, ...], tuple[Feature, ...]]:
    if given.records is None:
        shape = (-1, *given.array.shape[1:])
        return (TensorSpec(name="input", datatype=_datatype(given.array), shape=shape),), ()
    columns = {name: np.array(given.column(name)) for name in given.names}
    if all(column.ndim == 1 for column in columns.values()):
        features = tuple(Feature(name=name, datatype=_datatype(column)) for name, column in columns.items())
        return tuple(TensorSpec(name=f.name, datatype=f.datatype, shape=(-1, 1)) for f in features), features
    return (
        tuple(
            TensorSpec(name=name, datatype=_datatype(column), shape=(-1, *column.shape[1:]))
            for name, column in columns.items()
        ),
        (),
    )


def _datatype(array: Any) -> Datatype:
    """Numbers are FP64, so that JSON's whole numbers and fractions both fit; text is BYTES."""
    if array.dtype.kind in "iuf":
        return "FP64"
    return "BYTES" if array.dtype == object else datatype_of(array.dtype)


def _output(name: str, array: Any, rows: int) -> OutputSpec:
    if not array.ndim or len(array) != rows:
        raise ModelFailed(
            "predict must answer with one row per input row",
            where=name,
            found=str(array.shape),
            expected=f"{rows} rows",
        )
    datatype: Datatype = "BYTES" if array.dtype.kind in "OSU" else datatype_of(array.dtype)
    return OutputSpec(name=name, datatype=datatype, shape=(-1, *array.shape[1:]))
