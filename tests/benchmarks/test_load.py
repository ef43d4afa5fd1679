"""What is sent to `wrk` and read back from it, and the open loop, against the echo floor."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks import load, openloop, process
from benchmarks.contestants import BY_HAND, FLOOR, PEERS, environment
from benchmarks.lineup import API
from benchmarks.request import Request, infer_binary, infer_json, json_request
from benchmarks.rounds import Entry, Sample, cpu_ratio, figures, interleave

ASKED = json_request("/predict", {"features": [1.0, 2.0]})
needs_wrk = pytest.mark.skipif(
    shutil.which("wrk") is None or shutil.which("taskset") is None, reason="wrk and taskset are not installed"
)


@pytest.fixture
def floor(tmp_path: Path) -> Iterator[process.Server]:
    """The echo floor, running."""
    peer = next(peer for peer in PEERS if peer.name == FLOOR)
    port = process.free_port()
    settings = environment({"BENCH_PORT": str(port)})
    server = process.Server.start(peer.command(), settings, port, tmp_path / "log", tmp_path)
    try:
        server.wait_until(ASKED)
        yield server
    finally:
        server.stop()


@needs_wrk
@pytest.mark.slow
@pytest.mark.serial
def test_a_tiny_round_on_the_echo_floor(floor: process.Server) -> None:
    """Two rounds of one second: every request is answered and its CPU time accounted for."""
    entry = Entry(FLOOR, "floor", floor, ASKED)
    heard: list[Sample] = []
    lost: list[Entry] = []
    samples = interleave(
        "iris", [entry], rounds=2, connections=(4,), seconds=1, said=heard.append, lost=lambda e, _: lost.append(e)
    )
    assert (heard, lost) == (samples, [])
    found = figures(samples, "iris", FLOOR, 4)
    assert found is not None
    assert found.failed == 0
    assert found.per_s.low > 500
    assert 1 < found.cpu_us.median < 1000


@needs_wrk
@pytest.mark.slow
def test_a_server_that_ends_sits_out_the_rest(floor: process.Server) -> None:
    """The others' measurements go on when one server dies."""
    entry = Entry(FLOOR, "floor", floor, ASKED)
    floor.stop()
    lost: list[str] = []
    found = interleave(
        "iris",
        [entry],
        rounds=2,
        connections=(1,),
        seconds=1,
        said=lambda _: None,
        lost=lambda e, _: lost.append(e.name),
    )
    assert (found, lost) == ([], [FLOOR])


@pytest.mark.slow
@pytest.mark.serial
def test_the_open_loop_sends_its_rate(floor: process.Server) -> None:
    """Every request that was meant to leave did, and every one was answered."""
    wire = openloop.encode(floor.port, ASKED)
    found = asyncio.run(openloop.drive(floor.port, wire, rate_per_s=200, seconds=1, connections=4))
    assert (found["requests"], found["unanswered"], found["refused"]) == (200, 0, 0)
    assert 0 < found["p50_ms"] <= found["p99_ms"] <= found["max_ms"]


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    """The end of its log is in the error, so that the benchmark's report can hold it."""
    command = [sys.executable, "-c", "raise SystemExit('no such model')"]
    server = process.Server.start(command, environment({}), process.free_port(), tmp_path / "log", tmp_path)
    with pytest.raises(process.ServerFailed, match="no such model"):
        server.wait_until(ASKED)


def test_figures_are_read_from_what_wrk_prints() -> None:
    """Only our own line counts, whatever else is printed."""
    line = 'BENCH {"requests": 100, "duration_us": 2000000, "refused": 1, "broken": 2, "p50_us": 1500, "p99_us": 9000}'
    found = load.parse(f"Running 2s test\n{line}\n  Requests/sec: 50\n")
    assert (found.per_s, found.refused, found.broken, found.p50_ms, found.p99_ms) == (50.0, 1, 2, 1.5, 9.0)
    with pytest.raises(load.LoadFailed, match="unable to connect"):
        load.parse("unable to connect to 127.0.0.1:1")


def test_header_values_cannot_break_out_of_the_script() -> None:
    """Quotes and backslashes are escaped; control characters are refused."""
    script = load.lua(Request("/", b"", (("A", 'b"c\\d'),)), [Path("body")])
    assert 'wrk.headers["A"] = "b\\"c\\\\d"' in script
    with pytest.raises(ValueError, match="control character"):
        load.lua(Request("/", b"", (("A", "b\nc"),)), [Path("body")])


def test_binary_requests_hold_the_header_and_the_bytes() -> None:
    """The header's length is announced and the tensor's bytes follow it, little-endian and in order."""
    rows = np.arange(6, dtype=np.float32).reshape(2, 3)
    request = infer_binary("/v2/models/m/infer", "X", rows, binary_answer=True)
    length = int(dict(request.headers)["Inference-Header-Content-Length"])
    head = json.loads(request.body[:length])
    assert head["inputs"][0]["parameters"]["binary_data_size"] == 24
    assert np.array_equal(np.frombuffer(request.body[length:], "<f4").reshape(2, 3), rows)
    assert json.loads(infer_json("/", "X", rows).body)["inputs"][0]["data"] == rows.ravel().tolist()


def test_ratios_are_by_round() -> None:
    """Round two is twice as slow for both: the ratio is the same in both rounds."""
    runs = [
        Sample("iris", name, 16, number, 1.0, 1.0, 1.0, cost * (number + 1), 0)
        for number in range(2)
        for name, cost in ((API, 20.0), (BY_HAND, 150.0))
    ]
    found = cpu_ratio(runs, "iris", BY_HAND, API, 16)
    assert found is not None
    assert (found.low, found.high) == (7.5, 7.5)
    assert cpu_ratio(runs, "iris", "absent", API, 16) is None
