"""A batch run in a process of its own, with little chunks and a commit after each: `python -m tests.batch.killable`
PROJECT INPUT OUTPUT."""

from __future__ import annotations

import sys
from pathlib import Path

from kaname.batch import lines, parquet_input
from tests.batch.project import Batches


def main(project: str, source: str, output: str) -> None:
    """Run the model `flowers`; prints the row at which it went on."""
    small_chunks()
    batches = Batches(Path(project))
    task = batches.task("flowers", Path(source), Path(output), keep=["name"], on_error="skip")
    print(batches.run(task, commit_s=0.0).resumed_at)
    batches.close()


def small_chunks() -> None:
    """Many chunks in little files."""
    lines.blocks.__kwdefaults__ = {"block_bytes": 2000, "longest": 1 << 20}
    parquet_input.ROWS = 37


if __name__ == "__main__":
    main(*sys.argv[1:])
