"""The original of a tree library: its booster's scores as the outputs of the signature."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kaname.errors import MissingDependency
from kaname.models.importing import converted, sample
from kaname.models.importing.types import Domain, ImportRequest, Prepared, Tensors
from kaname.runtimes.scores import Scores
from kaname.signature import Feature, Label, Signature, Task
from kaname.tensors import Datatype, Tensor


def prepare(
    library: str,
    request: ImportRequest,
    folder: Path,
    *,
    meaning: tuple[Task, tuple[Label, ...]],
    features: Sequence[Feature],
    datatype: Datatype,
    domains: Sequence[Domain],
    predict: Callable[[Tensor], Any],
) -> Prepared:
    """A booster of `library`, whose runtime has the same name and answers exactly as it does.

    `meaning` is its task with its labels; `predict` answers a matrix of `datatype` with scores.
    """
    task, labels = meaning
    outputs = converted.classifier_outputs(labels) if task == "classification" else converted.value_output()
    signature = converted.matrix_signature(task, features, outputs, labels, datatype)
    rows, given = given_rows(request, signature)
    return Prepared(
        folder=folder,
        source=library,
        signature=signature,
        runtimes=(library,),
        rows=rows,
        domains=tuple(domains),
        original=original(predict, signature),
        precise=frozenset({library}),
        given=given,
        notes=[] if given else [no_sample_note([feature.name for feature in features])],
    )


def original(predict: Callable[[Tensor], Any], signature: Signature) -> Callable[[Tensors], Tensors]:
    """Answers rows with the scores that `predict` gives for their matrix."""
    scores = Scores(signature)
    return lambda rows: scores.outputs(predict(rows[0]))


def given_rows(request: ImportRequest, signature: Signature) -> tuple[Tensors, bool]:
    """The rows of the request's sample, if it has one."""
    if request.sample is None:
        return (), False
    return sample.rows_of(sample.read(request.sample), signature), True


def add_onnx(prepared: Prepared, convert: Callable[[], bytes]) -> Prepared:
    """Add the ONNX form beside the native one; why it cannot be made is a note, not an error."""
    return converted.add_onnx(prepared, lambda file: file.write_bytes(convert()))


def converted_by(function: str, library: str, model: Any, columns: int, **options: object) -> bytes:
    """The ONNX form that this function of onnxmltools makes of `model`, with one float matrix as its input."""
    try:
        import onnxmltools
        from onnxmltools.convert.common.data_types import FloatTensorType
    except ImportError as error:
        raise MissingDependency.of("onnxmltools", library, f"converting {library} models to ONNX") from error
    types = [("input", FloatTensorType([None, columns]))]
    raw: bytes = getattr(onnxmltools, function)(model, initial_types=types, **options).SerializeToString()
    return raw


def write(folder: Path, name: str, content: str | bytes) -> None:
    """One file of the artefact."""
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def no_sample_note(names: Sequence[str]) -> str:
    """What to say when the sample was made up."""
    return (
        f"no sample was given: a plausible one was made up for {', '.join(names[:5])}{' …' if len(names) > 5 else ''}"
    )
