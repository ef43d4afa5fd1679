"""A project with models of every layout, what they answer over the request path, and files of rows for them."""

from __future__ import annotations

import csv
import io
import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from kaname.batch.run import Run, Task
from kaname.batch.types import Progress, Summary, options_of
from kaname.models.importing.process import reprofile
from kaname.models.registry import Models
from kaname.models.types import VersionInfo
from kaname.platform import Platform
from kaname.project import load_valid
from kaname.stores import Stores
from tests.serving.world import MADE, import_made

Row = dict[str, Any]
FORMATS = ("csv", "jsonl", "parquet")


def make(folder: Path) -> Path:
    """A project with the models of `tests.serving.world`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kaname.yaml").write_text("name: batches\n")
    stores = Stores(load_valid(folder, os.environ))
    models = Models(
        stores.database, stores.artefacts, stores.clock, import_made, folder / ".kaname" / "work", reprofile
    )
    for name in MADE:
        models.add(name, folder / "kaname.yaml", who="test")
    stores.close()
    return folder


class Batches:
    """Runs batches on a project, and asks its models as a request would."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.platform = Platform(folder)
        self.stores = Stores(self.platform.project)

    def version(self, model: str) -> VersionInfo:
        """The version that answers."""
        promoted = self.stores.models.get(model).promoted
        assert promoted is not None
        return self.stores.models.version(model, promoted)

    def task(
        self, model: str, source: Path, output: Path, *, threads: int = 2, restart: bool = False, **asked: Any
    ) -> Task:
        """A task with the options `asked`."""
        return Task(
            version=self.version(model),
            config=self.stores.models.get(model).config,
            input=source,
            output=output,
            options=options_of(source, output, asked),
            threads=threads,
            restart=restart,
        )

    def run(
        self,
        task: Task,
        *,
        progress: Callable[[Progress], None] = lambda _: None,
        stop: Callable[[], bool] = lambda: False,
        commit_s: float = 1.0,
    ) -> Summary:
        """Do the task to its end."""
        info = task.version
        run = Run(
            task,
            lambda: self.stores.open_version(info),
            self.stores.clock,
            progress=progress,
            stop=stop,
            commit_s=commit_s,
        )
        return run.run()

    def online(self, model: str, rows: Sequence[object]) -> list[Row]:
        """What the request path answers to these rows, in requests of a few."""
        found: list[Row] = []
        for at in range(0, len(rows), 50):
            answer = self.platform.predict(model, instances=rows[at : at + 50])  # type: ignore[arg-type]  # any JSON
            found += [msgspec.to_builtins(one) for one in answer.predictions or ()]
        return found

    def close(self) -> None:
        self.stores.close()


def flowers(count: int, seed: int = 1) -> list[Row]:
    """Rows of the model `flowers`: numbers of all magnitudes, nulls, categories."""
    draw = random.Random(seed)
    return [
        {
            "length": draw.uniform(-3, 3),
            "width": None if draw.random() < 0.2 else draw.uniform(-1e-3, 1e-3),
            "petals": float(draw.randrange(9)),
            "colour": draw.choice(["red", "blue"]),
            "name": f'no. {n}, "{draw.choice(["rose", "tulip"])}"',
        }
        for n in range(count)
    ]


def write(path: Path, rows: Sequence[Row]) -> Path:
    """The rows in the format of the file's ending."""
    if path.suffix == ".jsonl":
        path.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), path, row_group_size=max(1, len(rows) // 3))
    else:
        out = io.StringIO(newline="")
        writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        path.write_text(out.getvalue())
    return path


def read(path: Path) -> list[Row]:
    """The rows of a file, of a CSV file as text."""
    if path.suffix == ".jsonl":
        return [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]
    if path.suffix == ".parquet":
        found: list[Row] = pq.read_table(path).to_pylist()
        return found
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
