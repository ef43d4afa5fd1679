"""kill -9 under load: what an answer promises about its record."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.predictions.traffic import open_reader

WINDOW_NS = 50_000_000
SERVER = """
import asyncio, os, sys, time
from pathlib import Path
from kaname.clock import SystemClock
from kaname.predictions.recorder import Recorder
from kaname.settings import Recording
from kaname.storage.events.lmdb.writer import LmdbWriter
from tests.predictions.traffic import FLOWERS, TARGET, answer, table_call

def door(call, outcome):
    os.write(1, b"%s %d\\n" % (call.request_id.encode(), time.monotonic_ns()))

async def main():
    recorder = Recorder(LmdbWriter(Path(sys.argv[1]), 0, SystemClock()), SystemClock(), commit_ms=10.0)
    recorder.start(asyncio.get_running_loop())
    handle = recorder.observer(TARGET, FLOWERS, Recording(policy=sys.argv[2])).each
    number = int(sys.argv[3])
    while True:
        for _ in range(10):
            call = table_call(f"{number:09}", [[float(number), 1.0, "red"]], door=door)
            call.back(handle)
            call.end(answer())
            number += 1
        await asyncio.sleep(0.002)

asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.serial
@pytest.mark.parametrize("policy", ["drop", "block"])
def test_kill_9_under_load_loses_no_answer_beyond_the_window(tmp_path: Path, policy: str) -> None:
    """Answers older than the commit window (under `block`: all answers) are on disk after kill -9, four times."""
    chance = random.Random(5)
    for attempt in range(4):
        server = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(tmp_path), policy, str(attempt * 1_000_000)], stdout=subprocess.PIPE
        )
        assert server.stdout is not None
        first = server.stdout.readline()
        time.sleep(chance.uniform(0.05, 0.25))
        killed_ns = time.monotonic_ns()
        server.kill()
        answers = (first + server.communicate()[0]).split(b"\n")[:-1]
        recorded = {event.request_id for event in open_reader(tmp_path).scan()}
        checked = 0
        for line in answers:
            request_id, answered_ns = line.decode().split()
            if policy == "block" or int(answered_ns) < killed_ns - WINDOW_NS:
                assert request_id in recorded
                checked += 1
        assert checked > 0
