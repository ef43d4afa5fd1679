"""Bucket levels shared by processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from kaname.access.levels import Levels
from kaname.access.limiter import TokenBucket
from kaname.clock import SystemClock

OTHER = """
import sys
from pathlib import Path
from kaname.access.levels import Levels
from kaname.access.limiter import TokenBucket
from kaname.clock import SystemClock
bucket = TokenBucket(0.001, 10, SystemClock(), levels=Levels(Path(sys.argv[1]), 100).values, at=7)
print(bucket(6), bucket(6) > 0)
"""


def test_processes_draw_from_one_bucket(tmp_path: Path) -> None:
    """What one process takes is missing for the other; other cells are untouched; the file takes no space."""
    path = tmp_path / "levels"
    levels = Levels(path, 100)
    bucket = TokenBucket(0.001, 10, SystemClock(), levels=levels.values, at=7)
    done = subprocess.run([sys.executable, "-c", OTHER, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout == "0.0 True\n"
    assert bucket(6) > 0
    assert bucket(4) == 0.0
    assert TokenBucket(1, 10, SystemClock(), levels=levels.values, at=8)(10) == 0.0
    assert len(levels) == 100
    assert path.stat().st_mode & 0o777 == 0o600
    del bucket
    levels.close()


def test_a_large_file_is_sparse(tmp_path: Path) -> None:
    """A cell that was never written costs no disk."""
    levels = Levels(tmp_path / "levels")
    levels.values[5] = 1.0
    assert (tmp_path / "levels").stat().st_blocks * 512 < 100_000
    levels.close()
