"""The examples are scripts beside each other: their folder goes on the path, as it does when they run."""

import sys
from pathlib import Path

FLIGHTS = Path(__file__).resolve().parents[2] / "examples" / "flights"
sys.path.insert(0, str(FLIGHTS))
