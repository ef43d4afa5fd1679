"""Logs: JSON lines for machines, readable lines for people, and a throttle for what repeats."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from kaname.clock import ManualClock
from kaname.errors import InvalidInput
from kaname.telemetry.logs import Throttle, configure


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


def test_json_lines_carry_worker_and_request() -> None:
    """Away from a terminal a line is one JSON object that names the worker, the request, the level and the time."""
    out = io.StringIO()
    configure(stream=out, environ={}, slot=3)
    with structlog.contextvars.bound_contextvars(request_id="r-1"):
        structlog.get_logger().warning("model is slow", model="iris", odd=object)
    line = json.loads(out.getvalue())
    assert line["event"] == "model is slow"
    assert (line["worker"], line["request_id"], line["level"], line["model"]) == (3, "r-1", "warning", "iris")
    assert line["timestamp"].endswith("Z")


def test_an_exception_is_one_line() -> None:
    """A traceback does not break the line-by-line form."""
    out = io.StringIO()
    configure(stream=out, environ={})
    try:
        raise ZeroDivisionError("by zero")
    except ZeroDivisionError:
        structlog.get_logger().exception("it failed")
    assert out.getvalue().count("\n") == 1
    assert "ZeroDivisionError: by zero" in json.loads(out.getvalue())["exception"]


def test_libraries_speak_the_same_form() -> None:
    """A warning of a library that uses `logging` is a JSON line too."""
    out = io.StringIO()
    configure(stream=out, environ={}, slot=1)
    logging.getLogger("uvicorn.error").warning("Invalid %s", "request")
    line = json.loads(out.getvalue())
    assert (line["event"], line["worker"], line["level"]) == ("Invalid request", 1, "warning")


def test_console_is_readable() -> None:
    """On a terminal a line is text, not JSON."""
    out = io.StringIO()
    configure(stream=out, environ={}, console=True)
    structlog.get_logger().info("ready", port=8080)
    assert "ready" in out.getvalue()
    assert not out.getvalue().startswith("{")


def test_the_level_comes_from_the_environment() -> None:
    """KANAME_LOG_LEVEL hides what is below it; a wrong one names itself and the right ones."""
    out = io.StringIO()
    configure(stream=out, environ={"KANAME_LOG_LEVEL": "ERROR"})
    structlog.get_logger().warning("hidden")
    assert out.getvalue() == ""
    with pytest.raises(InvalidInput, match=r"KANAME_LOG_LEVEL.*'loud'.*debug"):
        configure(stream=out, environ={"KANAME_LOG_LEVEL": "loud"})


def test_throttle_says_it_once_a_minute() -> None:
    """The first is said, then one per minute with the count of those held back; keys do not disturb each other."""
    clock = ManualClock()
    throttle = Throttle(clock)
    assert throttle.due("disk") == 0
    assert [throttle.due("disk") for _ in range(3)] == [None] * 3
    assert throttle.due("journal") == 0
    clock.advance(ms=59_999)
    assert throttle.due("disk") is None
    clock.advance(ms=1)
    assert throttle.due("disk") == 4
