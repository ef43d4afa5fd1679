"""Recommend movies: `python rank.py`.

Learns from the last two months of the first 80% of the ratings which of the movies that were there on a day somebody
liked, and ranks for everybody in the last 20% what they have not seen. NDCG@10 says how far up what they liked comes.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import lightgbm
import numpy as np
import pandas as pd

import days
import movielens
from kaname.features.opened import Features
from kaname.platform import Platform
from movielens import DAY_S, LIKED, OUT, Movies

FEATURES = ("year", "ratings", "recent", "liked", "mean_rating", "alike", "for_her")
LEARNT_DAYS = 60
OTHERS = 200
"""Movies of which somebody said nothing, to every day on which they liked some."""
POPULAR, NEAR = 250, 50
"""Candidates of somebody: what was watched most in the last two weeks, and what is nearest to their taste."""
FIRST = 10
PARAMETERS = {
    "objective": "lambdarank", "learning_rate": 0.05, "num_leaves": 15, "min_data_in_leaf": 100, "seed": 7,
    "deterministic": True, "verbosity": -1, "num_threads": 2,
}  # fmt: skip
TREES = 100
MODEL, SAMPLE = OUT / "ranker.txt", OUT / "sample.json"


def moments_s(movies: Movies) -> list[int]:
    """The ends of the days that are learnt from, and the moment of the split."""
    last = movies.split_s // DAY_S
    return [*(day * DAY_S for day in range(last - LEARNT_DAYS, last + 1)), movies.split_s]


def labels(movies: Movies) -> pd.DataFrame:
    """To each day and person what they liked on it, and others, as of the beginning of the day."""
    draw = np.random.default_rng(7)
    first_s = moments_s(movies)[0]
    learnt = movies.ratings.iloc[: movies.split]
    seen = learnt.groupby("user")["movie"].agg(set)
    parts: list[pd.DataFrame] = []
    recent = learnt[learnt["at_s"] >= first_s]
    for (day, user), some in recent.groupby([recent["at_s"] // DAY_S, "user"]):
        good = some.loc[some["rating"] >= LIKED, "movie"].tolist()
        drawn = draw.choice(np.arange(1, len(movies.years)), OTHERS, replace=False).tolist()
        others = [movie for movie in drawn if movie not in seen[user]]
        if good:
            liked = [1] * len(good) + [0] * len(others)
            parts.append(pd.DataFrame({"day": day, "user_id": user, "movie_id": good + others, "liked_it": liked}))
    return timed(pd.concat(parts), lambda table: table["day"] * DAY_S)


def candidates(movies: Movies) -> pd.DataFrame:
    """What is ranked for everybody who liked something in the last 20%, as of the split."""
    liked = later(movies)
    popular = sorted(days.movie_rows(movies, movies.split_s), key=lambda row: -int(str(row["recent"])))[:POPULAR]
    chosen = {int(str(row["movie_id"])) for row in popular}
    tastes = {row["user_id"]: row["taste"] for row in days.user_rows(movies, movies.split_s)}
    seen = movies.ratings.iloc[: movies.split].groupby("user")["movie"].agg(set)
    pairs: list[tuple[int, int]] = []
    for user in liked.index:
        near = np.argsort(-(movies.genres @ np.array(tastes[user], dtype=np.float32)), kind="stable")[:NEAR].tolist()
        mine = (chosen | {movie for movie in near if movie > 0}) - seen.get(user, set())
        pairs += [(user, movie) for movie in sorted(mine)]
    return timed(pd.DataFrame(pairs, columns=["user_id", "movie_id"]), lambda _: movies.split_s)


def timed(table: pd.DataFrame, at_s: Callable[[pd.DataFrame], object]) -> pd.DataFrame:
    """With the column `time` of a training set."""
    seconds = pd.Series(at_s(table), index=table.index)
    return table.assign(time=pd.to_datetime(seconds, unit="s", utc=True).dt.as_unit("us"))


def later(movies: Movies) -> pd.Series:
    """What each person liked in the last 20%."""
    rest = movies.ratings.iloc[movies.split :]
    return rest[rest["rating"] >= LIKED].groupby("user")["movie"].agg(set)


def known(features: Features, table: pd.DataFrame, name: str) -> pd.DataFrame:
    """The table with what the view `candidate` says at the moment of each row."""
    asked, made = OUT / f"{name}.labels.parquet", OUT / f"{name}.parquet"
    table.to_parquet(asked, index=False)
    features.training_set("candidate", asked, made)
    return pd.read_parquet(made)


def fit(table: pd.DataFrame) -> lightgbm.Booster:
    """A ranker of what was liked among the movies of a day."""
    sizes = table.groupby(["day", "user_id"], sort=False).size().to_numpy()
    data = lightgbm.Dataset(table[list(FEATURES)], label=table["liked_it"], group=sizes)
    return lightgbm.train(PARAMETERS, data, num_boost_round=TREES)


def ndcg(liked: pd.Series, table: pd.DataFrame, score: np.ndarray) -> float:
    """The mean over people of the discounted gain of their first ten, as a share of the best that there could be."""
    discount = 1 / np.log2(np.arange(2, FIRST + 2))
    ranked = table.assign(score=score).sort_values("score", ascending=False, kind="stable")
    first = ranked.groupby("user_id")["movie_id"].agg(lambda movies: movies.tolist()[:FIRST])
    shares = [
        discount[: len(first[user])][[movie in good for movie in first[user]]].sum()
        / discount[: min(FIRST, len(good))].sum()
        for user, good in liked.items()
    ]
    return float(np.mean(shares))


def run(features: Features) -> dict[str, float]:
    """NDCG@10 of three rankings; the model lies in `out/ranker.txt`, a request beside it."""
    movies = movielens.load()
    days.write(features, movies, moments_s(movies))
    model = fit(known(features, labels(movies), "training"))
    model.save_model(str(MODEL))
    SAMPLE.write_text(json.dumps({"features": dict.fromkeys(FEATURES, 1.0)}) + "\n")
    asked = known(features, candidates(movies), "candidates")
    liked = later(movies)
    return {
        "popularity": ndcg(liked, asked, asked["ratings"].to_numpy()),
        "popularity of 14 days": ndcg(liked, asked, asked["recent"].to_numpy()),
        f"ranker on {len(FEATURES)} features": ndcg(liked, asked, np.asarray(model.predict(asked[list(FEATURES)]))),
    }


def main() -> None:
    movielens.fetch()
    with Platform(movielens.HERE) as platform:
        found = run(platform.features)
    for name, value in found.items():
        print(f"NDCG@10 {value:.3f}  {name}")


if __name__ == "__main__":
    main()
