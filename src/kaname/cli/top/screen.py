"""The terminal of `kaname top`: looks at a server again and again, draws what it finds and listens to the keyboard."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import termios
import threading
import time
import tty
from collections import deque
from collections.abc import Iterator
from queue import SimpleQueue
from typing import TYPE_CHECKING, NamedTuple

from kaname.cli.top.columns import SORTS, TREND, Trend
from kaname.cli.top.figures import Line, Sample, Window, between
from kaname.cli.top.source import Source
from kaname.cli.top.tables import Shown, frame
from kaname.errors import KanameError
from kaname.terminal import console

if TYPE_CHECKING:
    from rich.console import RenderableType

FIRST_S = 0.5
"""The first window is short, so that something is seen at once."""
LEAVE = ("q", "\x03", "\x04")
"""q, Ctrl-C, Ctrl-D."""
KEYS = "q quit   s sort by the next column   r reverse   v versions"
Event = Sample | KanameError | str
"""A look, why there was none, or a key; "" where the terminal has another size."""


class Asked(NamedTuple):
    """What a person wants to see at first."""

    model: str | None = None
    sort: str = "rate"
    versions: bool = False


class Screen:
    """What is on the terminal. `take` hears of one event after the other."""

    def __init__(self, first: Sample, asked: Asked) -> None:
        self._model = asked.model
        self._before = self._last = first
        self._sort = asked.sort
        self._backwards = False
        self._versions = asked.versions
        self._fault = ""
        self._trends: dict[str, deque[float]] = {}
        self._window = self._measured()
        self.done = False

    def take(self, event: Event) -> None:
        """Look, complain or obey."""
        if isinstance(event, Sample):
            self._before, self._last, self._fault = self._last, event, ""
            self._window = self._measured()
            self._remember()
        elif isinstance(event, KanameError):
            self._fault = f"{event.message}; trying again"
        else:
            self._press(event)

    def draw(self, width: int, height: int | None) -> RenderableType:
        """The picture of now."""
        shown = Shown(self._sort, self._trend, self._backwards, self._fault, KEYS)
        return frame(self._window, shown, width, height)

    def _press(self, key: str) -> None:
        if key == "s":
            self._sort = SORTS[(SORTS.index(self._sort) + 1) % len(SORTS)]
        elif key == "r":
            self._backwards = not self._backwards
        elif key == "v":
            self._versions = not self._versions
            self._window = self._measured()
        self.done = self.done or key in LEAVE

    def _measured(self) -> Window:
        return between(self._before, self._last, versions=self._versions, model=self._model)

    def _remember(self) -> None:
        """The rates of whoever is there; those of others are forgotten."""
        known, self._trends = self._trends, {}
        for line in self._window.models:
            trend = known.get(self._name(line)) or deque(maxlen=TREND)
            trend.append(line.traffic.requests_per_s)
            self._trends[self._name(line)] = trend

    def _trend(self, line: Line) -> Trend:
        return tuple(self._trends.get(self._name(line), ()))

    def _name(self, line: Line) -> str:
        return f"{line.model}/{line.version}" if self._versions else line.model


def run(screen: Screen, source: Source, interval_s: float) -> None:
    """Show it until somebody presses q or Ctrl-C."""
    from rich.live import Live

    events: SimpleQueue[Event] = SimpleQueue()
    out = console()
    stop = threading.Event()
    looking = threading.Thread(target=_look, args=(source, interval_s, events, stop), daemon=True)
    with _keyboard(events), Live(console=out, screen=True, auto_refresh=False) as live:
        looking.start()
        while not screen.done:
            live.update(screen.draw(out.width, out.height), refresh=True)
            screen.take(events.get())
    stop.set()


def _look(source: Source, interval_s: float, events: SimpleQueue[Event], stop: threading.Event) -> None:
    pause = min(FIRST_S, interval_s)
    while not stop.wait(pause):
        began = time.monotonic()
        try:
            events.put(source.look())
        except KanameError as error:
            events.put(error)
        except OSError as error:
            events.put(KanameError(str(error)))
        pause = max(interval_s - (time.monotonic() - began), interval_s / 2)


@contextlib.contextmanager
def _keyboard(events: SimpleQueue[Event]) -> Iterator[None]:
    """Let keys be heard one by one and unseen, if there is a keyboard; the terminal is as it was afterwards."""
    old = signal.signal(signal.SIGWINCH, lambda *_: events.put(""))
    ends = signal.signal(signal.SIGINT, lambda *_: events.put("q"))
    keys = sys.stdin.fileno() if sys.stdin.isatty() else -1
    before = termios.tcgetattr(keys) if keys >= 0 else None
    try:
        if before is not None:
            tty.setcbreak(keys)
            threading.Thread(target=_listen, args=(keys, events), daemon=True).start()
        yield
    finally:
        if before is not None:
            termios.tcsetattr(keys, termios.TCSADRAIN, before)
        signal.signal(signal.SIGWINCH, old)
        signal.signal(signal.SIGINT, ends)


def _listen(keys: int, events: SimpleQueue[Event]) -> None:
    with contextlib.suppress(OSError):  # the terminal is gone
        while pressed := os.read(keys, 1):
            events.put(pressed.decode("latin-1"))
        events.put("q")
