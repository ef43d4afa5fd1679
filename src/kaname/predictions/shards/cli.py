"""`kaname predictions sql` and `sink`: the prediction log in SQL."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from typing import Annotated

import msgspec
import typer

from kaname.predictions.shards.log import SqlLog
from kaname.predictions.shards.types import RequestRow
from kaname.terminal import show, table

SHOWN = 60
MomentUs = Callable[[str | None], int | None]
TraceId = Callable[[str | None], str | None]


def add_commands(app: typer.Typer, open_log: Callable[[], SqlLog], moment_us: MomentUs, trace_id: TraceId) -> None:
    """Give `app` the commands; `open_log` is called when one of them runs."""

    @app.command()
    def sql(
        model: Annotated[str, typer.Argument(help="Name or number of the model.", show_default=False)],
        since: Annotated[str | None, typer.Option(help="Not before: 2026-11-22, or 15m, 2h, 7d ago.")] = None,
        until: Annotated[str | None, typer.Option(help="Before; written like --since.")] = None,
        trace: Annotated[str | None, typer.Option(help="Only of this trace: its id, or a whole `traceparent`.")] = None,
        limit: Annotated[int, typer.Option("-n", "--limit", min=1, max=10_000, help="How many.")] = 10,
        as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
    ) -> None:
        """Print the newest rows of a model from its shard."""
        span = {"since_us": moment_us(since), "until_us": moment_us(until)}
        found = open_log().requests(model, **span, trace_id=trace_id(trace), limit=limit)
        if as_json:
            sys.stdout.write("".join(f"{_json(row)}\n" for row in found))
        else:
            _print(found)

    @app.command()
    def sink(
        once: Annotated[bool, typer.Option("--once", help="Move what is there and end.")] = False,
        with_parent: Annotated[bool, typer.Option("--with-parent", hidden=True)] = False,
    ) -> None:
        """Move the record of this node into the tables, as a running server does by itself."""
        log = open_log()
        if once:
            moved = 0
            while part := log.step():
                moved += part
            typer.echo(f"{moved} predictions moved")
            return
        leave = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: leave.set())
        if with_parent:
            threading.Thread(target=_leave_with_parent, args=(leave,), daemon=True).start()
        log.run(leave)


def _leave_with_parent(leave: threading.Event) -> None:
    """Standard input ends when the parent does."""
    sys.stdin.buffer.read()
    leave.set()


def _print(rows: list[RequestRow]) -> None:
    grid = table("request", "arrived", "version", "ms", "rows", "key", "trace", "input", "output")
    for row in rows:
        outcome = row.output_data if row.error is None else row.error
        arrived = row.created_at.strftime("%Y-%m-%d %H:%M:%S")
        ms = "-" if row.latency_ms is None else str(row.latency_ms)
        facts = (str(row.request_id), arrived, row.model_version, ms, str(row.row_count), row.api_key_id)
        trace = row.trace_id or "-"
        grid.add_row(*facts, trace, _json(row.input_data)[:SHOWN], _json(outcome)[:SHOWN])
    show(grid)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
