"""The overload benchmark: its load, its figures, and where they are written."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from benchmarks import overload_report
from benchmarks.pressure import drive, figures
from tests.benchmarks.refusing import every_second


def test_late_answers_are_not_good_ones() -> None:
    """Goodput counts answers in time, percentiles all answers, refusals neither."""
    found = figures([(0.0, 10.0, 200), (0.0, 500.0, 200), (0.0, 1.0, 503)], seconds=2, in_time_ms=100)
    assert found == {"good_per_s": 0.5, "refused_per_s": 0.5, "p50_ms": 10.0, "p99_ms": 500.0, "refusal_ms": 1.0}


@pytest.mark.slow
@pytest.mark.serial
def test_the_load_tells_answers_from_refusals() -> None:
    """Against a server that refuses every second request, half of the rate is good and half refused."""

    async def run() -> dict[str, float]:
        async with every_second() as port:
            found = await drive(
                port, b"GET / HTTP/1.1\r\n\r\n", rate_per_s=200, seconds=1, connections=4, warm_s=0.5, in_time_ms=500
            )
            await asyncio.sleep(0)  # the server sees its connections end
            return found

    found = asyncio.run(run())
    assert found["good_per_s"] == pytest.approx(100, abs=5)
    assert found["refused_per_s"] == pytest.approx(100, abs=5)


def test_the_section_has_a_row_per_point_and_a_plot(tmp_path: Path) -> None:
    """What was measured is written, with what was to be reached, and drawn."""
    unloaded: dict[str, float | str] = {
        "name": "kaname", "load": 0.5, "offered_per_s": 150.0, "good_per_s": 150.0, "refused_per_s": 0.0,
        "p50_ms": 3.0, "p99_ms": 4.25, "refusal_ms": 0.0,
    }  # fmt: skip
    pressed = unloaded | {
        "load": 5.0, "offered_per_s": 1500.0, "good_per_s": 285.0, "refused_per_s": 1215.0,
        "p50_ms": 6.0, "p99_ms": 8.5, "refusal_ms": 0.4,
    }  # fmt: skip
    text = overload_report.text([unloaded, pressed], "how")
    assert "| Kaname | 5× | 1,500 | 285 | 1,215 | 6.0 | 8.5 | 0.4 |" in text
    assert "At 5 times its capacity Kaname answers 95% of that in time" in text
    assert "is 2.0 times that at 0.5 times" in text
    overload_report.draw([unloaded, pressed], tmp_path / "plot.svg")
    assert "<svg" in (tmp_path / "plot.svg").read_text()
