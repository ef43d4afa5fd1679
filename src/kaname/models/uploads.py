"""A model that comes over HTTP: its bytes in the body, everything else in the query."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import msgspec
from msgspec import Meta

from kaname.errors import Forbidden, InvalidInput, KanameError
from kaname.models.importing.types import MAX_SHARE, TOLERANCE
from kaname.web.resources import Asked

PLAIN = (".onnx", ".txt", ".json", ".ubj", ".tflite", ".keras", ".h5", ".skops")
PICKLES = (".joblib", ".pkl", ".pickle", ".pt2", ".pt", ".pth")
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class AddQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is said about an uploaded model."""

    file_name: Annotated[
        str,
        Meta(
            description="Its ending says what the body is: .onnx, .txt (LightGBM), .ubj (XGBoost), .tflite and so on."
        ),
    ] = "model.onnx"
    version: Annotated[str | None, Meta(description="Name of the version; the next number when left out.")] = None
    metric: Annotated[tuple[str, ...], Meta(description="`name=value`, as in `auc=0.91`; may be repeated.")] = ()
    tag: Annotated[tuple[str, ...], Meta(description="May be repeated.")] = ()
    sample: Annotated[
        str | None, Meta(description='JSON of rows that the model can answer: `{"features": …}`, `{"instances": […]}`.')
    ] = None
    promote: Annotated[
        bool | None, Meta(description="Whether it shall answer; only if nothing does yet when left out.")
    ] = None
    trust_pickle: Annotated[
        bool, Meta(description="Read a pickle, which runs code that it names. Needs scope `admin`.")
    ] = False
    tolerance: Annotated[
        float, Meta(ge=0, description="Largest difference accepted from the original, relative to values above 1.")
    ] = TOLERANCE
    max_share: Annotated[
        float, Meta(ge=0, le=1, description="Share of rows that may differ by more, where nothing else can run it.")
    ] = MAX_SHARE
    wait_s: Annotated[float, Meta(ge=0, le=300, description="Longest wait for all workers to apply it.")] = 30.0

    def metrics(self) -> dict[str, float]:
        """The metrics as numbers; raises InvalidInput."""
        found: dict[str, float] = {}
        for text in self.metric:
            name, equals, value = text.partition("=")
            try:
                if not name or not equals:
                    raise ValueError
                found[name] = float(value)
            except ValueError:
                raise InvalidInput(
                    "not a metric", where="query.metric", found=repr(text), expected="name=number"
                ) from None
        return found


def check(asked: Asked, query: AddQuery) -> None:
    """Raise InvalidInput or Forbidden when this caller may not upload a file of this kind."""
    suffix = Path(query.file_name).suffix.lower()
    if not _FILE_NAME.fullmatch(query.file_name) or suffix not in (*PLAIN, *PICKLES):
        raise InvalidInput(
            "not the name of a model file that may be uploaded (Python models are added on the server itself)",
            where="query.file_name",
            found=repr(query.file_name),
            expected=", ".join((*PLAIN, *PICKLES)),
        )
    if suffix in PICKLES and not query.trust_pickle:
        raise InvalidInput(
            "reading a pickle runs code that it names, so it needs trust_pickle=true (and scope admin); ONNX does not",
            where="query.trust_pickle",
            found="false",
            expected="true",
        )
    if query.trust_pickle and "admin" not in asked.principal.scopes:
        raise Forbidden("a pickle runs code on the server", where="query.trust_pickle", found="true", expected="admin")


@contextmanager
def unpacked(asked: Asked, query: AddQuery) -> Iterator[tuple[Path, Path | None]]:
    """The uploaded file under its own name, and its sample; both are gone afterwards.

    Errors that name a place in that folder name the request instead.
    """
    assert asked.file is not None
    with TemporaryDirectory(dir=asked.file.parent, prefix="add-") as folder:
        path = asked.file.rename(Path(folder) / query.file_name)
        sample: Path | None = None
        if query.sample is not None:
            sample = Path(folder) / "sample.json"
            sample.write_text(query.sample)
        try:
            yield path, sample
        except KanameError as error:
            places = {str(path): "body", str(sample): "query.sample"}
            error.where = places.get(error.where or "", error.where)
            error.message = error.message.replace(f"{folder}/", "")
            raise
