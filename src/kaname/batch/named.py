"""Columns by name: which the model needs, which are to be copied, which names the output gives itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from difflib import get_close_matches

from kaname.batch.types import Options
from kaname.errors import InvalidInput

_LISTED = 30


def require(wanted: Sequence[str], there: Sequence[str], where: str) -> None:
    """Raise InvalidInput unless each wanted column is there, once."""
    counts = Counter(there)
    missing = [name for name in wanted if name not in counts]
    if missing:
        raise InvalidInput(
            f"the file lacks {_columns(len(missing))} of the model: {_some(missing)}",
            where=where,
            found=_some(there),
            expected=_perhaps(missing[0], there) or _some(wanted),
        )
    twice = [name for name in wanted if counts[name] > 1]
    if twice:
        raise InvalidInput("the file has a column twice", where=where, found=_some(twice), expected="each name once")


def kept_names(options: Options, there: Sequence[str], where: str) -> tuple[str, ...]:
    """The columns to copy, in the order of the file with `keep_all`, else as they were asked for."""
    names = tuple(there) if options.keep_all else tuple(dict.fromkeys(options.keep))
    require(names, there, where)
    return names


def check_free(kept: Sequence[str], made: Sequence[str]) -> None:
    """Raise InvalidInput when a copied column has the name of a column that the output makes."""
    both = [name for name in kept if name in made]
    if both:
        raise InvalidInput(
            "a kept column has the name of a column of answers: rename it in the file, or keep fewer",
            where="--keep",
            found=_some(both),
            expected=f"none of {_some(made)}",
        )


def _columns(count: int) -> str:
    return "a column" if count == 1 else f"{count} columns"


def _perhaps(name: str, there: Sequence[str]) -> str | None:
    close = get_close_matches(name, there, n=1, cutoff=0.6)
    return f"{name}; perhaps {close[0]} is meant" if close else None


def _some(names: Sequence[str]) -> str:
    listed = ", ".join(names[:_LISTED])
    return listed if len(names) <= _LISTED else f"{listed}, … ({len(names)} in all)"
