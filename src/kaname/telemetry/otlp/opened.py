"""From a project's settings to what exports; nothing is imported or started where nobody wants that."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from kaname.settings import Settings
from kaname.telemetry.exemplars import Exemplars
from kaname.telemetry.otlp.options import options_of
from kaname.telemetry.otlp.types import Origin
from kaname.telemetry.spans import Spool


class Sending(Protocol):
    """What a worker sends. `traces` takes what was traced, a share `ratio` of the requests; None: they are not sent."""

    ratio: float
    exemplars: Exemplars

    @property
    def traces(self) -> Spool | None: ...

    def start(self) -> None:
        """Begin to export."""

    def stop(self) -> None:
        """Send what is left and wait for that, but not for long. Blocks: on a thread."""


class Silent:
    """Nothing is sent."""

    traces = None
    ratio = 0.0

    def __init__(self, origin: Origin) -> None:
        self.exemplars = Exemplars(origin.metrics.folder, origin.metrics.slot)

    def start(self) -> None:
        return

    def stop(self) -> None:
        return


def open_exports(settings: Settings, root: Path, origin: Origin) -> Sending:
    """What sends the traces and metrics of a worker. Raises InvalidInput, and MissingDependency without the extra."""
    options = options_of(settings.telemetry.otlp, os.environ, settings.name)
    if options is None:
        return Silent(origin)
    from kaname.telemetry.otlp.exports import Exports

    return Exports(options, root, origin)


def check_exports(settings: Settings, root: Path) -> str | None:
    """A line that says what is sent where, or None. Raises what would keep the workers from starting."""
    options = options_of(settings.telemetry.otlp, os.environ, settings.name)
    if options is None:
        return None
    from kaname.telemetry.otlp.exports import check

    return check(options, root)
