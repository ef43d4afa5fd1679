"""Metrics, and a collector's answers, as messages of OTLP: the one module that knows OpenTelemetry's own classes.

Source: https://opentelemetry.io/docs/specs/otlp/
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

from kaname import __version__
from kaname.errors import MissingDependency
from kaname.telemetry.exemplars import Exemplar, ExemplarsOf, newest_by_bucket
from kaname.telemetry.families import Buckets, Family, Point
from kaname.telemetry.spans import Value

try:
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
        ExportMetricsServiceRequest,
        ExportMetricsServiceResponse,
    )
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
        ExportTraceServiceResponse,
    )
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
    from opentelemetry.proto.metrics.v1 import metrics_pb2 as metrics
except ModuleNotFoundError as error:
    raise MissingDependency.of(error.name or "opentelemetry-proto", "otel", "telemetry.otlp") from error

MOST_REASON = 200
_UNITS = {"seconds": "s", "bytes": "By"}
_CUMULATIVE = metrics.AGGREGATION_TEMPORALITY_CUMULATIVE


def attribute(name: str, value: Value) -> KeyValue:
    """A pair of a name and a value of its own type."""
    if isinstance(value, str):
        return KeyValue(key=name, value=AnyValue(string_value=value))
    if isinstance(value, bool):
        return KeyValue(key=name, value=AnyValue(bool_value=value))
    return KeyValue(key=name, value=AnyValue(int_value=value))


def _describe(resource: Any, attributes: Mapping[str, Value]) -> None:
    resource.attributes.extend(attribute(name, value) for name, value in sorted(attributes.items()))


def metrics_request(
    resource: Mapping[str, Value], families: Iterable[Family], exemplars: ExemplarsOf, since_ns: int, now_ns: int
) -> bytes:
    """An export of all metrics as they are at `now_ns`, counted from `since_ns` on."""
    request = ExportMetricsServiceRequest()
    within = request.resource_metrics.add()
    _describe(within.resource, resource)
    scope = within.scope_metrics.add()
    scope.scope.name, scope.scope.version = "kaname", __version__
    for family in families:
        _measure(scope.metrics.add(), family, exemplars, since_ns, now_ns)
        time.sleep(0)
    found: bytes = request.SerializeToString()
    return found


def _measure(metric: metrics.Metric, family: Family, exemplars: ExemplarsOf, since_ns: int, now_ns: int) -> None:
    metric.name, metric.description = family.name, family.help
    metric.unit = _UNITS.get(family.name.removesuffix("_total").rpartition("_")[2], "1")
    if family.kind == "gauge":
        for point in family.points:
            _number(metric.gauge.data_points.add(), point, 0, now_ns)
    elif family.kind == "counter":
        metric.sum.aggregation_temporality = _CUMULATIVE
        metric.sum.is_monotonic = True
        for point in family.points:
            _number(metric.sum.data_points.add(), point, since_ns, now_ns)
    else:
        metric.histogram.aggregation_temporality = _CUMULATIVE
        for point in family.points:
            found = exemplars.get((family.name, point.labels), [])
            _histogram(metric.histogram.data_points.add(), point, found, since_ns, now_ns)


def _number(message: metrics.NumberDataPoint, point: Point, since_ns: int, now_ns: int) -> None:
    assert isinstance(point.value, float | int)
    message.attributes.extend(attribute(name, value) for name, value in point.labels)
    message.start_time_unix_nano, message.time_unix_nano = since_ns, now_ns
    message.as_double = point.value


def _histogram(
    message: metrics.HistogramDataPoint, point: Point, exemplars: list[Exemplar], since_ns: int, now_ns: int
) -> None:
    value = point.value
    assert isinstance(value, Buckets)
    message.attributes.extend(attribute(name, text) for name, text in point.labels)
    message.start_time_unix_nano, message.time_unix_nano = since_ns, now_ns
    message.explicit_bounds.extend(value.bounds)
    message.bucket_counts.extend(int(above - below) for below, above in pairwise((0.0, *value.counts)))
    message.count, message.sum = int(value.counts[-1]), value.sum
    for one in newest_by_bucket(exemplars, value.bounds).values():
        shown = message.exemplars.add(as_double=one.value, time_unix_nano=one.time_ns)
        shown.trace_id, shown.span_id = bytes.fromhex(one.trace_id), bytes.fromhex(one.span_id)


def rejected_spans(answer: bytes) -> tuple[int, str]:
    """How many spans a collector did not take, and why."""
    partial = _parsed(ExportTraceServiceResponse, answer).partial_success
    return partial.rejected_spans, partial.error_message[:MOST_REASON]


def rejected_points(answer: bytes) -> tuple[int, str]:
    """How many points of metrics a collector did not take, and why."""
    partial = _parsed(ExportMetricsServiceResponse, answer).partial_success
    return partial.rejected_data_points, partial.error_message[:MOST_REASON]


def _parsed(kind: Any, answer: bytes) -> Any:
    """The message in an answer; an empty one where it is none: what was sent has arrived in any case."""
    try:
        return kind.FromString(answer)
    except Exception:  # noqa: BLE001  (protobuf's DecodeError is not worth another import)
        return kind()
