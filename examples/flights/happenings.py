"""What happens during the year, in the order in which it becomes known: rows of the relations of `features/`.

A delay becomes known when the plane has left, not when it should have: a flight of 10:00 that left at 10:50 says
nothing to anybody before 10:50, but that it is overdue. So departures are counted by when they left. The relations are
written every `STEP_S`, as an airport's desk would: what has left within the last hour, what should have left and has
not, and the weather of the last full hour.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from departures import HOUR_S, STALE_S, WEATHER

STEP_S = 600
FORGOTTEN_S = 2 * HOUR_S
"""For so long a flight is waited for that does not leave."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)

Row = dict[str, object]
Seconds = NDArray[np.float64]
MADE: dict[str, Callable[[float], object]] = {
    "mean_delay_min": float,
    "departures": int,
    "last_left_at": lambda value: EPOCH + int(value) * SECOND,
    "overdue": int,
    "overdue_min": float,
}
"""Attributes of a desk, of the numbers that are computed."""


@dataclass(frozen=True, slots=True)
class Happening:
    """Rows of one relation that became known at one moment."""

    at_s: int
    relation: str
    rows: list[Row]

    @property
    def at(self) -> datetime:
        """The moment."""
        return EPOCH + self.at_s * SECOND


def happenings(flights: pd.DataFrame, weather: pd.DataFrame) -> list[Happening]:
    """All of a year, in order."""
    due_s = flights["time_s"] + flights["minute"] * 60
    left_s = due_s + flights["dep_delay"] * 60
    found: dict[tuple[int, str], list[Row]] = {}
    for who in ("origin", "carrier"):
        for at_s, row in punctuality(flights[who], due_s, left_s, seen_s=left_s):
            found.setdefault((at_s, "punctuality"), []).append(row)
    for at_s, row in weather_hours(weather):
        found.setdefault((at_s, "weather"), []).append(row)
    return [Happening(at_s, relation, rows) for (at_s, relation), rows in sorted(found.items())]


def planes(table: pd.DataFrame) -> list[Row]:
    """The register of planes."""
    columns = table[["tailnum", "year", "seats"]].astype(object)
    rows = columns.where(columns.notna(), None).itertuples(index=False, name=None)
    return [{"tail": t, "built_year": None if y is None else int(y), "seats": s} for t, y, s in rows]


def punctuality(who: pd.Series, due_s: pd.Series, left_s: pd.Series, seen_s: pd.Series) -> Iterator[tuple[int, Row]]:
    """For each airport or carrier what it knows of its departures, whenever that has changed.

    `due_s` is when a plane was to leave, `left_s` when it really left (NaN: never), `seen_s` when it is seen leaving:
    for who is honest the same. Seen earlier its delay would be known before it left, and nobody would wait for it any
    more; `last_left_at` tells, and the relation refuses the row.
    """
    table = pd.DataFrame({"who": who, "due": due_s, "left": left_s, "seen": seen_s})
    for name, part in table.groupby("who"):
        due, left, seen = (part[column].to_numpy(dtype=float) for column in ("due", "left", "seen"))
        first, last = due.min(), max(due.max() + FORGOTTEN_S, np.nanmax(seen, initial=0) + HOUR_S)
        ticks = np.arange(first // STEP_S * STEP_S, last + STEP_S, STEP_S)
        for at_s, known in _changes(ticks, {**_departed(ticks, due, left, seen), **_overdue(ticks, due, seen)}):
            yield at_s, {"who": name, **known}


def _departed(ticks: Seconds, due: Seconds, left: Seconds, seen: Seconds) -> dict[str, Seconds]:
    """The departures that were seen within the hour before each tick."""
    order = np.argsort(seen, kind="stable")[: int((~np.isnan(seen)).sum())]
    delays = np.concatenate([[0.0], np.cumsum((left - due)[order] / 60)])
    newest = np.concatenate([[np.nan], np.maximum.accumulate(left[order])])
    first, behind = (np.searchsorted(seen[order], ticks - back, side="right") for back in (HOUR_S, 0))
    mean = (delays[behind] - delays[first]) / _or_nan(behind - first)
    return {"mean_delay_min": mean, "departures": behind - first, "last_left_at": newest[behind]}


def _overdue(ticks: Seconds, due: Seconds, seen: Seconds) -> dict[str, Seconds]:
    """The flights that should have left by each tick and were not seen leaving, and for how long they are waited for.

    One that is cancelled is waited for like any other, since nobody is told, but no longer than `FORGOTTEN_S`.
    """
    until = np.fmax(due, np.fmin(seen, due + FORGOTTEN_S))
    begun, ended = (np.searchsorted(np.sort(times), ticks, side="right") for times in (due, until))
    since = [np.concatenate([[0.0], np.cumsum(times)]) for times in (np.sort(due), due[np.argsort(until)])]
    mean_due = (since[0][begun] - since[1][ended]) / _or_nan(begun - ended)
    return {"overdue": begun - ended, "overdue_min": (ticks - mean_due) / 60}


def _or_nan(counts: NDArray[np.intp]) -> Seconds:
    """Counts to divide by; nothing comes of none."""
    return np.where(counts > 0, counts, np.nan)


def _changes(ticks: Seconds, columns: dict[str, Seconds]) -> Iterator[tuple[int, Row]]:
    """The ticks at which something is not what it was before, and what it is."""
    table = np.column_stack(list(columns.values())).astype(float)
    same = (table[1:] == table[:-1]) | (np.isnan(table[1:]) & np.isnan(table[:-1]))
    changed = np.concatenate([[True], ~same.all(axis=1)])
    for at_s, values in zip(ticks[changed].astype(int).tolist(), table[changed].tolist(), strict=True):
        known = {name: MADE[name](value) for name, value in zip(columns, values, strict=True) if value == value}
        yield at_s, known


def weather_hours(weather: pd.DataFrame) -> Iterator[tuple[int, Row]]:
    """Each hour from its end on; an airport that stops reporting has no weather after `STALE_S`."""
    for origin, hours in (
        weather.sort_values("time_s").drop_duplicates(["origin", "time_s"], keep="last").groupby("origin")
    ):
        values = hours[list(WEATHER.values())].astype(object).where(hours[list(WEATHER.values())].notna(), None)
        ended = (hours["time_s"] + HOUR_S).tolist()
        for at_s, after_s, row in zip(
            ended, [*ended[1:], None], values.itertuples(index=False, name=None), strict=True
        ):
            known = dict(zip(WEATHER, (None if value is None else float(value) for value in row), strict=True))
            yield at_s, {"origin": origin, "hour_ended_at": EPOCH + at_s * SECOND, **known}
            if after_s is None or after_s > at_s + STALE_S + STEP_S:
                yield at_s + STALE_S + STEP_S, {"origin": origin}
