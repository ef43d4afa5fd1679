"""Everything that one worker sends to a collector, from its start to its end."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from kaname import __version__
from kaname.secret import Secret
from kaname.telemetry.exemplars import Exemplars
from kaname.telemetry.otlp.measures import MetricsExporter
from kaname.telemetry.otlp.options import Options
from kaname.telemetry.otlp.sender import Sender
from kaname.telemetry.otlp.traces import TraceExporter, TraceMeters
from kaname.telemetry.otlp.types import Origin
from kaname.telemetry.spans import Value

STOP_S = 1.5
"""Longest wait for the threads at the end: a collector that hangs does not hold up the server."""


class Exports:
    """`traces` and `metrics` are None where the signal is not sent."""

    def __init__(self, options: Options, root: Path, origin: Origin) -> None:
        """`root`: of relative paths. Raises InvalidInput where the collector's certificates cannot be read."""
        node, metrics, live_slots, claim, clock = origin
        self.ratio = options.ratio
        resource = _resource(options.resource, node)
        self.exemplars = Exemplars(metrics.folder, metrics.slot)
        self.traces = None
        if options.traces_url is not None:
            self.traces = TraceExporter(
                _sender(options, options.traces_url, options.trace_headers, root),
                {**resource, "process.pid": os.getpid(), "kaname.worker": metrics.slot},
                TraceMeters(metrics),
                clock,
                queue_requests=options.queue_requests,
                interval_s=options.traces_interval_s,
                each=self.exemplars.save,
            )
        self.metrics = None
        if options.metrics_url is not None:
            self.metrics = MetricsExporter(
                _sender(options, options.metrics_url, options.metric_headers, root),
                resource,
                metrics,
                clock,
                live_slots=live_slots,
                claim=claim,
                interval_s=options.metrics_interval_s,
            )

    def start(self) -> None:
        """Begin to export."""
        for one in (self.traces, self.metrics):
            if one is not None:
                one.start()

    def stop(self) -> None:
        """Send what is left and wait for that, but not for long. Blocks: on a thread."""
        until = time.monotonic() + STOP_S
        running = [one for one in (self.traces, self.metrics) if one is not None]
        for one in running:
            one.stop()
        for one in running:
            one.join(max(0.0, until - time.monotonic()))


def check(options: Options, root: Path) -> str:
    """A line that says what is sent where. Raises InvalidInput where the collector's certificates cannot be read."""
    for url in filter(None, (options.traces_url, options.metrics_url)):
        _sender(options, url, {}, root)
    traces = options.traces_url and f"traces of {options.ratio:.3g} of the requests to {options.traces_url}"
    metrics = options.metrics_url and f"metrics every {options.metrics_interval_s:g} s to {options.metrics_url}"
    return ", ".join(filter(None, (traces, metrics)))


def _sender(options: Options, url: str, headers: Mapping[str, Secret], root: Path) -> Sender:
    ca = None if options.ca is None else str(root / options.ca)
    return Sender(url, headers, ca=ca, compress=options.gzip, timeout_s=options.timeout_s)


def _resource(given: Mapping[str, str], node: str) -> dict[str, Value]:
    """Who sends, by OpenTelemetry's conventions; what a person says comes before what is found."""
    return {
        "service.version": __version__,
        "service.instance.id": node,
        "host.name": socket.gethostname(),
        "telemetry.sdk.name": "kaname",
        "telemetry.sdk.language": "python",
        "telemetry.sdk.version": __version__,
        **given,
    }
