"""What is known at the end of each day: rows of the relations `user` and `movie`, of all ratings before that moment."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import numpy as np

from kaname.features.opened import Features
from movielens import DAY_S, LIKED, Movies, unit

RECENT_S = 14 * DAY_S
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Row = dict[str, object]


def moment(at_s: int) -> datetime:
    """Seconds since the Unix epoch as a time."""
    return EPOCH + timedelta(seconds=at_s)


def movie_rows(movies: Movies, at_s: int) -> list[Row]:
    """Every movie as it is known at a moment."""
    before = movies.ratings[movies.ratings["at_s"] < at_s]
    movie, rating = before["movie"].to_numpy(), before["rating"].to_numpy()
    recent = before["at_s"].to_numpy() >= at_s - RECENT_S
    count = len(movies.years)

    def counted(which: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        return np.bincount(which, weights, minlength=count)

    ratings = counted(movie)
    columns = (
        ratings.tolist(),
        counted(movie[recent]).tolist(),
        counted(movie[recent & (rating >= LIKED)]).tolist(),
        ((counted(movie, rating) + 5 * 3.5) / (ratings + 5)).tolist(),
        ((counted(movie, movies.women[before["user"]].astype(float)) + 8 * 0.25) / (ratings + 8)).tolist(),
    )
    names = ("ratings", "recent", "liked", "mean_rating", "women_share")
    rows = (dict(zip(names, each, strict=True)) for each in zip(*columns, strict=True))
    genres = movies.genres.tolist()
    return [{"movie_id": i, "year": movies.years[i], "genres": genres[i], **row} for i, row in enumerate(rows) if i > 0]


def user_rows(movies: Movies, at_s: int) -> list[Row]:
    """Everybody as they are known at a moment: their taste is the mean genre of what they liked."""
    before = movies.ratings[movies.ratings["at_s"] < at_s]
    good = before[before["rating"] >= LIKED]
    taste = np.zeros((len(movies.women), movies.genres.shape[1]), dtype=np.float32)
    np.add.at(taste, good["user"].to_numpy(), movies.genres[good["movie"].to_numpy()])
    tastes, women = unit(taste).tolist(), movies.women.tolist()
    return [{"user_id": i, "woman": women[i], "taste": tastes[i]} for i in range(1, len(women))]


def write(features: Features, movies: Movies, moments_s: Iterable[int]) -> int:
    """Write what is known at each moment, where it differs from what was known before; returns how many rows."""
    known: dict[tuple[str, object], Row] = {}
    written = 0
    for at_s in moments_s:
        for relation, key, rows in (
            ("movie", "movie_id", movie_rows(movies, at_s)),
            ("user", "user_id", user_rows(movies, at_s)),
        ):
            changed = [row for row in rows if known.get((relation, row[key])) != row]
            known.update({(relation, row[key]): row for row in changed})
            written += features.relation(relation).insert(changed, at=moment(at_s))
    return written
