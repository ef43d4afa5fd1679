"""The first `kaname serve` of a project says what takes the time."""

from __future__ import annotations

from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def test_the_first_start_is_not_silent(served_before: Path) -> None:
    """Each declared model is named before it is imported, then the workers, then the address."""
    lines = (served_before.parent / f"{served_before.name}.out").read_text().splitlines()
    assert lines[0] == "importing iris/1: converting, comparing, measuring …"
    assert "add iris/1" in lines[1]
    assert lines[-2] == "starting 1 worker …"
    assert "answers at" in lines[-1]
