"""OpenMetrics with exemplars: what the official parser reads equals the older format, and leads to traces."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from kaname.telemetry.exemplars import Exemplar, Exemplars, read_exemplars
from kaname.telemetry.exposition import expose, exposed, prefers_openmetrics
from kaname.telemetry.metrics import Metrics

BOUNDS = (0.1, 1.0, 2.5)
LABELS = (("model", "iris"),)
PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def filled(folder: Path, slot: int = 0) -> Metrics:
    """A worker's metrics of each kind."""
    metrics = Metrics(folder, slot)
    metrics.counter("kaname_runs_total", 'Runs, "all" of them.\nEach.', model='a"b\\c').add(3)
    metrics.counter("kaname_run_seconds_total", "Time.").add(0.25)
    metrics.gauge("kaname_resident_bytes", "Memory.").set(1e6)
    latency = metrics.histogram("kaname_request_seconds", "Latency.", BOUNDS, model="iris")
    for value in (0.05, 0.5, 0.5, 7.0):
        latency.observe(value)
    return metrics


def families_of(text: str) -> list[Any]:
    """What the strict parser reads."""
    return list(parse_openmetrics(text))  # type: ignore[no-untyped-call]  # prometheus_client has no types there


def exemplar(value: float, number: int, time_ns: int = 1_700_000_000_000_000_000) -> Exemplar:
    """One of the histogram of `filled`, whose trace has `number` as its id."""
    ids = {"trace_id": f"{number:032x}", "span_id": f"{number:016x}"}
    return Exemplar(name="kaname_request_seconds", labels=LABELS, value=value, time_ns=time_ns, **ids)


def samples(families: Iterable[Any]) -> Samples:
    """Values by name and labels, bounds as numbers."""
    found: Samples = {}
    for family in families:
        for one in family.samples:
            labels = {name: str(float(text)) if name == "le" else text for name, text in one.labels.items()}
            found[one.name, tuple(sorted(labels.items()))] = one.value
    return found


def read(folder: Path) -> str:
    """What a client that asks for OpenMetrics gets."""
    kind, text = exposed(folder, None, PROMETHEUS)
    assert kind.startswith("application/openmetrics-text; version=1.0.0")
    return text


def test_both_formats_say_the_same(tmp_path: Path) -> None:
    """The strict parser reads every sample that the other one reads, and the end."""
    filled(tmp_path), filled(tmp_path, 1)
    text = read(tmp_path)
    assert text.endswith("\n# EOF\n")
    assert samples(families_of(text)) == samples(parse_text(expose(tmp_path)))


def test_units_and_counters_are_named_as_openmetrics_wants(tmp_path: Path) -> None:
    """A counter's family goes without `_total`; seconds and bytes are units."""
    filled(tmp_path)
    families = {family.name: family for family in families_of(read(tmp_path))}
    assert families["kaname_run_seconds"].type == "counter"
    assert families["kaname_run_seconds"].unit == "seconds"
    assert families["kaname_resident_bytes"].unit == "bytes"
    assert families["kaname_runs"].documentation == 'Runs, "all" of them.\nEach.'


def test_nothing_counted_is_an_empty_document(tmp_path: Path) -> None:
    """An end without a beginning."""
    assert read(tmp_path) == "# EOF\n"


def test_the_newest_trace_of_a_bucket_is_shown(tmp_path: Path) -> None:
    """Over all workers; each bucket shows its own, the last one included."""
    filled(tmp_path)
    for slot, numbers in enumerate(((1, 2), (3, 4))):
        kept = Exemplars(tmp_path, slot)
        for number in numbers:
            kept.note(exemplar(0.5, number, number * 10**9), BOUNDS)
        kept.note(exemplar(7.0, 9), BOUNDS)
        kept.save()
    families = {family.name: family for family in families_of(read(tmp_path))}
    shown = {
        one.labels["le"]: (one.exemplar.labels, one.exemplar.value, float(one.exemplar.timestamp))
        for one in families["kaname_request_seconds"].samples
        if one.exemplar
    }
    assert shown["1.0"] == ({"trace_id": f"{4:032x}", "span_id": f"{4:016x}"}, 0.5, 4.0)
    assert shown["+Inf"][1] == 7.0
    assert set(shown) == {"1.0", "+Inf"}
    assert "trace_id" not in expose(tmp_path), "the older format has no exemplars"


def test_a_file_of_exemplars_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    """Half of a file, or another program's, costs nothing but the exemplars in it."""
    (tmp_path / "slot-000.exemplars").write_bytes(b'[{"name": "kaname')
    (tmp_path / "slot-001.exemplars").write_bytes(b"\xff\xfe")
    kept = Exemplars(tmp_path, 2)
    kept.note(exemplar(0.5, 1), BOUNDS)
    kept.save()
    assert list(read_exemplars(tmp_path)) == [("kaname_request_seconds", LABELS)]


def test_exemplars_are_written_only_when_there_are_new_ones(tmp_path: Path) -> None:
    """A worker without traced requests writes no file; a second save without news writes nothing."""
    kept = Exemplars(tmp_path, 0)
    kept.save()
    assert not list(tmp_path.iterdir())
    kept.note(exemplar(0.5, 1), BOUNDS)
    kept.save()
    (path,) = tmp_path.iterdir()
    path.unlink()
    kept.save()
    assert not path.exists()


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (PROMETHEUS, True),
        ("application/openmetrics-text", True),
        ("Application/OpenMetrics-Text ; version=1.0.0", True),
        ("text/plain, application/openmetrics-text;q=0.5", False),
        ("text/plain;q=0.2, application/openmetrics-text;q=0.3", True),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;q=much", False),
        ("text/plain", False),
        ("*/*", False),
        ("", False),
    ],
)
def test_openmetrics_is_for_who_asks_for_it(accept: str, chosen: bool) -> None:
    """Other clients get what they always got."""
    assert prefers_openmetrics(accept) is chosen
