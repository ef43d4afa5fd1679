"""From a scheduled flight and a moment to the features that the delay model reads.

This is the only place where features are made: training, the replay and a live caller all go through
`features_of`, so that they cannot drift apart. Whatever a later feature needs to know about the world (the delay
of the same plane's last leg, the queue on the runway) becomes a field of `Known` and is asked for *as of a moment*.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field

HOUR_S = 3600
LEAD_S = HOUR_S
"""A prediction is made this long before the scheduled departure."""
STALE_S = 6 * HOUR_S
"""Weather that ended longer ago than this says nothing any more: its features are null."""

CATEGORICAL = ("carrier", "origin", "destination")
WEATHER = {
    "temperature_f": "temp",
    "wind_direction_deg": "wind_dir",
    "wind_speed_mph": "wind_speed",
    "wind_gust_mph": "wind_gust",
    "precipitation_in": "precip",
    "pressure_mb": "pressure",
    "visibility_miles": "visib",
}
"""Feature name -> column of the weather table."""
PLANE = ("built_year", "seats")
PUNCTUALITY = (
    "origin_delay_min", "origin_departures", "origin_overdue", "origin_overdue_min",
    "carrier_delay_min", "carrier_departures", "carrier_overdue", "carrier_overdue_min",
)  # fmt: skip
TIMETABLE = (*CATEGORICAL, "hour", "month", "weekday", "distance_miles")
FEATURES = (*TIMETABLE, "plane_age_years", *WEATHER)
LIVE = (*TIMETABLE, *PLANE, *WEATHER, *PUNCTUALITY)
"""Of the second version: the timetable comes with the request, the rest from the view `departure`."""
ENTITY = ("tail", "origin", "carrier")

Value = str | float | int | None
NO_WEATHER: tuple[float | None, ...] = (None,) * len(WEATHER)


@dataclass(frozen=True, slots=True)
class Flight:
    """One line of the timetable. Nothing in it depends on how the flight went."""

    carrier: str
    number: int
    origin: str
    destination: str
    tail: str | None
    """Registration of the plane, if one is assigned."""
    distance_miles: float
    year: int
    month: int
    weekday: int
    """0 is Monday; as `hour` and `month` in New York's local time, which is the timetable's."""
    hour: int
    departs_s: int
    """Scheduled departure, seconds since the Unix epoch (UTC)."""

    @property
    def moment_s(self) -> int:
        """When the delay of this flight is predicted, seconds since the Unix epoch (UTC)."""
        return self.departs_s - LEAD_S


@dataclass(frozen=True, slots=True)
class WeatherHistory:
    """Hourly weather of one airport, in the order in which the hours ended."""

    ended_s: list[int] = field(default_factory=list)
    hours: list[tuple[float | None, ...]] = field(default_factory=list)

    def last_full_hour(self, moment_s: int) -> tuple[float | None, ...]:
        """The newest hour that had ended at `moment_s`, in the order of `WEATHER`; nulls if it is stale."""
        after = bisect_right(self.ended_s, moment_s)
        if after == 0 or moment_s - self.ended_s[after - 1] > STALE_S:
            return NO_WEATHER
        return self.hours[after - 1]


@dataclass(frozen=True, slots=True)
class Known:
    """What is known about the world beside the timetable."""

    weather: Mapping[str, WeatherHistory]
    """By airport of origin."""
    built: Mapping[str, int]
    """Year in which a plane was built, by its registration."""


def features_of(flight: Flight, moment_s: int, known: Known) -> dict[str, Value]:
    """The features of `flight` as they are known at `moment_s`, in the order of `FEATURES`; null: not known."""
    built = known.built.get(flight.tail or "")
    history = known.weather.get(flight.origin)
    weather = history.last_full_hour(moment_s) if history else NO_WEATHER
    return {
        "carrier": flight.carrier,
        "origin": flight.origin,
        "destination": flight.destination,
        "hour": flight.hour,
        "month": flight.month,
        "weekday": flight.weekday,
        "distance_miles": flight.distance_miles,
        "plane_age_years": flight.year - built if built is not None else None,
        **dict(zip(WEATHER, weather, strict=True)),
    }
