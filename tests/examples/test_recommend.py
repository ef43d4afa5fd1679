"""The recommender: features are what was known at the end of a day, and the ranker beats popularity on real data."""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pd: Any = pytest.importorskip("pandas")
pytest.importorskip("lightgbm")
pytest.importorskip("duckdb")

days: Any = importlib.import_module("days")
movielens: Any = importlib.import_module("movielens")
rank: Any = importlib.import_module("rank")

from kaname.features.opened import Features  # noqa: E402
from kaname.platform import Platform  # noqa: E402

EXAMPLE = Path(movielens.__file__).parent
DAY_S = 86_400


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Platform]:
    """The relations and the view of the example in a project of the test."""
    shutil.copytree(EXAMPLE / "features", tmp_path / "features")
    (tmp_path / "kaname.yaml").write_text("name: recommend\n")
    with Platform(tmp_path) as platform:
        yield platform


def some_movies() -> Any:
    """Two people and three movies of two genres, over three days."""
    genres = np.zeros((4, 19), dtype=np.float32)
    genres[1, 0] = genres[2, 1] = genres[3, 0] = 1
    rows = [
        (1, 1, 5, DAY_S),
        (2, 1, 2, DAY_S + 5),
        (1, 2, 4, 2 * DAY_S),
        (2, 3, 3, 3 * DAY_S - 1),
        (1, 3, 1, 3 * DAY_S),
    ]
    ratings = pd.DataFrame(rows, columns=["user", "movie", "rating", "at_s"])
    return movielens.Movies(ratings, np.array([False, True, False]), [None, 1990, 1991, None], genres)


def test_a_rating_is_known_after_its_moment() -> None:
    """Counts, means and tastes are of what came before."""
    movies = some_movies()
    first, second = (days.movie_rows(movies, at_s)[0] for at_s in (DAY_S + 5, DAY_S + 6))
    assert (first["ratings"], first["liked"], second["ratings"], second["liked"]) == (1, 1, 2, 1)
    assert second["mean_rating"] == (7 + 5 * 3.5) / 7
    assert days.user_rows(movies, DAY_S)[0]["taste"][:2] == [0, 0]
    assert days.user_rows(movies, 3 * DAY_S)[0]["taste"][:2] == pytest.approx([0.5**0.5, 0.5**0.5])


def test_only_what_differs_is_written(project: Platform) -> None:
    """A second moment of the same knowledge writes nothing; the view answers with the last."""
    features: Features = project.features
    assert days.write(features, some_movies(), [DAY_S, DAY_S + 1, DAY_S + 2]) == 3 + 2 + 1 + 1
    read = features.view("candidate").read({"user_id": 1, "movie_id": 1})
    assert (read["ratings"], read["alike"], read["woman"]) == (1, 1.0, True)


def test_the_first_ten_are_what_counts() -> None:
    """Best first is 1; behind ten it is 0; a person without candidates gains nothing."""
    liked = pd.Series({1: {1}, 2: {99}})
    table = pd.DataFrame({"user_id": [1] * 12, "movie_id": range(1, 13)})
    assert rank.ndcg(liked[:1], table, -np.arange(12.0)) == 1.0
    assert rank.ndcg(liked[:1], table, np.arange(12.0)) == 0.0
    with_two = pd.concat([table, pd.DataFrame({"user_id": [2], "movie_id": [1]})])
    assert rank.ndcg(liked, with_two, -np.arange(13.0)) == 0.5


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_ranker_beats_popularity_and_is_served(project: Platform) -> None:
    """On the real data, which is fetched; the served model reads the view."""
    movielens.fetch()
    found = rank.run(project.features)
    assert found["popularity"] == pytest.approx(0.254, abs=0.001)
    assert found["popularity of 14 days"] == pytest.approx(0.308, abs=0.001)
    assert found["ranker on 7 features"] > 0.325
    assert set(json.loads(rank.SAMPLE.read_text())["features"]) == set(rank.FEATURES)
    project.models.add("ranker", rank.MODEL, who="test", sample=rank.SAMPLE)
    project.models.override("ranker", {"view": "candidate"}, who="test")
    known, new = (
        project.predict("ranker", entity={"user_id": 7, "movie_id": movie}).prediction for movie in (50, 100_000)
    )
    assert isinstance(known, float)
    assert isinstance(new, float)
    assert known > new
