"""The replay's client, its requests and its report, against a small server of the test's own."""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pd: Any = pytest.importorskip("pandas")
pytest.importorskip("matplotlib")
client: Any = importlib.import_module("client")
replay: Any = importlib.import_module("replay")
report: Any = importlib.import_module("report")
departures: Any = importlib.import_module("departures")

from rich.console import Console  # noqa: E402
from rich.progress import Progress  # noqa: E402


def some_flights(count: int) -> Any:
    """A table as `prepare` writes it, with made-up values; every third flight has no plane yet, one was cancelled."""
    draw = np.random.default_rng(5)
    table = pd.DataFrame({name: draw.normal(size=count) for name in departures.FEATURES})
    table["carrier"] = np.where(np.arange(count) % 2, "UA", "DL")
    table["origin"], table["destination"] = "EWR", "SFO"
    table["tail"] = np.where(np.arange(count) % 3, "N1", "none")
    table["delay_minutes"] = np.where(np.arange(count) == 1, np.nan, np.arange(count, dtype=float))
    table["departs_s"] = 1_380_618_000 + np.arange(count) * 3600
    return table


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Predict twice the month; refuse flights without a plane."""
    while head := await reader.readuntil(b"\r\n\r\n"):
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        asked = json.loads(await reader.readexactly(length))
        good = asked["entity"]["tail"] != "none"
        body = json.dumps({"prediction": asked["features"]["month"] * 2} if good else {"detail": "no plane"}).encode()
        status = b"200 OK" if good else b"422 Unprocessable"
        writer.write(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))


async def replayed(flights: Any, until: Callable[[int], None] = lambda _: None) -> Any:
    """Replay against the small server."""

    serving: list[asyncio.Task[None] | None] = []

    async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.current_task())
        try:
            await answer(reader, writer)
        except asyncio.IncompleteReadError:
            writer.close()
            await writer.wait_closed()

    async with await asyncio.start_server(guarded, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with Progress(disable=True) as progress:
            traffic = await replay.replay(flights, f"http://127.0.0.1:{port}", "key", 3, progress, until)
        await asyncio.gather(*(task for task in serving if task is not None))
        return traffic


def test_every_flight_is_asked_once_and_gets_its_own_answer() -> None:
    """Three concurrent clients, one queue: predictions lie where their flights do, refusals are counted by reason."""
    flights = some_flights(60)
    traffic = asyncio.run(replayed(flights))
    asked = (flights["tail"] != "none").to_numpy()
    assert np.allclose(traffic.predicted[asked], flights["month"][asked] * 2)
    assert np.isnan(traffic.predicted[~asked]).all()
    assert traffic.problems == {"422 no plane": 20}
    assert (traffic.latency_ms > 0).all()


def test_the_report_and_the_picture_cope_with_refusals(tmp_path: Path) -> None:
    """Tables name the refusals and the carriers; the picture is written."""
    traffic = asyncio.run(replayed(some_flights(240)))
    console = Console(record=True, width=100, quiet=False, file=(tmp_path / "said").open("w"))
    report.show(traffic, console)
    said = console.export_text()
    console.file.close()
    assert "80 × 422 no plane" in said
    assert "UA" in said
    report.draw(traffic, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_a_request_names_the_entity_and_brings_the_timetable() -> None:
    """And nothing that the server is to read."""
    first = json.loads(next(replay.bodies(some_flights(3))))
    assert set(first["entity"]) == set(departures.ENTITY)
    assert set(first["features"]) == set(departures.TIMETABLE)


def test_what_happens_is_told_before_the_flights_that_may_know_it() -> None:
    """The moments are those an hour before departure, in steps, in order, each once."""
    told: list[int] = []
    asyncio.run(replayed(some_flights(12), told.append))
    first = 1_380_618_000 - 3600
    assert told == [(first + 3600 * i) // 600 * 600 for i in range(12)]


def test_fewer_rows_are_spread_evenly_in_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`--rows` keeps the first and the last flight and the order of departure."""
    some_flights(100).to_parquet(tmp_path / "traffic.parquet")
    monkeypatch.setattr(replay.prepare, "TRAFFIC", tmp_path / "traffic.parquet")
    chosen = replay.load_traffic(11)
    assert len(chosen) == 11
    assert chosen["departs_s"].is_monotonic_increasing
    assert (chosen["departs_s"].iloc[0], chosen["departs_s"].iloc[-1]) == (1_380_618_000, 1_380_618_000 + 99 * 3600)
    assert len(replay.load_traffic(None)) == 100


def test_a_server_that_hangs_up_is_an_error_that_says_so() -> None:
    """A cut answer raises instead of leaving a half-read body."""

    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        writer.close()

    async def ask() -> None:
        server = await asyncio.start_server(cut, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, client.Connection("127.0.0.1", port, {}) as connection:
            await connection.post("/", b"")

    with pytest.raises(ConnectionError, match="in the middle of an answer"):
        asyncio.run(ask())
