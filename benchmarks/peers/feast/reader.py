"""Feast's reader of the features benchmark: `python reader.py FOLDER [REDIS_ADDRESS]`, in Feast's own environment.

Makes a feature repository with one view of 100 numbers in the online store (SQLite, or Redis at the address), fills it,
and reads on command. The same folder is what `feast serve` serves.
"""

from __future__ import annotations

import datetime
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.types import Float64

from benchmarks import reading

NAMES = [f"f{i}" for i in range(reading.FEATURES)]


def make(folder: Path, redis: str | None) -> FeatureStore:
    """The repository, applied and filled."""
    folder.mkdir(parents=True, exist_ok=True)
    online = f"type: redis\n  connection_string: {redis}" if redis else f"type: sqlite\n  path: {folder / 'online.db'}"
    (folder / "feature_store.yaml").write_text(
        f"project: bench\nregistry: {folder / 'registry.db'}\nprovider: local\nonline_store:\n  {online}\n"
        "offline_store:\n  type: dask\nentity_key_serialization_version: 3\n"
    )
    now = datetime.datetime.now(datetime.UTC)
    rows = pd.DataFrame(
        {"user_id": [reading.name(i) for i in range(reading.ENTITIES)], "at": now}
        | {name: [reading.value(i, j) for i in range(reading.ENTITIES)] for j, name in enumerate(NAMES)}
    )
    rows.to_parquet(folder / "users.parquet")
    user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
    view = FeatureView(
        name="users",
        entities=[user],
        ttl=datetime.timedelta(days=1),
        schema=[Field(name=name, dtype=Float64) for name in NAMES],
        source=FileSource(path=str(folder / "users.parquet"), timestamp_field="at"),
    )
    store = FeatureStore(repo_path=str(folder))
    store.apply([user, view])
    store.write_to_online_store("users", df=rows)
    return store


def main() -> None:
    store = make(Path(sys.argv[1]), *(sys.argv[2:] or [None]))

    def reader(count: int) -> reading.Read:
        features = [f"users:{name}" for name in NAMES[:count]]

        def read(keys: Sequence[str]) -> dict[str, Any]:
            return store.get_online_features(
                features=features, entity_rows=[{"user_id": key} for key in keys]
            ).to_dict()

        return read

    def check(found: dict[str, Any], i: int, j: int) -> float:
        return float(found[f"f{j}"][i])

    reading.serve(reader, check)


if __name__ == "__main__":
    main()
