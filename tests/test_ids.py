"""Request ids: unique over threads and processes, and in the order in which they were made."""

from __future__ import annotations

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from kaname.clock import ManualClock, SystemClock
from kaname.ids import request_ids


def test_ids_of_a_process_sort_as_they_were_made() -> None:
    """28 hexadecimal characters each."""
    draw = request_ids(ManualClock())
    ids = [draw() for _ in range(5000)]
    assert ids == sorted(ids)
    assert len(set(ids)) == 5000
    assert all(re.fullmatch(r"[0-9a-f]{28}", one) for one in ids)


@pytest.mark.parametrize("made", [16**7, 16**8, 16**9])
def test_they_still_do_after_many_requests(made: int) -> None:
    """A worker that answers 10,000 requests a second for months neither makes longer ids nor begins anew."""
    draw = request_ids(ManualClock(), first=made - 2)
    ids = [draw() for _ in range(4)]
    assert ids == sorted(ids)
    assert {len(one) for one in ids} == {28}


def test_a_later_process_has_later_ids() -> None:
    """Whatever the earlier one does meanwhile."""
    clock = ManualClock()
    earlier = request_ids(clock)
    clock.advance(ms=0.001)
    later = request_ids(clock)
    assert max(earlier() for _ in range(100)) < min(later() for _ in range(100))


def test_sources_made_at_the_same_moment_differ() -> None:
    """Workers that start in one microsecond draw from different ids."""
    prefixes = {request_ids(ManualClock())() for _ in range(50)}
    assert len(prefixes) == 50


def test_threads_never_draw_the_same_id() -> None:
    """No lock is taken, and none is needed."""
    draw = request_ids(SystemClock())
    with ThreadPoolExecutor(8) as pool:
        ids = [one for part in pool.map(lambda _: [draw() for _ in range(2000)], range(8)) for one in part]
    assert len(set(ids)) == len(ids) == 16_000


def test_processes_that_start_together_differ() -> None:
    """Two of the same program."""
    program = (
        "from kaname.clock import SystemClock\nfrom kaname.ids import request_ids\nprint(request_ids(SystemClock())())"
    )
    children = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) for _ in range(2)]
    assert len({child.communicate(timeout=60)[0] for child in children}) == 2
