"""What happens during the year, in the order in which it becomes known: rows of the relations of `features/`.

A delay becomes known when the plane has left, not when it should have: a flight of 10:00 that left at 10:50 says
nothing to anybody before 10:50. So the departures are counted by when they left. The relations are written every
`STEP_S`, as an airport's desk would: what has left within the last hour, and the weather of the last full hour.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd

from departures import HOUR_S, STALE_S, WEATHER

STEP_S = 600
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)

Row = dict[str, object]


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
    left_s = flights["time_s"] + flights["minute"] * 60 + flights["dep_delay"] * 60
    found: dict[tuple[int, str], list[Row]] = {}
    for who in ("origin", "carrier"):
        for at_s, row in punctuality(flights[who], left_s, flights["dep_delay"], counted_s=left_s):
            found.setdefault((at_s, "punctuality"), []).append(row)
    for at_s, row in weather_hours(weather):
        found.setdefault((at_s, "weather"), []).append(row)
    return [Happening(at_s, relation, rows) for (at_s, relation), rows in sorted(found.items())]


def planes(table: pd.DataFrame) -> list[Row]:
    """The register of planes."""
    columns = table[["tailnum", "year", "seats"]].astype(object)
    rows = columns.where(columns.notna(), None).itertuples(index=False, name=None)
    return [{"tail": t, "built_year": None if y is None else int(y), "seats": s} for t, y, s in rows]


def punctuality(
    who: pd.Series, left_s: pd.Series, delay_min: pd.Series, counted_s: pd.Series
) -> Iterator[tuple[int, Row]]:
    """For each airport or carrier its departures within the hour before a moment, whenever they have changed.

    `left_s` is when a plane really left, `counted_s` when its departure is counted: the same for who is honest. Counted
    earlier its delay would be known before it left; `last_left_at` tells, and the relation refuses the row.
    """
    table = pd.DataFrame({"who": who, "left": left_s, "counted": counted_s, "delay": delay_min}).dropna()
    for name, part in table.sort_values("counted", kind="stable").groupby("who"):
        counted, left = (part[column].to_numpy().astype(np.int64) for column in ("counted", "left"))
        total = np.concatenate([[0.0], np.cumsum(part["delay"].to_numpy())])
        ticks = -(-counted // STEP_S) * STEP_S
        ticks = np.unique(np.concatenate([ticks, ticks + HOUR_S]))
        first, behind = (np.searchsorted(counted, ticks - back, side="right") for back in (HOUR_S, 0))
        for at_s, a, b in zip(ticks.tolist(), first.tolist(), behind.tolist(), strict=True):
            yield (
                at_s,
                {
                    "who": name,
                    "mean_delay_min": float(total[b] - total[a]) / (b - a) if b > a else None,
                    "departures": b - a,
                    "last_left_at": EPOCH + int(left[a:b].max()) * SECOND if b > a else None,
                },
            )


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
