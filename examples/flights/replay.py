"""Ask a running server about every flight of October to December, in the order of departure: `python replay.py`.

The months unfold: what has happened by a moment is written to the relations of the project, then the flights that leave
60 minutes later are asked about by plane, airport and carrier, over a few kept-alive connections; the server reads the
rest. Afterwards the delays that really happened are compared with what it predicted.

    python replay.py --url http://127.0.0.1:8080 --clients 4 --rows 20000
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import prepare
import report
from client import Connection
from departures import ENTITY, LEAD_S, TIMETABLE
from happenings import STEP_S
from kaname.platform import Platform
from remember import Unfolding, autumn

PATH = "/api/v1/models/delay/predict"
DEFAULT_URL = "http://127.0.0.1:8080"
DEFAULT_KEY_FILE = prepare.HERE / ".kaname" / "admin.key"
SHOWN_EVERY = 250


@dataclass(slots=True)
class Traffic:
    """What was asked and what came back, one position per flight in the order of departure."""

    flights: pd.DataFrame
    predicted: np.ndarray
    """Minutes; NaN where the server refused."""
    latency_ms: np.ndarray
    problems: dict[str, int]
    """Refusals by what the server said."""
    seconds: float = 0.0


def load_traffic(rows: int | None) -> pd.DataFrame:
    """The flights to replay; with `rows`, so many spread evenly over the three months."""
    flights = pd.read_parquet(prepare.TRAFFIC)
    if rows is None or rows >= len(flights):
        return flights
    return flights.iloc[np.linspace(0, len(flights) - 1, rows).astype(int)].reset_index(drop=True)


def bodies(flights: pd.DataFrame) -> Iterator[bytes]:
    """One request body per flight: of whom the server reads, and the timetable."""
    columns = flights[[*ENTITY, *TIMETABLE]].astype(object)
    columns = columns.loc[:, ~columns.columns.duplicated()]
    for row in columns.itertuples(index=False, name=None):
        known = dict(zip(columns.columns, row, strict=True))
        entity, features = ({name: known[name] for name in names} for names in (ENTITY, TIMETABLE))
        yield json.dumps({"entity": entity, "features": features}).encode()


async def replay(
    flights: pd.DataFrame, url: str, key: str, clients: int, progress: Progress, until: Callable[[int], None]
) -> Traffic:
    """Send every flight once over `clients` connections and keep what came back; before the flights of a moment
    `until` is told it."""
    traffic = Traffic(flights, np.full(len(flights), np.nan), np.full(len(flights), np.nan), {})
    asked = list(enumerate(bodies(flights)))
    steps = ((flights["departs_s"] - LEAD_S) // STEP_S * STEP_S).tolist()
    bar = progress.add_task("Predicting delays", total=len(flights))
    host, port = urlsplit(url).hostname or "127.0.0.1", urlsplit(url).port or 80

    async def client(connection: Connection, queue: Iterator[tuple[int, bytes]]) -> None:
        for number, body in queue:
            reply = await connection.post(PATH, body)
            traffic.latency_ms[number] = reply.seconds * 1e3
            answer = json.loads(reply.body)
            if reply.status == 200:
                traffic.predicted[number] = answer["prediction"]
            else:
                said = f"{reply.status} {answer.get('detail', answer.get('title', ''))}"
                traffic.problems[said] = traffic.problems.get(said, 0) + 1
            if number % SHOWN_EVERY == 0:
                progress.update(bar, completed=number)

    start = time.perf_counter()
    async with AsyncExitStack() as opened:
        header = {"Authorization": f"Bearer {key}"}
        connections = [await opened.enter_async_context(Connection(host, port, header)) for _ in range(clients)]
        for moment_s, flights_then in groupby(asked, key=lambda each: steps[each[0]]):
            until(moment_s)
            queue = iter(list(flights_then))
            await asyncio.gather(*(client(connection, queue) for connection in connections))
    traffic.seconds = time.perf_counter() - start
    progress.update(bar, completed=len(flights))
    return traffic


def run(url: str, key: str, *, clients: int, rows: int | None, console: Console) -> Traffic:
    """Replay with a progress bar, print the tables, write the plot; returns what was measured."""
    flights = load_traffic(rows)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Platform(prepare.HERE) as platform, Progress(*columns, console=console) as progress:
        unfolding = Unfolding(platform.features, autumn())
        traffic = asyncio.run(replay(flights, url, key, clients, progress, unfolding.until))
    report.show(traffic, console)
    report.draw(traffic, prepare.OUT / "replay.png")
    console.print(f"Plot: {prepare.OUT / 'replay.png'}")
    return traffic


def next_steps(url: str, key_file: Path, console: Console) -> None:
    """Lines to copy into a terminal while the server runs."""
    body = next(bodies(load_traffic(1))).decode()
    auth = f'-H "Authorization: Bearer $(cat {key_file})"'
    lines = (
        ("one prediction", f"curl -s {url}{PATH} {auth} -H 'Content-Type: application/json' -d '{body}'"),
        (
            "what it read for that",
            f"curl -s '{url}{PATH}?explain=features' {auth} -H 'Content-Type: application/json' -d '{body}'",
        ),
        ("what it expects and returns", f"curl -s {url}/api/v1/models/delay/metadata {auth}"),
        ("its versions and metrics", f"curl -s {url}/api/v1/models/delay/versions {auth}"),
        ("counters for Prometheus", f"curl -s {url}/metrics {auth}"),
    )
    console.print("\n[bold]Try next[/bold]")
    for what, line in lines:
        console.print(f"[dim]# {what}[/dim]")
        console.print(line, soft_wrap=True, markup=False, highlight=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", default=DEFAULT_URL)
    parser.add_argument("--key-file", type=Path, default=DEFAULT_KEY_FILE)
    parser.add_argument("--clients", type=int, default=4, help="connections kept open at once")
    parser.add_argument("--rows", type=int, default=None, help="this many flights, evenly spread; default: all")
    asked = parser.parse_args()
    prepare.prepare()
    console = Console()
    run(asked.url, asked.key_file.read_text().strip(), clients=asked.clients, rows=asked.rows, console=console)
    next_steps(asked.url, asked.key_file, console)


if __name__ == "__main__":
    main()
