"""The sum of all slots' files as Prometheus text, format 0.0.4."""

from __future__ import annotations

import math
import struct
from collections.abc import Container, Iterable
from itertools import accumulate
from pathlib import Path

from kaname.telemetry.slotfile import Series, scan, slot_of

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels = tuple[tuple[str, str], ...]
Reading = tuple[Series, tuple[float, ...]]


def expose(folder: Path, live: Container[int] | None = None) -> str:
    """Every metric of the files in `folder` as text.

    Counters and histograms are summed over all slots, also of workers that are gone. A gauge counts where its slot is
    in `live` (None: everywhere that one was set and not given back). Slots whose histograms have different buckets
    (a rolling upgrade) are summed at the bounds they share, where both are exact. A number that is being written while
    it is read is seen before or after, never in between; two numbers may be from different moments.
    """
    families: dict[str, list[Reading]] = {}
    for path in sorted(folder.glob("slot-*.metrics")):
        slot = slot_of(path)
        if slot is None:
            continue
        for series, values in _read(path):
            if series.kind != "gauge" or live is None or slot in live:
                families.setdefault(series.name, []).append((series, values))
    lines: list[str] = []
    for name in sorted(families):
        lines += _family(name, families[name])
    return "\n".join(lines) + "\n" if lines else ""


def _read(path: Path) -> list[Reading]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    return [(series, struct.unpack_from(f"<{series.cells}d", content, at)) for series, at in scan(content)]


def _family(name: str, readings: list[Reading]) -> list[str]:
    """The lines of one metric; where slots disagree about what it is, the last one read says."""
    last = readings[-1][0]
    by_labels: dict[Labels, list[Reading]] = {}
    for series, values in readings:
        if series.kind == last.kind:
            by_labels.setdefault(tuple(sorted(series.labels)), []).append((series, values))
    write = {"counter": _counter, "gauge": _gauge, "histogram": _histogram}[last.kind]
    samples = [line for labels in sorted(by_labels) for line in write(name, labels, by_labels[labels])]
    if not samples:
        return []
    return [f"# HELP {name} {_escape(last.help)}", f"# TYPE {name} {last.kind}", *samples]


def _counter(name: str, labels: Labels, readings: list[Reading]) -> list[str]:
    return [_sample(name, labels, math.fsum(values[0] for _, values in readings))]


def _gauge(name: str, labels: Labels, readings: list[Reading]) -> list[str]:
    values = [values[0] for _, values in readings if not math.isnan(values[0])]
    if not values:
        return []
    return [_sample(name, labels, max(values) if readings[-1][0].policy == "max" else sum(values))]


def _histogram(name: str, labels: Labels, readings: list[Reading]) -> list[str]:
    shared = set(readings[0][0].bounds).intersection(*(series.bounds for series, _ in readings))
    bounds = [*sorted(shared), math.inf]
    counts = dict.fromkeys(bounds, 0.0)
    for series, values in readings:
        for bound, count in zip((*series.bounds, math.inf), accumulate(values[:-1]), strict=True):
            if bound in counts:
                counts[bound] += count
    return [
        *(_sample(f"{name}_bucket", (*labels, ("le", _number(bound))), counts[bound]) for bound in bounds),
        _sample(f"{name}_sum", labels, math.fsum(values[-1] for _, values in readings)),
        _sample(f"{name}_count", labels, counts[math.inf]),
    ]


def _sample(name: str, labels: Iterable[tuple[str, str]], value: float) -> str:
    inside = ",".join(f'{label}="{_escape(text, quote=True)}"' for label, text in labels)
    return f"{name}{{{inside}}} {_number(value)}" if inside else f"{name} {_number(value)}"


def _escape(text: str, *, quote: bool = False) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quote else text


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if math.isnan(value):
        return "NaN"
    return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
