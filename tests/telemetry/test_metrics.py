"""Metrics: numbers in shared memory, summed over workers, kept over restarts, printed as Prometheus reads them."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from kaname.errors import Conflict
from kaname.telemetry.metrics import Metrics, expose
from kaname.telemetry.slotfile import CHUNK_BYTES, slot_path

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def parsed(text: str) -> Samples:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_counters_sum_over_slots(tmp_path: Path) -> None:
    """The same series in two slots is one number in the text."""
    for slot, n in ((0, 3), (1, 4)):
        counter = Metrics(tmp_path, slot).counter("requests_total", "Requests.", model="iris")
        counter.add()
        counter.add(n)
    assert parsed(expose(tmp_path)) == {("requests_total", (("model", "iris"),)): 9.0}


def test_a_restarted_worker_goes_on_counting(tmp_path: Path) -> None:
    """Counters and histograms survive close and reopen; gauges begin at zero."""
    first = Metrics(tmp_path, 0)
    first.counter("requests_total", "Requests.").add(5)
    first.gauge("inflight", "In progress.").set(7)
    first.histogram("latency_seconds", "Latency.", (0.1, 1.0)).observe(0.5)
    first.close()
    assert ("inflight", ()) not in parsed(expose(tmp_path))
    second = Metrics(tmp_path, 0)
    second.counter("requests_total", "Requests.").add()
    second.gauge("inflight", "In progress.")
    second.histogram("latency_seconds", "Latency.", (0.1, 1.0)).observe(0.05)
    found = parsed(expose(tmp_path))
    assert found["requests_total", ()] == 6
    assert found["inflight", ()] == 0
    assert found["latency_seconds_count", ()] == 2
    assert found["latency_seconds_sum", ()] == pytest.approx(0.55)


def test_a_killed_worker_is_still_counted(tmp_path: Path) -> None:
    """kill -9 loses no count that was made, and the slot is free at once."""
    program = (
        "import sys, time; from pathlib import Path; from kaname.telemetry.metrics import Metrics\n"
        "Metrics(Path(sys.argv[1]), 0).counter('requests_total', 'Requests.').add(11)\n"
        "print('done', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"done\n"
        os.kill(child.pid, signal.SIGKILL)
    Metrics(tmp_path, 0).counter("requests_total", "Requests.").add()
    assert parsed(expose(tmp_path)) == {("requests_total", ()): 12.0}


def test_gauges_follow_their_policy_and_the_living(tmp_path: Path) -> None:
    """`sum` adds and `max` takes the largest, over the slots that are alive."""
    for slot, value in ((0, 3.0), (1, 4.0), (2, 9.0)):
        metrics = Metrics(tmp_path, slot)
        metrics.gauge("queue", "Waiting.").set(value)
        metrics.gauge("lag_seconds", "Oldest.", policy="max").set(value)
    assert parsed(expose(tmp_path)) == {("queue", ()): 16.0, ("lag_seconds", ()): 9.0}
    assert parsed(expose(tmp_path, live={0, 1})) == {("queue", ()): 7.0, ("lag_seconds", ()): 4.0}


def test_histogram_buckets(tmp_path: Path) -> None:
    """A value on a bound belongs to that bucket; buckets are cumulative and end in +Inf; many count as one batch."""
    histogram = Metrics(tmp_path, 0).histogram("rows", "Rows.", (1, 2, 4))
    for value in (1, 1.5, 4, 100):
        histogram.observe(value)
    histogram.observe_many(2, 3)
    found = parsed(expose(tmp_path))
    assert [found["rows_bucket", (("le", le),)] for le in ("1", "2", "4", "+Inf")] == [1, 5, 6, 7]
    assert found["rows_sum", ()] == 112.5
    assert found["rows_count", ()] == histogram.count == 7


def test_slots_with_other_buckets_meet_at_shared_bounds(tmp_path: Path) -> None:
    """During a rolling upgrade, the counts at the bounds both versions have stay exact."""
    for slot, bounds in ((0, (1.0, 2.0, 5.0)), (1, (2.0, 3.0, 5.0))):
        histogram = Metrics(tmp_path, slot).histogram("rows", "Rows.", bounds)
        for value in (1, 2, 3, 4, 9):
            histogram.observe(value)
    found = parsed(expose(tmp_path))
    buckets = {dict(labels)["le"]: value for (name, labels), value in found.items() if name == "rows_bucket"}
    assert {float(le): value for le, value in buckets.items()} == {2.0: 4, 5.0: 8, math.inf: 10}


@settings(max_examples=50, deadline=None)
@given(value=st.text(st.characters(codec="utf-8", exclude_categories=["Cs"])), help_text=st.text("ab\\\n\"'é"))
def test_any_label_value_survives_the_text(
    tmp_path_factory: pytest.TempPathFactory, value: str, help_text: str
) -> None:
    """Quotes, backslashes and line ends in labels and help are escaped so that the parser reads them back."""
    folder = tmp_path_factory.mktemp("metrics")
    metrics = Metrics(folder, 0)
    metrics.counter("odd_total", help_text, value=value).add()
    text = expose(folder)
    metrics.close()
    ours = [line for line in text.split("\n") if line and not line.startswith("#")]
    assert len(ours) == 1
    if not set(value) & set(
        "\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
    ):  # the parser splits at these, the format does not
        assert parsed(text) == {("odd_total", (("value", value),)): 1.0}


def test_help_and_type_come_once(tmp_path: Path) -> None:
    """Two series of one metric share one HELP and one TYPE line."""
    metrics = Metrics(tmp_path, 0)
    for model in ("b", "a"):
        metrics.counter("requests_total", "Requests.", model=model).add()
    lines = expose(tmp_path).splitlines()
    assert lines == [
        "# HELP requests_total Requests.",
        "# TYPE requests_total counter",
        'requests_total{model="a"} 1',
        'requests_total{model="b"} 1',
    ]


def test_the_file_grows_and_old_cells_stay_good(tmp_path: Path) -> None:
    """A counter made before the file was mapped anew still counts in it."""
    metrics = Metrics(tmp_path, 0)
    early = metrics.counter("requests_total", "Requests.", model="first")
    for i in range(2000):
        metrics.counter("requests_total", "Requests.", model=f"m{i}").add()
    assert slot_path(tmp_path, 0).stat().st_size > CHUNK_BYTES
    early.add(3)
    found = parsed(expose(tmp_path))
    assert len(found) == 2001
    assert found["requests_total", (("model", "first"),)] == 3
    metrics.close()
    assert Metrics(tmp_path, 0).counter("requests_total", "Requests.", model="m1999").value == 1


def test_a_slot_has_one_owner(tmp_path: Path) -> None:
    """A second writer of the same slot is refused; after close it may have it."""
    first = Metrics(tmp_path, 0)
    with pytest.raises(Conflict, match="another process"):
        Metrics(tmp_path, 0)
    first.close()
    Metrics(tmp_path, 0)


def _one_of_each(folder: Path) -> bytes:
    """The content of a slot's file with three kinds of series."""
    metrics = Metrics(folder, 0)
    metrics.counter("requests_total", "Requests.", model="caf\u00e9").add(3)
    metrics.histogram("rows", "Rows.", (1, 2, 4)).observe(3)
    metrics.gauge("queue", "Waiting.").set(2)
    metrics.counter("last_total", "The last.").add(5)
    raw = slot_path(folder, 0).read_bytes()
    metrics.close()
    return raw


@settings(max_examples=150, deadline=None)
@given(at=st.integers(0, 700), byte=st.integers(0, 255), cut=st.integers(0, 900) | st.none())
def test_no_damaged_byte_stops_a_worker_or_a_reader(
    tmp_path_factory: pytest.TempPathFactory, at: int, byte: int, cut: int | None
) -> None:
    """Whichever byte of the file is another and wherever it ends: it is read as far as it makes sense, the page that
    comes out is one that Prometheus can read, and the next worker counts on."""
    folder = tmp_path_factory.mktemp("damaged")
    damaged = bytearray(_one_of_each(folder)[:CHUNK_BYTES][:cut])
    if at < len(damaged):
        damaged[at] = byte
    slot_path(folder, 0).write_bytes(damaged)
    expose(folder)
    metrics = Metrics(folder, 0)
    metrics.counter("fresh_total", "Fresh.").add(7)
    lines = expose(folder).splitlines()
    metrics.close()
    assert "fresh_total 7" in lines


def test_what_lies_before_the_damage_is_still_counted(tmp_path: Path) -> None:
    """Half a record at the end, as a torn write leaves it, costs the series after it only."""
    raw = _one_of_each(tmp_path)
    at = raw.index(b"last_total")
    slot_path(tmp_path, 0).write_bytes(raw[:at] + b"\xff" + raw[at + 1 :])
    metrics = Metrics(tmp_path, 0)
    metrics.counter("requests_total", "Requests.", model="caf\u00e9").add()
    found = parsed(expose(tmp_path))
    metrics.close()
    assert found["requests_total", (("model", "caf\u00e9"),)] == 4
    assert not any(name == "last_total" for name, _ in found)


@pytest.mark.parametrize("damage", [b"", b"nonsense" * 100, b"KANAMET1" + b"\xff" * 200, b"KANAMET1\x00"])
def test_a_damaged_file_is_begun_anew(tmp_path: Path, damage: bytes) -> None:
    """A damaged file stops neither the reader nor the next worker."""
    slot_path(tmp_path, 0).write_bytes(damage)
    assert expose(tmp_path) == ""
    Metrics(tmp_path, 0).counter("requests_total", "Requests.").add()
    assert parsed(expose(tmp_path)) == {("requests_total", ()): 1.0}


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda m: m.counter("requests", "x"), "_total"),
        (lambda m: m.counter("a-b_total", "x"), "name of a metric"),
        (lambda m: m.counter("a_total", "x", __b="1"), "name of a label"),
        (lambda m: m.histogram("a", "x", (1,), le="1"), "name of a label"),
        (lambda m: m.histogram("a", "x", (2, 1)), "rising"),
        (lambda m: m.histogram("a", "x", ()), "rising"),
        (lambda m: m.histogram("a", "x", (1, math.inf)), "rising"),
        (lambda m: (m.gauge("a", "x"), m.gauge("a", "y")), "found"),
        (lambda m: (m.gauge("a", "x"), m.histogram("a", "x")), "found"),
    ],
)
def test_wrong_declarations_are_refused(tmp_path: Path, make: object, said: str) -> None:
    """What Prometheus could not read is a ValueError at the place that declares it."""
    assert callable(make)
    with pytest.raises(ValueError, match=said):
        make(Metrics(tmp_path, 0))


def test_threads_lose_no_count(tmp_path: Path) -> None:
    """Four threads on one counter and one histogram: every step is there."""
    metrics = Metrics(tmp_path, 0)
    counter = metrics.counter("requests_total", "Requests.")
    histogram = metrics.histogram("rows", "Rows.", (1, 2))

    def work() -> None:
        for _ in range(20_000):
            counter.add()
            histogram.observe(1)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert counter.value == histogram.count == 80_000


@pytest.mark.serial
def test_a_step_costs_a_fraction_of_a_microsecond(tmp_path: Path) -> None:
    """Counting stays far below the cost of anything else on the request path."""
    metrics = Metrics(tmp_path, 0)
    add = metrics.counter("requests_total", "Requests.").add
    observe = metrics.histogram("latency_seconds", "Latency.").observe

    def ns(step: object, *arguments: float) -> float:
        assert callable(step)
        best = math.inf
        for _ in range(5):
            start = time.perf_counter_ns()
            for _ in range(20_000):
                step(*arguments)
            best = min(best, (time.perf_counter_ns() - start) / 20_000)
        return best

    assert ns(add) < 1_000
    assert ns(observe, 0.003) < 2_000


def test_what_is_gone_is_no_longer_shown(tmp_path: Path) -> None:
    """Neither the series of a version that is not kept nor those of a model; what has no model stays. Who still counts
    in them counts for nobody, and a version of the same name begins anew."""
    metrics = Metrics(tmp_path, 0)
    old = metrics.counter("rows_total", "Rows.", model="a", version="1")
    latency = metrics.histogram("latency_seconds", "Latency.", (0.1, 1.0), model="a", version="1")
    old.add(5)
    latency.observe(0.5)
    metrics.counter("rows_total", "Rows.", model="a", version="2").add(7)
    metrics.gauge("bytes", "Bytes.", model="b").set(1)
    metrics.gauge("bytes", "Bytes.", model="a").set(2)
    metrics.counter("refused_total", "Refused.").add(3)
    metrics.keep({("a", "2"), ("a", "")})
    old.add(1)
    kept = {
        ("rows_total", (("model", "a"), ("version", "2"))): 7.0,
        ("bytes", (("model", "a"),)): 2.0,
        ("refused_total", ()): 3.0,
    }
    assert parsed(expose(tmp_path)) == kept
    metrics.counter("rows_total", "Rows.", model="a", version="1").add(2)
    assert parsed(expose(tmp_path)) == {**kept, ("rows_total", (("model", "a"), ("version", "1"))): 2.0}


def test_versions_that_come_and_go_do_not_make_the_file_longer(tmp_path: Path) -> None:
    """The next owner of the slot puts new series in the place of forgotten ones, and reads the others as before."""
    used = []
    for start in range(40):
        metrics = Metrics(tmp_path, 0)
        metrics.counter("always_total", "Always.", model="m", version="0").add()
        for version in (f"{start}a", f"{start}b"):
            metrics.histogram("latency_seconds", "Latency.", (0.1, 1.0), model="m", version=version).observe(0.5)
        metrics.keep({("m", "0")})
        metrics.close()
        content = slot_path(tmp_path, 0).read_bytes()
        used.append(int.from_bytes(content[8:16], "little"))
    assert used[-1] == used[10]  # versions of two digits have longer descriptions than those of one
    assert parsed(expose(tmp_path)) == {("always_total", (("model", "m"), ("version", "0"))): 40.0}
