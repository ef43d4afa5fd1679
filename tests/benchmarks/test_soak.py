"""The soak: what it calls a miss, and a short one against a real server, which has none."""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.soak import judged, report
from benchmarks.soak_tally import Held, Tally, Watched, Wrong, growth, held, second_half
from benchmarks.soak_world import logged

ROOT = Path(__file__).parents[2]
MIB = 1 << 20


def samples(*resident_mib: float, files: int = 10) -> list[Held]:
    """One sample a second; the last one has so many files open."""
    last = len(resident_mib) - 1
    return [
        Held(at_s=at, resident=int(size * MIB), anonymous=0, files=files if at == last else 10, threads=5)
        for at, size in enumerate(resident_mib)
    ]


@pytest.fixture
def tally() -> Tally:
    """One activity that went well."""
    tally = Tally()
    tally.of("requests").done = 3
    tally.of("requests").seconds.extend((0.001, 0.002, 0.1))
    return tally


def test_the_line_through_points_says_how_much_they_grow() -> None:
    """From the first to the last, whatever lies beside the line."""
    assert growth([(0, 1.0), (1, 3.0), (2, 5.0)]) == pytest.approx(4.0)
    assert growth([(0, 5.0), (1, 9.0), (2, 5.0)]) == pytest.approx(0.0)
    assert growth([(7, 5.0)]) == 0.0


def test_only_the_second_half_counts(tally: Tally) -> None:
    """What a server takes to warm up is no leak; what it goes on taking is one."""
    warms_up = samples(100, 150, 190, 200, 200, 200, 200)
    assert [each.at_s for each in second_half(warms_up)] == [3, 4, 5, 6]
    assert judged(tally, warms_up, False, [], 0.03) == []
    (fault,) = judged(tally, samples(100, 100, 100, 100, 105, 110, 115), False, [], 0.03)
    assert "memory grew by 14.0%" in fault


def test_each_miss_has_a_sentence(tally: Tally) -> None:
    """Wrong answers, a process that ended, errors in the log, files left open, an activity that never came to pass."""
    tally.complain("keys", Wrong("still 200, not 401"))
    faults = judged(tally, samples(100, 100, 100, files=40), True, ['{"level":"error"}'], 0.03)
    assert faults == [
        "1 requests went wrong that no client caused",
        "a process of the server ended",
        'the server logged: {"level":"error"}',
        "nothing was done: keys",
        "30 more open files",
    ]
    asked = argparse.Namespace(minutes=1, models=2, budget_share=0.5, growth=0.03)
    text = report(tally, samples(100, 100, 100), faults, asked)
    assert "| requests | 3 | 0 | 0 | 0 | 2.0 | 100.0 |" in text
    assert "**Missed**: 1 requests went wrong" in text
    assert "Nothing went wrong" in report(tally, samples(100, 100, 100), [], asked)
    assert math.isnan(tally.of("keys").quantile_ms(0.5))


def test_a_process_that_ends_is_noticed() -> None:
    """And what a process holds is what the system says."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    now = held([child.pid, os.getpid()], 0.0)
    assert now.resident > 10 * MIB
    assert now.threads >= 2
    with Watched([child.pid]) as watched:
        child.communicate(b"\n")
        end = time.monotonic() + 10
        while not watched.ended and time.monotonic() < end:
            time.sleep(0.01)
    assert watched.ended


def test_errors_are_found_in_a_log(tmp_path: Path) -> None:
    """By their level, in lines of any kind; a traceback as well."""
    lines = ['{"level":"info","event":"a"}', "importing …", '{"level":"error","event":"b"}', "Traceback (most", "[1]"]
    (tmp_path / "log").write_text("\n".join(lines))
    assert logged(tmp_path) == ['{"level":"error","event":"b"}', "Traceback (most"]


@pytest.mark.slow
@pytest.mark.serial
def test_a_short_soak_has_no_miss() -> None:
    """Every activity has been done, nothing went wrong; memory may still warm up in so short a time."""
    command = [sys.executable, "-m", "benchmarks.soak", "--minutes", "0.08", "--models", "10", "--growth", "0.25"]
    done = subprocess.run(
        [*command, "--print-only"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Nothing went wrong" in done.stdout
