"""skops files: scikit-learn models without a pickle; types that are none of scikit-learn's need to be trusted.

The only module that imports skops.
"""

from __future__ import annotations

import re
from pathlib import Path

from kaname.errors import CorruptData, InvalidInput, MissingDependency
from kaname.models.importing.pickles import from_object
from kaname.models.importing.types import ImportRequest, Prepared

_HARMLESS = re.compile(
    r"collections\.OrderedDict|lightgbm\.(sklearn\.LGBM\w+|basic\.Booster)|xgboost\.(sklearn\.XGB\w+|core\.Booster)"
)
"""Types that skops does not know and that only hold what they are given."""


def prepare(request: ImportRequest, folder: Path) -> Prepared:
    """Read the file and import the model in it. Raises InvalidInput for types that would have to be trusted."""
    try:
        from skops import io
    except ImportError as error:
        raise MissingDependency.of("skops", "skops", "reading a skops file") from error
    try:
        types = io.get_untrusted_types(file=request.path)
    except Exception as error:
        raise CorruptData(f"not a skops file: {type(error).__name__}: {error}", where=str(request.path)) from error
    foreign = [name for name in types if not _HARMLESS.fullmatch(name)]
    if foreign and not request.trust_pickle:
        raise InvalidInput(
            "the file names types that could run code; import it only if you trust who made it, with --trust-pickle",
            where=str(request.path),
            found=", ".join(foreign),
        )
    return from_object(io.load(request.path, trusted=types), request, folder)
