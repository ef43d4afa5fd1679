"""What is sent where: the project's settings, and the standard variables of OpenTelemetry where those are not set.

Source: https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Callable, Mapping

import msgspec

from kaname.errors import InvalidInput
from kaname.secret import Secret
from kaname.settings import OtlpSettings

HEADERS = "telemetry.otlp.headers"
SAMPLERS = {"always_on": 1.0, "always_off": 0.0, "traceidratio": None}
"""What roots are traced by; each also with `parentbased_` before it, which is how all of them are meant here."""
DEFAULT_RATIO = 0.01


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is decided before the first export. A URL of None: that signal is not sent."""

    traces_url: str | None
    metrics_url: str | None
    trace_headers: Mapping[str, Secret]
    metric_headers: Mapping[str, Secret]
    ca: str | None
    gzip: bool
    timeout_s: float
    ratio: float
    traces_interval_s: float
    metrics_interval_s: float
    queue_requests: int
    resource: Mapping[str, str]


def options_of(settings: OtlpSettings, environ: Mapping[str, str], project: str) -> Options | None:
    """What holds for a project of this name; None: nothing is sent. Raises InvalidInput that names the setting or the
    variable."""
    env = _Environment(environ)
    traces_url = _url(settings, env, "traces") if settings.traces else None
    metrics_url = _url(settings, env, "metrics") if settings.metrics else None
    if traces_url is None and metrics_url is None:
        return None
    if settings.endpoint is None:
        env.one_of("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    return Options(
        traces_url=traces_url,
        metrics_url=metrics_url,
        trace_headers=_headers(settings, env, "TRACES"),
        metric_headers=_headers(settings, env, "METRICS"),
        ca=settings.ca or env.text("OTEL_EXPORTER_OTLP_CERTIFICATE") or None,
        gzip=(settings.compression or env.one_of("OTEL_EXPORTER_OTLP_COMPRESSION", "none", "gzip")) == "gzip",
        timeout_s=_seconds(settings.timeout_ms, env, "OTEL_EXPORTER_OTLP_TIMEOUT", 10_000),
        ratio=_ratio(settings, env),
        traces_interval_s=_seconds(settings.traces_interval_ms, env, "OTEL_BSP_SCHEDULE_DELAY", 1_000),
        metrics_interval_s=_seconds(settings.metrics_interval_ms, env, "OTEL_METRIC_EXPORT_INTERVAL", 60_000),
        queue_requests=settings.queue_requests,
        resource=_resource(settings, env, project),
    )


class _Environment:
    """The variables; an empty one counts as none."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def text(self, name: str) -> str:
        return self._environ.get(name, "").strip()

    def one_of(self, name: str, *choices: str) -> str:
        """One of `choices`, the first where there is none."""
        text = self.text(name).lower() or choices[0]
        if text not in choices:
            raise InvalidInput("not supported", where=name, found=repr(text), expected=" or ".join(choices))
        return text

    def number(self, name: str, default: float, valid: Callable[[float], bool], expected: str) -> float:
        text = self.text(name)
        if not text:
            return default
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not valid(value):
            raise InvalidInput("not a number that fits", where=name, found=repr(text), expected=expected)
        return value


def _url(settings: OtlpSettings, env: _Environment, signal: str) -> str | None:
    if env.text(f"OTEL_{signal.upper()}_EXPORTER").lower() == "none":
        return None
    if settings.endpoint is None and env.text("OTEL_SDK_DISABLED").lower() == "true":
        return None
    own = None if settings.endpoint else env.text(f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT")
    base = settings.endpoint or env.text("OTEL_EXPORTER_OTLP_ENDPOINT")
    url = own or (f"{base.rstrip('/')}/v1/{signal}" if base else None)
    if url is None:
        return None
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        where = f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT" if own else "OTEL_EXPORTER_OTLP_ENDPOINT"
        raise InvalidInput("not the address of a collector", where=where, expected="http(s)://HOST:4318")
    return url


def _headers(settings: OtlpSettings, env: _Environment, signal: str) -> dict[str, Secret]:
    if settings.headers is not None:
        return _pairs(settings.headers.reveal(), HEADERS)
    own = f"OTEL_EXPORTER_OTLP_{signal}_HEADERS"
    where = own if env.text(own) else "OTEL_EXPORTER_OTLP_HEADERS"
    return _pairs(env.text(where), where)


def _pairs(text: str, where: str) -> dict[str, Secret]:
    """`name=value,…`, values percent-encoded. What is wrong is said without showing it: it may be a secret."""
    found = {}
    for number, part in enumerate(filter(str.strip, text.split(",")), 1):
        name, sign, value = part.partition("=")
        name, value = name.strip().lower(), urllib.parse.unquote(value.strip())
        token = name.replace("-", "").replace("_", "").isalnum() and name.isascii()
        if not sign or not token or not value.isprintable() or not value.isascii() or not value:
            raise InvalidInput(
                "not header lines", where=where, found=f"pair {number}", expected="name=value,name=value"
            )
        found[name] = Secret(value)
    return found


def _seconds(setting_ms: float | None, env: _Environment, name: str, default_ms: float) -> float:
    if setting_ms is not None:
        return setting_ms / 1000
    return env.number(name, default_ms, lambda value: value >= 10, "milliseconds, 10 or more") / 1000


def _ratio(settings: OtlpSettings, env: _Environment) -> float:
    if settings.sampling_ratio is not None:
        return settings.sampling_ratio
    text = env.text("OTEL_TRACES_SAMPLER").lower()
    if not text:
        return env.number("OTEL_TRACES_SAMPLER_ARG", DEFAULT_RATIO, _is_share, "from 0 to 1")
    name = text.removeprefix("parentbased_")
    if name not in SAMPLERS:
        expected = ", ".join(f"parentbased_{one}" for one in SAMPLERS)
        raise InvalidInput("not a sampler", where="OTEL_TRACES_SAMPLER", found=repr(text), expected=expected)
    fixed = SAMPLERS[name]
    return env.number("OTEL_TRACES_SAMPLER_ARG", 1.0, _is_share, "from 0 to 1") if fixed is None else fixed


def _is_share(value: float) -> bool:
    return 0 <= value <= 1


def _resource(settings: OtlpSettings, env: _Environment, project: str) -> dict[str, str]:
    """The attributes that a person gives; the service's name among them."""
    found: dict[str, str] = {}
    for part in filter(str.strip, env.text("OTEL_RESOURCE_ATTRIBUTES").split(",")):
        name, sign, value = part.partition("=")
        if not sign or not name.strip():
            expected = "name=value,name=value"
            raise InvalidInput("not attributes", where="OTEL_RESOURCE_ATTRIBUTES", found=repr(part), expected=expected)
        found[name.strip()] = urllib.parse.unquote(value.strip())
    for part in settings.resource:
        name, _, value = part.partition("=")
        found[name] = value
    service = settings.service_name or env.text("OTEL_SERVICE_NAME") or found.get("service.name") or project
    return found | {"service.name": service}
