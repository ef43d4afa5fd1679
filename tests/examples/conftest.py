"""The examples are scripts beside each other: their folder goes on the path, as it does when they run."""

import sys
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
sys.path[:0] = [str(EXAMPLES / name) for name in ("flights", "recommend")]
