"""The account of a process' memory against what the system says, with real sessions."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kaname.inference.ledger import Ledger
from kaname.runtimes import memory
from tests.e2e import graphs

PROGRAM = """
import json, sys
from pathlib import Path
from kaname.inference.ledger import Ledger
from kaname.runtimes import memory
from kaname.runtimes.catalog import open_session, runtime_of
from kaname.runtimes.onnx import describe
from kaname.runtimes.types import SessionOptions
from kaname.signature import OutputSpec, Signature

ledger = Ledger()
ledger.import_library(lambda: runtime_of("onnx"))
sessions, sizes = [], []
files = [Path(name) for name in sys.argv[2:]]

def opened(file):
    inputs, outputs = describe(file)
    outputs = tuple(OutputSpec(name=s.name, datatype=s.datatype, shape=s.shape) for s in outputs)
    return open_session("onnx", file, Signature(task="other", inputs=inputs, outputs=outputs), SessionOptions())

opened(files[0])  # what the library makes once
ledger = Ledger()
for _ in range(int(sys.argv[1])):
    for file in files:
        session, size = ledger.measure(lambda: opened(file))
        sessions.append(session)
        sizes.append(size)
        ledger.tidy()

def row():
    found = ledger.memory(sum(sizes))
    rollup = Path("/proc/self/smaps_rollup").read_text()
    rss = next(int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Rss"))
    return {"resident": found.resident, "accounted": found.accounted, "slack": found.slack, "rss": rss}

full = row()
half = len(sessions) // 2
for session, size in zip(sessions[half:], sizes[half:]):
    session.close()
    ledger.freed(size)
del sizes[half:]
print(json.dumps({"full": full, "half": row(), "sizes": sizes}))
"""


def _account(copies: int, *files: Path) -> dict[str, dict[str, float]]:
    command = [sys.executable, "-c", PROGRAM, str(copies), *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, float]] = json.loads(done.stdout)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("width", [16, 256, 1024])
def test_the_account_equals_what_the_process_uses(tmp_path: Path, width: int) -> None:
    """Small, middling and large sessions, full and after half of them have gone: within 10%, slack at most 20%."""
    draw = np.random.default_rng(1)
    files = [graphs.affine(tmp_path / f"{i}.onnx", draw.normal(size=(width, width)).astype(np.float32)) for i in (1, 2)]
    found = _account(400 if width == 16 else 40, *files)
    for moment in ("full", "half"):
        row = found[moment]
        print(width, moment, {name: round(value / 1e6, 1) for name, value in row.items()})
        assert abs(row["resident"] - row["rss"]) < 0.02 * row["rss"]
        assert abs(row["accounted"] - row["rss"]) < 0.1 * row["rss"]
        assert row["slack"] < 0.2 * row["rss"]


def test_what_a_piece_of_work_leaves_is_measured() -> None:
    """Bytes that are kept count, bytes that were only needed on the way do not."""

    def work() -> bytearray:
        bytearray(64 << 20)
        return bytearray(32 << 20)

    kept, size = memory.measured(work)
    assert abs(size - len(kept)) < 4 << 20


def test_memory_that_a_library_maps_itself_is_measured() -> None:
    """Past malloc: only the growth of the process shows it."""
    import mmap

    def work() -> mmap.mmap:
        mapped = mmap.mmap(-1, 32 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        for at in range(0, len(mapped), 4096):
            mapped[at] = 1
        return mapped

    memory.trim()  # what other tests left would go back in the middle
    mapped, size = memory.measured(work)
    assert abs(size - len(mapped)) < 4 << 20
    mapped.close()


def test_free_memory_goes_back_to_the_system() -> None:
    """Blocks scattered over the heap, freed behind one that stays: the process shrinks once the ledger has tidied."""
    ledger = Ledger()
    ledger.open()
    blocks = [np.ones(16_000) for _ in range(800)]  # 128 KB each, which malloc keeps in its heap
    blocks += [np.ones(15_000) for _ in range(800)]
    last = np.ones(15_000)
    full = memory.usage().private
    blocks.clear()
    ledger.tidy()
    assert memory.usage().private < full - 150e6
    assert last.sum() == 15_000


def test_the_machine_has_memory() -> None:
    """A limit of the control group counts where it is lower."""
    total = next(int(line.split()[1]) * 1024 for line in Path("/proc/meminfo").read_text().splitlines())
    assert 0 < memory.machine_bytes() <= total


def test_what_requests_take_during_a_load_is_not_the_sessions() -> None:
    """A figure that is more than twice off from what was measured without traffic is replaced by that."""
    ledger = Ledger()
    kept = []

    def load(size: int) -> str:
        kept.append(np.ones(size, np.uint8))
        return "session"

    assert ledger.measure(lambda: load(8_000_000), 500_000) == ("session", 500_000)
    assert ledger.measure(lambda: load(100_000), 4_000_000) == ("session", 4_000_000)
    near = ledger.measure(lambda: load(3_000_000), 2_500_000)[1]
    assert near == pytest.approx(3_000_000, rel=0.1)
    never_weighed = ledger.measure(lambda: load(8_000_000))[1]
    assert never_weighed == pytest.approx(8_000_000, rel=0.1)
