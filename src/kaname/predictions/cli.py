"""`kaname predictions`: look at the record, export it, delete from it."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from kaname.errors import InvalidInput
from kaname.predictions.export import export_parquet
from kaname.predictions.reader import PredictionReader, Query
from kaname.predictions.shards.cli import add_commands
from kaname.predictions.shards.log import SqlLog
from kaname.predictions.shown import shown
from kaname.predictions.types import Digest, Prediction, Status, Subject
from kaname.telemetry.tracecontext import parent_of

FOLLOW_S = 0.2
SHOWN = 60
_TRACE = re.compile(r"[0-9a-f]{32}")
UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}

Model = Annotated[str | None, typer.Option("--model", help="Only predictions of this model.")]
Since = Annotated[str | None, typer.Option(help="Not before: 2026-11-22, 2026-11-22T10:00, or 15m, 2h, 7d ago.")]
Until = Annotated[str | None, typer.Option(help="Before; written like --since.")]
Trace = Annotated[str | None, typer.Option(help="Only of this trace: its id, or a whole `traceparent`.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object per line.")]


def commands(open_reader: Callable[[], PredictionReader], open_sql_log: Callable[[], SqlLog]) -> typer.Typer:
    """The commands; `open_reader` or `open_sql_log` is called when one of them runs."""
    app = typer.Typer(no_args_is_help=True, help="The prediction record: one event per request.")

    @app.command()
    def tail(
        model: Annotated[str | None, typer.Argument(help="Only predictions of this model.")] = None,
        last: Annotated[int, typer.Option("-n", "--last", min=0, help="How many.")] = 10,
        status: Annotated[str | None, typer.Option(help="Only `ok` or `error`.")] = None,
        since: Since = None,
        trace: Trace = None,
        follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes; end with Ctrl-C.")] = False,
        as_json: AsJson = False,
    ) -> None:
        """Print the last predictions, oldest first."""
        reader = open_reader()
        query = Query(model=model, status=_status(status), since_us=moment_us(since), trace_id=trace_id(trace))
        now = reader.marks(model)
        more = reader.follow(query, since=now) if follow else None
        _print(reader.tail(query, last=last, until=now), as_json=as_json)
        while more is not None:
            time.sleep(FOLLOW_S)
            _print(more(), as_json=as_json)

    @app.command()
    def export(
        output: Annotated[Path, typer.Option("--output", "-o", help="The Parquet file to write.")],
        model: Model = None,
        since: Since = None,
        until: Until = None,
        as_json: AsJson = False,
    ) -> None:
        """Write predictions to a Parquet file, one line per row of a request."""
        query = Query(model=model, since_us=moment_us(since), until_us=moment_us(until))
        rows = export_parquet(open_reader(), output, query)
        typer.echo(f'{{"rows": {rows}}}' if as_json else f"{rows} rows in {output}")

    @app.command()
    def delete(
        request_id: Annotated[list[str] | None, typer.Option(help="Of this request; may be repeated.")] = None,
        key: Annotated[str | None, typer.Option(help="Of requests with this API key (its id).")] = None,
        where: Annotated[
            list[str] | None, typer.Option(metavar="INPUT=VALUE", help="With this value of an input; may be repeated.")
        ] = None,
        as_json: AsJson = False,
    ) -> None:
        """Delete recorded predictions for good; several conditions must all hold."""
        subject = Subject(request_ids=tuple(request_id or ()), key_id=key, inputs=dict(map(_condition, where or ())))
        gone = open_reader().delete(subject)
        typer.echo(f'{{"deleted": {gone}}}' if as_json else f"{gone} predictions deleted")

    add_commands(app, open_sql_log, moment_us, trace_id)
    return app


def moment_us(text: str | None, now_s: float | None = None) -> int | None:
    """A moment in µs since epoch: a date or time (UTC unless it says otherwise), or how long ago (`15m`).

    Raises InvalidInput.
    """
    if text is None:
        return None
    if text[-1:] in UNITS_S and text[:-1].replace(".", "", 1).isdecimal():
        now = time.time() if now_s is None else now_s
        return int((now - float(text[:-1]) * UNITS_S[text[-1]]) * 1e6)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput("not a moment", found=repr(text), expected="2026-11-22, 2026-11-22T10:00, 15m, 2h") from None
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1e6)


def trace_id(text: str | None) -> str | None:
    """The id of a trace, given as such or in a `traceparent`. Raises InvalidInput."""
    if text is None:
        return None
    parent = parent_of(text.encode())
    found = text if parent is None else parent.trace_id
    if not _TRACE.fullmatch(found):
        expected = "32 hexadecimal digits, or a whole traceparent"
        raise InvalidInput("not a trace", where="--trace", found=repr(text), expected=expected)
    return found


def _status(text: str | None) -> Status | None:
    if text == "ok":
        return "ok"
    if text == "error":
        return "error"
    if text is None:
        return None
    raise InvalidInput("no such status", where="--status", found=repr(text), expected="ok, error")


def _condition(text: str) -> tuple[str, str | int | float | bool]:
    """`name=value`; a value that is JSON (a number, true) is taken as that, else as text."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise InvalidInput("not a condition", where="--where", found=repr(text), expected="INPUT=VALUE")
    try:
        return name, msgspec.json.decode(value, type=str | int | float | bool)
    except msgspec.DecodeError:
        return name, value


def _print(events: Iterable[Prediction], *, as_json: bool) -> None:
    for event in events:
        sys.stdout.write((msgspec.json.encode(shown(event)).decode() if as_json else _line(event)) + "\n")
    sys.stdout.flush()


def _line(event: Prediction) -> str:
    """One event on one line."""
    moment = datetime.fromtimestamp(event.time_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    outcome = _values(event.outputs) if event.error is None else f"{event.error.code}: {event.error.message}"
    rows = "" if event.rows == 1 else f"  {event.rows} rows"
    cached = "  cached" if event.cached else ""
    trace = f"  trace {event.trace_id}" if event.trace_id else ""
    return (
        f"{moment}  {event.model}/{event.version}  {event.latency_us / 1000:.2f} ms{rows}{cached}  "
        f"{event.request_id}{trace}  {_values(event.inputs)} -> {outcome}"
    )


def _values(values: dict[str, object]) -> str:
    shown = " ".join(f"{name}={_value(value)}" for name, value in values.items())
    return shown if len(shown) <= SHOWN * 4 else shown[: SHOWN * 4] + "…"


def _value(value: object) -> str:
    if value is None:
        return "(redacted)"
    if isinstance(value, Digest):
        return f"blake3:{value.hash[:12]}…"
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return "[" + ", ".join(_value(item) for item in value[:8]) + (", …]" if len(value) > 8 else "]")
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"
