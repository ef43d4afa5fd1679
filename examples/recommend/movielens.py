"""MovieLens-100k: who rated which movie, and when.

It comes with the package `recbole` (a recommender library, of which nothing else is used), which is installed without
its dependencies into `out/`; the licence of the data forbids to pass it on, so it is in no repository.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

HERE = Path(__file__).resolve().parent
OUT = HERE / "out"
PACKAGE = "recbole==1.2.1"
DATA = OUT / "recbole" / "recbole" / "dataset_example" / "ml-100k"

LIKED = 4
"""A rating from 1 to 5 says from here on that somebody liked a movie."""
LEARNT = 0.8
"""Share of the ratings, by time, that are learnt from; the rest are ranked."""
DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Movies:
    """Ratings in order of time (columns user, movie, rating, at_s), movies and people by their numbers."""

    ratings: pd.DataFrame
    women: NDArray[np.bool_]
    """By number of a person."""
    years: list[int | None]
    genres: NDArray[np.float32]
    """By number of a movie, of length 1; zeros where none is known."""

    @property
    def split(self) -> int:
        """How many ratings are learnt from."""
        return int(len(self.ratings) * LEARNT)

    @property
    def split_s(self) -> int:
        """The moment at which the others begin, seconds since the Unix epoch."""
        return int(self.ratings["at_s"].iloc[self.split])


def fetch() -> bool:
    """Install the package beside the example; returns False when it is there."""
    if DATA.exists():
        return False
    uv = Path(sys.executable).parent / "uv"
    found = str(uv) if uv.exists() else shutil.which("uv")
    pip = [found, "pip", "install", "--python", sys.executable] if found else [sys.executable, "-m", "pip", "install"]
    subprocess.run([*pip, "--quiet", "--no-deps", "--target", str(OUT / "recbole"), PACKAGE], check=True)
    return True


def load(folder: Path = DATA) -> Movies:
    """The data set as its files have it."""
    ratings = _table(folder, "inter", "user", "movie", "rating", "at_s").sort_values("at_s", kind="stable")
    people = _table(folder, "user", "user", "age", "gender", "occupation", "zip").set_index("user")
    movies = _table(folder, "item", "movie", "title", "year", "genres").set_index("movie")
    count = int(movies.index.max()) + 1
    women = np.zeros(int(people.index.max()) + 1, dtype=bool)
    women[people.index] = people["gender"] == "F"
    years = pd.to_numeric(movies["year"], errors="coerce").reindex(range(count))
    return Movies(
        ratings.astype({"at_s": np.int64}).reset_index(drop=True),
        women,
        [None if np.isnan(year) else int(year) for year in years],
        _genres(movies["genres"].fillna(""), count),
    )


def _table(folder: Path, kind: str, *names: str) -> pd.DataFrame:
    return pd.read_csv(folder / f"ml-100k.{kind}", sep="\t", names=list(names), skiprows=1)


def _genres(said: pd.Series, count: int) -> NDArray[np.float32]:
    names = sorted({name for each in said for name in each.split()})
    found = np.zeros((count, len(names)), dtype=np.float32)
    for movie, each in said.items():
        for name in each.split():
            found[movie, names.index(name)] = 1
    return unit(found)


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors of length 1; zeros stay."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths == 0, 1, lengths)
