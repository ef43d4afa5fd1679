"""Where traces and metrics are sent."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from kaname.secret import Secret
from kaname.settings.units import Count, Share

_Pause = Annotated[float, Meta(ge=10)]
_Attribute = Annotated[str, Meta(pattern=r"^[^=\s]+=")]
_Address = Annotated[str, Meta(pattern=r"^https?://[^/@?#]+(/[^@?#]*)?$")]


class OtlpSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """OpenTelemetry: traces and metrics over OTLP/HTTP. Needs the extra `otel`. Where a setting is null, the standard
    variable that it names is read from the environment."""

    endpoint: _Address | None = None
    """Address of a collector, `http://localhost:4318`: traces go to `/v1/traces` under it, metrics to `/v1/metrics`.
    Null: `OTEL_EXPORTER_OTLP_ENDPOINT` (or `…_TRACES_ENDPOINT` and `…_METRICS_ENDPOINT`); without any of them nothing
    is sent."""
    traces: bool = True
    """Send traces."""
    metrics: bool = True
    """Send metrics: those of `/metrics`, of all workers together."""
    headers: Secret | None = None
    """Header lines of every export, `name=value,name=value`. Null: `OTEL_EXPORTER_OTLP_HEADERS`."""
    headers_file: str | None = None
    """File that holds them."""
    ca: str | None = None
    """File of the certificates that vouch for the collector. Null: `OTEL_EXPORTER_OTLP_CERTIFICATE`, else the
    system's."""
    compression: Literal["none", "gzip"] | None = None
    """Null: `OTEL_EXPORTER_OTLP_COMPRESSION`, else `none`."""
    timeout_ms: _Pause | None = None
    """Longest time of one export. Null: `OTEL_EXPORTER_OTLP_TIMEOUT`, else 10000."""
    sampling_ratio: Share | None = None
    """Share of requests that are traced, of those that come without a trace; the others follow their caller's. Null:
    `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG`, else 0.01."""
    traces_interval_ms: _Pause | None = None
    """Pause between two exports of traces. Null: `OTEL_BSP_SCHEDULE_DELAY`, else 1000."""
    metrics_interval_ms: _Pause | None = None
    """Pause between two exports of metrics. Null: `OTEL_METRIC_EXPORT_INTERVAL`, else 60000."""
    queue_requests: Count = 4096
    """Traced requests that a worker holds for the next export; beyond them their spans are dropped and counted."""
    service_name: str | None = None
    """`service.name`. Null: `OTEL_SERVICE_NAME`, else the project's name."""
    resource: tuple[_Attribute, ...] = ()
    """More attributes of the resource, each `name=value` (`deployment.environment.name=production`), beside those of
    `OTEL_RESOURCE_ATTRIBUTES`."""


class TelemetrySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What leaves the server about itself."""

    otlp: OtlpSettings = OtlpSettings()
