"""Metrics as Prometheus reads them: the text format 0.0.4, and OpenMetrics 1.0 with exemplars for who asks for it."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable
from pathlib import Path

from kaname.telemetry.exemplars import Exemplar, ExemplarsOf, newest_by_bucket, read_exemplars
from kaname.telemetry.families import Buckets, Family, gather

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_Write = Callable[[float], str]
UNITS = ("seconds", "bytes")
"""Units that a name may end in; OpenMetrics says them on a line of their own."""


def exposed(folder: Path, live: Container[int] | None, accept: str) -> tuple[str, str]:
    """Content type and text for a client that accepts `accept`."""
    if prefers_openmetrics(accept):
        return OPENMETRICS_TYPE, openmetrics(gather(folder, live), read_exemplars(folder))
    return CONTENT_TYPE, expose(folder, live)


def prefers_openmetrics(accept: str) -> bool:
    """Whether a header `Accept` names OpenMetrics, and text/plain not above it."""
    weights = {"application/openmetrics-text": 0.0, "text/plain": 0.0}
    for part in accept.split(","):
        kind, *parameters = (piece.strip().lower() for piece in part.split(";"))
        if kind in weights:
            weights[kind] = max(weights[kind], _weight(parameters))
    return weights["application/openmetrics-text"] >= max(weights["text/plain"], 0.001)


def _weight(parameters: list[str]) -> float:
    text = next((one.removeprefix("q=") for one in parameters if one.startswith("q=")), "1")
    try:
        return float(text)
    except ValueError:
        return 0.0


def expose(folder: Path, live: Container[int] | None = None) -> str:
    """Every metric of the files in `folder`, as `gather` sums them, in the text format 0.0.4."""
    lines: list[str] = []
    for family in gather(folder, live):
        lines += [f"# HELP {family.name} {_escape(family.help)}", f"# TYPE {family.name} {family.kind}"]
        lines += _samples(family, _number, {})
    return "\n".join(lines) + "\n" if lines else ""


def openmetrics(families: Iterable[Family], exemplars: ExemplarsOf) -> str:
    """The same in OpenMetrics 1.0, where a bucket may show the newest traced request that fell into it."""
    lines: list[str] = []
    for family in families:
        name = family.name.removesuffix("_total") if family.kind == "counter" else family.name
        unit = next((unit for unit in UNITS if name.endswith(f"_{unit}")), None)
        lines.append(f"# TYPE {name} {family.kind}")
        if unit is not None:
            lines.append(f"# UNIT {name} {unit}")
        lines.append(f"# HELP {name} {_escape(family.help, quote=True)}")
        lines += _samples(family, _canonical, exemplars)
    return "\n".join([*lines, "# EOF", ""])


def _samples(family: Family, bound_text: _Write, exemplars: ExemplarsOf) -> Iterable[str]:
    name = family.name
    for labels, value in family.points:
        inside = ",".join([f'{label}="{_escape(text, quote=True)}"' for label, text in labels])
        if isinstance(value, Buckets):
            found = exemplars.get((name, labels)) if exemplars else None
            yield from _histogram(name, inside, value, bound_text, found)
        else:
            yield _sample(name, inside, value)


def _histogram(
    name: str, inside: str, value: Buckets, bound_text: _Write, exemplars: list[Exemplar] | None
) -> Iterable[str]:
    shown = {} if exemplars is None else newest_by_bucket(exemplars, value.bounds)
    begin = f'{name}_bucket{{{inside},le="' if inside else f'{name}_bucket{{le="'
    for at, (bound, count) in enumerate(zip((*value.bounds, math.inf), value.counts, strict=True)):
        line = f'{begin}{bound_text(bound)}"}} {_number(count)}'
        yield line if at not in shown else line + _exemplar(shown[at])
    yield _sample(f"{name}_sum", inside, value.sum)
    yield _sample(f"{name}_count", inside, value.counts[-1])


def _exemplar(one: Exemplar) -> str:
    return f' # {{trace_id="{one.trace_id}",span_id="{one.span_id}"}} {_number(one.value)} {one.time_ns / 1e9:.3f}'


def _sample(name: str, inside: str, value: float) -> str:
    return f"{name}{{{inside}}} {_number(value)}" if inside else f"{name} {_number(value)}"


def _escape(text: str, *, quote: bool = False) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quote else text


def _number(value: float) -> str:
    if value.is_integer() and -(2**53) < value < 2**53:
        return f"{value:.0f}"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if math.isnan(value):
        return "NaN"
    return repr(value)


def _canonical(bound: float) -> str:
    """A bound as OpenMetrics wants it: `1.0`, for which the older format says `1`."""
    return repr(float(bound)) if math.isfinite(bound) else _number(bound)
