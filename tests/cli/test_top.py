"""`kaname top` without a server: what it reads out of metrics, what it makes of two readings, what it draws."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from kaname.cli.top.columns import SORTS, duration, share, sort_column, three, trend
from kaname.cli.top.counts import Counts, buckets, parse, quantile, since
from kaname.cli.top.figures import Line, Sample, Window, between
from kaname.cli.top.screen import Asked, Screen
from kaname.cli.top.tables import Shown, frame
from kaname.errors import InvalidInput, Unavailable
from kaname.inference.ledger import Memory
from kaname.serving.meters import DoorMeters, VersionMeters
from kaname.serving.residency.account import State, VersionAccount, WorkerAccount
from kaname.telemetry.metrics import Metrics, expose

MIB = 1024 * 1024


class House:
    """A server's metrics, counted by the code that counts them, and accounts as its workers give them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.metrics = Metrics(folder, 0)
        self.at_s = 0.0
        self.cpu_s = 0.0
        self.accounts: list[VersionAccount] = []

    def version(self, model: str, version: str = "1") -> VersionMeters:
        return VersionMeters(self.metrics, model, version)

    def resident(self, model: str, version: str = "1", state: State = "in memory", size: int = MIB) -> None:
        account = VersionAccount(
            model=model,
            version=version,
            state=state,
            bytes=size,
            pinned=False,
            loads=1,
            load_ms=1.0,
            last_used_us=None,
            evictions=0,
            why="",
            workers=1,
        )
        self.accounts.append(account)

    def look(self) -> Sample:
        memory = Memory(resident=100 * MIB, interpreter=90 * MIB, sessions=2 * MIB, slack=0)
        worker = WorkerAccount(
            slot=0,
            pid=7,
            budget=64 * MIB,
            memory=memory,
            resident=1,
            loads=1,
            evictions=0,
            at_us=int(self.at_s * 1e6),
            cpu_s=self.cpu_s,
        )
        return Sample(
            server="http://127.0.0.1:8080",
            at_us=int(self.at_s * 1e6),
            at_ns=int(self.at_s * 1e9),
            counts=parse(expose(self.folder)),
            workers=[worker],
            versions=list(self.accounts),
        )


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def answered(meters: VersionMeters, seconds: float, times: int = 1) -> None:
    """Requests of one row each, each run alone."""
    meters.requests.add(times)
    meters.rows.add(times)
    meters.latency.observe_many(seconds, times)
    meters.batches.observe_many(1, times)


def the(window: Window, model: str) -> Line:
    (line,) = [line for line in window.models if line.model == model]
    return line


def drawn(window: Window, shown: Shown | None = None, width: int = 160, height: int | None = None) -> list[str]:
    console = Console(width=width, height=height or 50, color_system=None)
    with console.capture() as captured:
        console.print(frame(window, shown or Shown("rate"), width, height))
    return [line.rstrip() for line in captured.get().splitlines()]


def test_a_page_is_read_as_prometheus_reads_it(house: House) -> None:
    """Every sample of a real page, whatever its labels say, has the value that Prometheus' own parser finds."""
    answered(house.version("iris"), 0.003, 5)
    DoorMeters(house.metrics).count("not_found")
    house.metrics.counter("kaname_odd_total", "Odd.", reason='a "b}" \\ {c').add(2)
    text = expose(house.folder) + "# a comment\nother_metric 3\n"
    mine = sorted((name, value) for numbers in parse(text).values() for (name, _), value in numbers.items())
    families = text_string_to_metric_families(text)
    theirs = sorted((each.name, each.value) for family in families for each in family.samples)
    assert mine == [each for each in theirs if each[0].startswith("kaname_")]


def test_a_server_that_began_anew_is_counted_from_nought() -> None:
    """A counter that is lower than before has no negative rate."""
    before: Counts = {("iris", "1"): {("kaname_rows_total", ""): 100.0}}
    after: Counts = {("iris", "1"): {("kaname_rows_total", ""): 8.0}}
    assert since(before, after) == after
    assert since({}, after) == after


@given(st.lists(st.floats(0.0, 20.0), min_size=1, max_size=60), st.floats(0.01, 1.0))
def test_a_percentile_lies_in_the_bucket_of_the_true_one(values: list[float], part: float) -> None:
    """For any values: no histogram can know more. Above the last bound it says the last bound."""
    bounds = (0.5, 1.0, 2.5, 5.0, 10.0)
    counted = [(bound, float(sum(value <= bound for value in values))) for bound in (*bounds, math.inf)]
    found = quantile(part, counted)
    true = sorted(values)[math.ceil(part * len(values)) - 1]
    assert found is not None
    upper = next((bound for bound in bounds if true <= bound), bounds[-1])
    lower = max((bound for bound in bounds if bound < true), default=0.0)
    assert min(lower, bounds[-1]) <= found + 1e-9
    assert found <= upper + 1e-9
    assert quantile(part, [(1.0, 0.0), (math.inf, 0.0)]) is None
    assert quantile(part, []) is None


def test_two_looks_make_figures(house: House) -> None:
    """Only what happened in between counts; each figure is the one that was counted."""
    iris = house.version("iris")
    answered(iris, 9.0, 50)
    house.resident("iris")
    before = house.look()
    answered(iris, 0.002, 90)
    answered(iris, 0.2, 6)
    iris.refused(Unavailable("loading"))
    iris.refused(InvalidInput("a row"))
    iris.refused(InvalidInput("a row"))
    iris.refused(InvalidInput("a row"))
    iris.queued.add(5.0)
    iris.compute.add(1.0)
    iris.loads.add(2)
    DoorMeters(house.metrics).count("unauthenticated")
    house.at_s, house.cpu_s = 2.0, 1.5
    window = between(before, house.look())
    traffic = the(window, "iris").traffic
    assert (traffic.requests, traffic.requests_total, traffic.requests_per_s) == (100, 150, 50.0)
    assert traffic.rows_per_s == 48.0
    assert traffic.failed_share == pytest.approx(0.04)
    assert traffic.failed == {"unavailable": 1, "invalid_input": 3}
    assert traffic.mean_ms == pytest.approx((90 * 2 + 6 * 200) / 96)
    assert traffic.p50_ms is not None
    assert 1.0 < traffic.p50_ms < 2.5
    assert traffic.p99_ms is not None
    assert 100.0 < traffic.p99_ms < 250.0
    assert (traffic.batch_rows, traffic.waiting, traffic.busy, traffic.loads) == (1.0, 2.5, 0.5, 2)
    assert window.refused == {"unauthenticated": 1}
    assert [(worker.cpu, worker.resident_bytes) for worker in window.workers] == [(0.75, 100 * MIB)]
    assert window.total == traffic


def test_a_line_per_model_or_per_version(house: House) -> None:
    """A model's versions are one line, named by the busiest, or one each; a version that is gone and idle has none."""
    for version, times in (("1", 3), ("2", 7), ("0", 0)):
        answered(house.version("iris", version), 0.001, times)
    for version in ("1", "2"):
        house.resident("iris", version)
    house.resident("quiet", state="absent")
    answered(house.version("removed"), 0.001, 0)
    before = house.look()
    answered(house.version("iris", "1"), 0.001, 5)
    answered(house.version("iris", "2"), 0.001, 1)
    after = house.look()
    models = between(before, after).models
    assert [(line.model, line.version, line.others, line.state) for line in models] == [
        ("iris", "1", 1, "in memory"),
        ("quiet", "1", 0, "absent"),
    ]
    assert models[0].traffic.requests == 6
    assert models[0].resident_bytes == 2 * MIB
    versions = between(before, after, versions=True, model="iris").models
    assert [(line.version, line.traffic.requests) for line in versions] == [("1", 5), ("2", 1)]


def test_the_cache_has_a_column_where_there_is_one(house: House) -> None:
    """The share that the model was not run for."""
    plain = between(house.look(), house.look())
    for result, times in (("hit", 6), ("miss", 2)):
        name, text = "kaname_cache_requests_total", "By result."
        house.metrics.counter(name, text, model="iris", version="1", result=result).add(times)
    before = Sample(server="", at_us=0, at_ns=0, counts={}, workers=[], versions=[])
    answered(house.version("iris"), 0.001)
    window = between(before, house.look())
    assert the(window, "iris").traffic.cached_share == 0.75
    assert any("cached" in line for line in drawn(window))
    assert not any("cached" in line for line in drawn(plain))


def two_models(house: House) -> Window:
    """Two models of which the second has errors, one that failed to load, one that is not in memory."""
    before = house.look()
    iris, fraud = house.version("iris"), house.version("fraud-detector", "7")
    answered(iris, 0.00005, 1000)
    answered(fraud, 0.4, 10)
    for _ in range(5):
        fraud.refused(Unavailable("no"))
    house.resident("iris")
    house.resident("fraud-detector", "7", size=3 * 1024 * MIB)
    house.resident("broken", state="failed")
    house.resident("asleep", state="absent")
    house.at_s = 1.0
    return between(before, house.look())


def test_what_is_drawn(house: House) -> None:
    """The busiest first; units, errors with their code, states in the place of bytes."""
    lines = drawn(two_models(house))
    table = [line.split() for line in lines if line[:1].isalpha() and "worker" not in line]
    assert lines[0].startswith("http://127.0.0.1:8080   00:00:01 UTC, 1.0 s   models 2.0 MiB of 64.0 MiB")
    assert lines[1].startswith("1,015 req/s   1,010 rows/s   0.49% errors   p50 <0.1 ms")
    assert [row[0] for row in table[1:]] == ["model", "iris", "fraud-detector", "asleep", "broken"]
    assert table[2][:5] == ["iris", "1", "1,000", "1,000", "-"]
    assert table[3][4:10] == ["33%", "unavailable", "375", "ms", "498", "ms"]
    assert [row[-1] for row in table[-2:]] == ["absent", "failed"]


@pytest.mark.parametrize("width", [70, 80, 100, 120, 200])
@pytest.mark.parametrize("sort", SORTS)
def test_nothing_is_cut_on_a_narrow_terminal(house: House, width: int, sort: str) -> None:
    """Columns give way instead, but never what is sorted by; no line is wider than the terminal."""
    lines = drawn(two_models(house), Shown(sort, lambda _: (1.0, 2.0)), width)
    assert max(map(len, lines)) <= width
    assert not any("…" in line for line in lines[-6:])
    title = next(line for line in lines if line.startswith("model"))
    assert "▼" in title or "▲" in title or sort in ("cached", "loads")
    assert "req/s" in title
    assert "p99" in title


def test_a_short_terminal_says_how_many_lines_are_missing(house: House) -> None:
    """The frame is never higher than the terminal."""
    for number in range(40):
        house.resident(f"m{number}")
    lines = drawn(between(house.look(), house.look()), Shown("model", keys="q quit"), 100, 12)
    assert len(lines) == 12
    assert lines[-1] == "and 35 more   q quit"
    assert lines[-2].startswith("m12")


def test_keys_change_what_is_shown(house: House) -> None:
    """s takes the next column, r turns the order round, v shows versions, q ends; others do nothing."""
    screen = Screen(house.look(), Asked())
    answered(house.version("a"), 0.001, 10)
    answered(house.version("b"), 0.5, 5)
    house.at_s = 1.0
    screen.take(house.look())

    def order() -> list[str]:
        console = Console(width=200, height=50, color_system=None)
        with console.capture() as captured:
            console.print(screen.draw(200, 50))
        return [line.split()[0] for line in captured.get().splitlines() if line[:2] in ("a ", "b ")]

    assert order() == ["a", "b"]
    screen.take("r")
    assert order() == ["b", "a"]
    for _ in range(4):  # rows, errors, p50, p99
        screen.take("s")
    assert order() == ["a", "b"]
    screen.take("v")
    screen.take("x")
    screen.take("")
    assert not screen.done
    screen.take("q")
    assert screen.done


def test_a_server_that_does_not_answer_leaves_the_last_picture(house: House) -> None:
    """With the reason above it, until it answers again."""
    screen = Screen(house.look(), Asked())
    console = Console(width=200, height=50, color_system=None)

    def picture() -> str:
        with console.capture() as captured:
            console.print(screen.draw(200, 50))
        return captured.get()

    screen.take(Unavailable("no server runs on this project"))
    assert "no server runs on this project; trying again" in picture()
    screen.take(house.look())
    assert "trying again" not in picture()


def test_figures_for_people() -> None:
    """Three digits, never a false zero, never more than the histogram knows."""
    assert [three(value) for value in (0.0, 1.234, 12.34, 99.96, 1234.5)] == ["0.00", "1.23", "12.3", "100", "1,234"]
    assert [duration(ms).plain for ms in (None, 0.05, 0.4, 42.0, 1500.0, 10_000.0)] == [
        *("-", "<0.1 ms", "0.40 ms", "42.0 ms", "1.50 s", ">10 s")
    ]
    assert [share(value).plain for value in (0.0, 0.001, 0.0312, 0.5)] == ["-", "0.10%", "3.1%", "50%"]
    assert trend((0.0, 1.0, 8.0)).plain.strip() == "▁█"
    assert trend(()).plain == "-"


def test_an_unknown_column_names_those_that_there_are() -> None:
    """Also for one that is shown but has no order."""
    with pytest.raises(InvalidInput, match="model, rate, rows"):
        sort_column("trend")


def test_buckets_of_a_page_rise(house: House) -> None:
    """Bounds as numbers, the last one infinite."""
    answered(house.version("iris"), 0.003)
    found = buckets(parse(expose(house.folder))["iris", "1"], "kaname_request_seconds")
    assert found == sorted(found)
    assert found[-1] == (math.inf, 1.0)
