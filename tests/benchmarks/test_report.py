"""The report says what was measured, who was missing, and whether targets were met."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import report, serving
from benchmarks.lineup import API
from benchmarks.results import Results
from benchmarks.rounds import Sample
from benchmarks.targets import judge, verdicts

COSTS = {"floor": 10.0, "fastapi": 150.0, API: 20.0}


@pytest.fixture
def results() -> Results:
    """Two rounds of three entries with known CPU times."""
    found = Results(
        "2026-01-02 03:04 UTC", {"CPU": "Test CPU", "cores": "2"}, {"fastapi": "1.2"}, {"bentoml": "no wheel"}
    )
    found.titles = {"floor": "floor", "fastapi": "FastAPI", API: "**Kaname**"}
    found.absent = {"iris": {"kserve": "did not answer: boom\nmore"}}
    for number in range(2):
        for name, cost in COSTS.items():
            found.samples.append(Sample("iris", name, 16, number, 1e6 / cost, 0.5, 2.0, cost, 0))
    found.raw_us = {"iris": [{"1": 8.0, "1000": 1000.0}]}
    found.large_rows_per_s = {"iris": [900_000.0]}
    found.open_loop = [{"model": "iris", "entry": API, "p50_ms": 0.2, "p99_ms": 0.8, "p99.9_ms": 1.0, "max_ms": 2.0,
                        "unanswered": 0, "refused": 0}]  # fmt: skip
    found.memory_mb = 100.0
    return found


def test_the_page_names_machine_peers_and_reasons(results: Results) -> None:
    """Nothing is left out silently."""
    page = report.page(results)
    for said in ("Test CPU", "FastAPI 1.2", "bentoml is missing: no wheel", "kserve: did not answer: boom", "50,000"):
        assert said in page
    assert "more" not in page.split("boom")[1].splitlines()[0]


def test_targets_are_judged(results: Results) -> None:
    """Twice the floor reaches the aim, 7.5 times FastAPI the aim, 0.8 ms only the must."""
    words = {verdict.what: (verdict.measured, verdict.word) for verdict in verdicts(results)}
    assert words["CPU of `kaname`, 16 connections, × echo floor"] == ("2.00", "aim")
    assert words["CPU of FastAPI, 16 connections, × Kaname"] == ("7.5", "aim")
    assert words["p99 at 1,000 requests/s, open loop, ms"] == ("0.80", "must")
    assert words["1,000-row binary request, `iris`, of raw"] == ("90%", "aim")
    assert judge("x", 4.0, 3.2, 2.2, least=False, form=".1f").word == "**missed**"


def test_only_the_marked_part_of_the_readme_changes(results: Results, tmp_path: Path) -> None:
    """Text around the markers stays, and a second run replaces the first one's table."""
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    for _ in range(2):
        report.write("page", report.summary(results), tmp_path / "docs" / "page.md", readme)
    text = readme.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert text.count("**Kaname**") == 1


def test_unknown_names_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelt peer is not silently left out."""
    with pytest.raises(SystemExit):
        serving.arguments(["--peers", "fastapi,mlsever"])
    assert "mlsever" in capsys.readouterr().err
