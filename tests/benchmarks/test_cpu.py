"""CPU accounting over a tree of processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from benchmarks import cpu

BURN = "import time\nwhile time.process_time() < {s}: pass\n"
PARENT = f"""
import subprocess, sys
subprocess.run([sys.executable, "-c", {BURN.format(s=0.3)!r}])
child = subprocess.Popen([sys.executable, "-c", {BURN.format(s=0.3)!r} + "print('burnt', flush=True)\\ninput()"],
    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
child.stdout.readline()
print("ready", flush=True)
input()
child.communicate("")
"""


@pytest.fixture
def parent() -> Iterator[subprocess.Popen[str]]:
    """A process with one child that has ended and one that lives, each of which used 0.3 s."""
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.communicate("\n")


@pytest.mark.slow
def test_children_count_whether_they_live_or_have_ended(parent: subprocess.Popen[str]) -> None:
    """0.6 s were burnt by children: neither the reaped one is lost nor the living one counted twice."""
    assert len(cpu.tree(parent.pid)) == 2
    assert 0.58 <= cpu.tree_cpu_s(parent.pid) < 1.2


def test_a_stat_line_with_a_wicked_name() -> None:
    """Names may hold spaces and parentheses; the fields are counted from the last one."""
    fields = ["S", "7", *["0"] * 9, "100", "50", "25", "25", *["0"] * 10]
    found = cpu.parse_stat("42 (a) b (c) " + " ".join(fields))
    assert (found.pid, found.parent) == (42, 7)
    assert found.cpu_s == pytest.approx(200 / cpu.TICKS_PER_S)


def test_a_process_that_is_gone_used_nothing_more() -> None:
    """A tree without a root is empty, not an error: a server may end while it is measured."""
    assert cpu.tree_cpu_s(2**22 + 1) == 0.0


def test_resident_memory_is_that_of_a_python_process() -> None:
    """Bytes, not pages."""
    assert 5 * 2**20 < cpu.resident_bytes(os.getpid()) < 2**35
