"""Kaname's reader of the features benchmark: `python -m benchmarks.feature_reader FOLDER [STORE]`.

Makes a project with a relation of 100 numbers and a view of 10 and of 100 of them, fills it, and reads on command.
STORE is what the schema says, `cells("main")` unless given.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import reading
from kaname.platform import Platform


def make(folder: Path, store: str = 'cells("main")', features: int = reading.FEATURES) -> None:
    """The files of the project."""
    (folder / "features").mkdir(parents=True, exist_ok=True)
    (folder / "kaname.yaml").write_text("name: features\n")
    attributes = "".join(f", f{i} float64" for i in range(features))
    (folder / "features" / "user.schema").write_text(
        f"define relation user {{ user_id string key{attributes} }};\n"
        f'define schema users for user on {store} {{ table "users", row user_id, family "f", value pack[] }};\n'
    )
    for count in {10, features}:
        named = "".join(f"      f{i}:\n" for i in range(count))
        (folder / "features" / f"first_{count}.view.yaml").write_text(
            f"name: first_{count}\nentity: [user_id]\nreads:\n  - relation: user\n    features:\n{named}"
        )


def fill(platform: Platform) -> None:
    """Write all entities."""
    platform.features.relation("user").insert(
        {"user_id": reading.name(i)} | {f"f{j}": reading.value(i, j) for j in range(reading.FEATURES)}
        for i in range(reading.ENTITIES)
    )


def main() -> None:
    folder = Path(sys.argv[1])
    make(folder, *sys.argv[2:])
    with Platform(folder) as platform:
        fill(platform)

        def reader(count: int) -> reading.Read:
            read = platform.features.view(f"first_{count}").read

            def rows(keys: Sequence[str]) -> list[dict[str, Any]]:
                return [read({"user_id": keys[0]})] if len(keys) == 1 else read([{"user_id": key} for key in keys])

            return rows

        def check(found: list[dict[str, Any]], i: int, j: int) -> float:
            return float(found[i][f"f{j}"])

        reading.serve(reader, check)


if __name__ == "__main__":
    main()
