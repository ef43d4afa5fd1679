"""Kaname's reader of the features benchmark: `python -m benchmarks.feature_reader FOLDER`.

The project, which `make` has made, has a relation of 100 numbers and a view of 10 and of 100 of them; it is filled, and
read on command.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import reading
from kaname.features.views.kept import MARK_MS
from kaname.platform import Platform

VIEWS = (10, reading.FEATURES)


def make(folder: Path, settings: str = "", features: int = reading.FEATURES) -> None:
    """The files of the project; `settings` are more lines of `kaname.yaml`."""
    (folder / "features").mkdir(parents=True, exist_ok=True)
    (folder / "kaname.yaml").write_text("name: features\n" + settings)
    attributes = "".join(f", f{i} float64" for i in range(features))
    (folder / "features" / "user.schema").write_text(
        f"define relation user {{ user_id string key{attributes} }};\n"
        'define schema users for user on cells("main") { table "users", row user_id, family "f", value pack[] };\n'
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
    with Platform(folder) as platform:
        fill(platform)

        def reader(count: int) -> reading.Read:
            read = platform.features.view(f"first_{count}").read

            def rows(keys: Sequence[str]) -> list[dict[str, Any]]:
                return [read({"user_id": keys[0]})] if len(keys) == 1 else read([{"user_id": key} for key in keys])

            return rows

        def check(found: list[dict[str, Any]], i: int, j: int) -> float:
            return float(found[i][f"f{j}"])

        if "redis_url" in (folder / "kaname.yaml").read_text():
            time.sleep(MARK_MS / 1000 + 1)  # so long Redis keeps nothing older than a write
        for view in VIEWS:  # what is kept for all is kept before it is timed
            for first in range(0, reading.ENTITIES, 100):
                reader(view)([reading.name(first + i) for i in range(100)])
        reading.serve(reader, check)


if __name__ == "__main__":
    main()
