"""What an import is asked for and what it hands back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import numpy as np
from msgspec import Meta

from kaname.models.types import RuntimeChoice
from kaname.runtimes.types import Profile, SessionOptions
from kaname.signature import Signature
from kaname.tensors import Tensor

Kind = Literal[
    "onnx",
    "pickle",
    "lightgbm",
    "xgboost",
    "python",
    "litert",
    "pytorch",
    "torchscript",
    "torch_pickle",
    "tensorflow",
    "keras",
    "skops",
    "mlflow",
    "remote",
]
"""What a file is, before it is read: a pickle may turn out to hold any of scikit-learn, LightGBM, XGBoost."""

Tensors = tuple[Tensor, ...]

TOLERANCE, MAX_SHARE = 1e-4, 0.001


class ImportRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One file to import."""

    path: Path
    """The model's file; for a Python model `file.py` or `file.py:ClassName`."""
    sample: Path | None = None
    """Rows that the model can answer: JSON, CSV with a header, .npy or .npz."""
    trust_pickle: bool = False
    """Reading a pickle runs code that it names: only with this. So do other formats, see `trust`."""
    name: str = ""
    """The model's name, for messages."""
    tolerance: Annotated[float, Meta(ge=0)] = TOLERANCE
    """Largest difference from the original, relative to values above 1."""
    max_share: Annotated[float, Meta(ge=0, le=1)] = MAX_SHARE
    """Share of rows beyond the tolerance that is accepted of a conversion that has no alternative."""
    labels: dict[str, tuple[str, ...]] = {}
    """Output -> the classes that its columns stand for, where the model does not know them itself."""
    timeout_s: float = 600.0
    """The child process is killed after this time."""
    options: SessionOptions = SessionOptions()
    """How sessions will use the machine: what is measured is measured so."""


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """An artefact ready to be published, and everything that is known about it."""

    files: Path
    """Folder that holds exactly the artefact's files."""
    source: str
    runtime: str
    signature: Signature
    profile: Profile
    choices: tuple[RuntimeChoice, ...]
    sample: dict[str, object] | None
    """A request body that works when posted."""
    notes: tuple[str, ...]
    """What a person should know: measured differences, fallbacks, guesses."""


Method = Literal["graph", "int8", "float16"]
"""`graph`: the runtime's own rewriting, done once. `int8`: weights, and with calibration rows activations too, in
eight bits. `float16`: half precision, for devices that compute in it."""


class OptimizeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A version to make smaller or faster."""

    method: Method
    calibration: Path | None = None
    """Rows like those that will be asked; `int8` takes the ranges of activations from them (static quantisation)."""
    data: Path | None = None
    """Rows to compare on; None: those of `calibration`, else made up near the version's sample."""
    min_agreement: Annotated[float, Meta(ge=0, le=1)] = 0.99
    """Smallest share of rows that must be answered as before."""
    timeout_s: float = 600.0
    """The child process is killed after this time."""
    options: SessionOptions = SessionOptions()
    """How sessions will use the machine."""


class Weight(msgspec.Struct, frozen=True, kw_only=True):
    """What a version costs."""

    bytes: int
    """Of its files."""
    us_one: float
    """Microseconds of one row alone."""
    us_per_row: float
    """Microseconds of a row in the best batch."""
    best_rows: int


class OptimizeReport(msgspec.Struct, frozen=True, kw_only=True):
    """An optimised version beside the one that it was made of."""

    method: Method
    before: Weight
    after: Weight
    rows: int
    """How many were compared."""
    given: bool
    """Whether they were given, or made up near the version's sample."""
    agreement: float
    """Share of rows with the same label, or the same likeliest class; of outputs without classes with all numbers
    within 5% of the spread (standard deviation) that the output has over the rows."""
    max_difference: float


class Optimized(msgspec.Struct, frozen=True, kw_only=True):
    """An artefact made of a version's, and how the two compare."""

    imported: Imported
    report: OptimizeReport


class Domain(msgspec.Struct, frozen=True, kw_only=True):
    """Plausible values of one column, to draw rows from.

    `choices` are the only values when given (categories, codes, words). Else numbers from `low` to `high`,
    among them `points`: values that lie between the thresholds of a tree ensemble, where a conversion that
    rounds thresholds goes wrong.
    """

    low: float = -3.0
    high: float = 3.0
    points: tuple[float, ...] = ()
    choices: tuple[str | float, ...] = ()
    whole: bool = False
    """Only whole numbers occur."""


class Prepared(msgspec.Struct, kw_only=True):
    """What an importer hands on: files in `folder`, their signature, and the original to compare with.

    `rows` are real or drawn rows, floats kept at double precision so that rounding on the way in counts as a
    difference too. `original` answers such rows in the signature's order of outputs.
    """

    folder: Path
    source: str
    signature: Signature
    runtimes: tuple[str, ...]
    rows: Tensors
    domains: tuple[Domain, ...] = ()
    """One per feature; empty for models that take plain tensors."""
    original: Callable[[Tensors], Tensors] | None = None
    precise: frozenset[str] = frozenset()
    """Runtimes that are the original itself, and never need a fallback."""
    given: bool = False
    """Whether the rows begin with a sample that a person gave."""
    notes: list[str] = msgspec.field(default_factory=list)


def between(thresholds: Tensor) -> tuple[float, ...]:
    """Values between neighbouring thresholds, one below the lowest and one above the highest; at most 1,000.

    Data lies between the thresholds of an ensemble (they were put between data), so these values are plausible
    and still as close to thresholds as data comes.
    """
    cuts = np.unique(np.asarray(thresholds, dtype=np.float64))
    cuts = cuts[np.isfinite(cuts)]
    if not len(cuts):
        return ()
    if len(cuts) > 1_000:
        cuts = cuts[np.unique(np.linspace(0, len(cuts) - 1, 1_000).astype(int))]
    margin = max(float(np.ptp(cuts)) * 0.05, abs(float(cuts[0])) * 1e-6, 1e-6)
    inner = (cuts[:-1] + cuts[1:]) / 2
    return (float(cuts[0] - margin), *inner.tolist(), float(cuts[-1] + margin))
