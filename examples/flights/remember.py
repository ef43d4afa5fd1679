"""The relations' first nine months, and the training set that is made of them: `python remember.py`.

Writes what happened from January to September to the relations, each row with the moment at which it became known, and
then asks for what the view `departure` would have said 60 minutes before each of these flights.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import groupby

import pandas as pd

import happenings
import prepare
from happenings import Happening, Row
from kaname.features.opened import Features
from kaname.platform import Platform

VIEW = "departure"
TRAINING = prepare.OUT / "training.parquet"
ROWS_AT_ONCE = 20_000


def write(features: Features, happened: Iterable[Happening]) -> int:
    """Write what happened, with the moments at which it became known; returns how many rows."""
    written = 0
    for relation, parts in groupby(sorted(happened, key=lambda each: each.relation), key=lambda each: each.relation):
        rows = [(row, part.at) for part in parts for row in part.rows]
        for first in range(0, len(rows), ROWS_AT_ONCE):
            some = rows[first : first + ROWS_AT_ONCE]
            written += features.relation(relation).insert([row for row, _ in some], at=[at for _, at in some])
    return written


def remember(features: Features) -> int:
    """Write the planes and the first nine months."""
    flights, weather, planes = prepare.read_tables(prepare.data_folder())
    summer = flights["month"] < prepare.FIRST_REPLAYED_MONTH
    past = [each for each in happenings.happenings(flights[summer], weather) if each.at_s < prepare.FIRST_REPLAYED_S]
    known = [Happening(prepare.YEAR_S, "plane", happenings.planes(planes)), *past]
    return write(features, known)


def autumn() -> list[Happening]:
    """What happens in the months that are replayed."""
    flights, weather, _ = prepare.read_tables(prepare.data_folder())
    happened = happenings.happenings(flights[flights["month"] >= prepare.FIRST_REPLAYED_MONTH - 1], weather)
    return [each for each in happened if each.at_s >= prepare.FIRST_REPLAYED_S]


class Unfolding:
    """Months that are replayed: what has happened by a moment is written when that moment comes."""

    def __init__(self, features: Features, happened: Iterable[Happening]) -> None:
        self._rest = deque(happened)
        self._features = features

    def until(self, moment_s: int) -> None:
        """Write what has happened since the last moment; of each key the last row. It is known now, not in 2013."""
        rows: dict[str, dict[object, Row]] = {}
        while self._rest and self._rest[0].at_s <= moment_s:
            happening = self._rest.popleft()
            rows.setdefault(happening.relation, {}).update({next(iter(row.values())): row for row in happening.rows})
        for relation, found in rows.items():
            self._features.relation(relation).insert(found.values())


def make(*, force: bool = False) -> bool:
    """Write the history and the training set; returns False when those of the same code lie there already."""
    stamp = prepare.OUT / "remembered"
    with Platform(prepare.HERE) as platform:
        there = next(platform.features.relation("punctuality").changes(), None) is not None
        if not force and there and stamp.exists() and stamp.read_text() == prepare.source_stamp():
            return False
        remember(platform.features)
        platform.features.training_set(VIEW, prepare.LABELS, TRAINING)
    stamp.write_text(prepare.source_stamp())
    return True


if __name__ == "__main__":
    prepare.prepare()
    make(force=True)
    print(f"{len(pd.read_parquet(TRAINING)):,} flights with what was known an hour before: {TRAINING}")
