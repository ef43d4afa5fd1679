"""What is sent where: settings first, then the standard variables, then defaults; mistakes are named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from kaname.errors import InvalidInput
from kaname.secret import Secret
from kaname.settings import OtlpSettings
from kaname.telemetry.otlp.options import Options, options_of

BASE = "OTEL_EXPORTER_OTLP_ENDPOINT"


def options(environ: Mapping[str, str] | None = None, **settings: Any) -> Options:
    """For a project named `shop`, which sends something."""
    found = options_of(OtlpSettings(**settings), environ or {}, "shop")
    assert found is not None
    return found


def silent(environ: Mapping[str, str] | None = None, **settings: Any) -> bool:
    """Whether nothing is sent."""
    return options_of(OtlpSettings(**settings), environ or {}, "shop") is None


def revealed(headers: Mapping[str, Secret]) -> dict[str, str]:
    return {name: value.reveal() for name, value in headers.items()}


def test_without_an_address_nothing_is_sent() -> None:
    """Other variables and settings alone, and an empty one, mean nothing, whatever they say."""
    assert silent()
    assert silent({BASE: "", "OTEL_SERVICE_NAME": "x", "OTEL_TRACES_SAMPLER": "none such"}, headers=Secret("nothing"))


def test_defaults() -> None:
    """One request of a hundred, soon; metrics once a minute."""
    found = options(endpoint="http://collector:4318/")
    assert found.traces_url == "http://collector:4318/v1/traces"
    assert found.metrics_url == "http://collector:4318/v1/metrics"
    assert (found.ratio, found.timeout_s, found.traces_interval_s, found.metrics_interval_s) == (0.01, 10, 1, 60)
    assert not found.gzip
    assert found.resource == {"service.name": "shop"}


def test_the_standard_variables_are_honoured() -> None:
    """Where our settings say nothing."""
    found = options(
        {
            BASE: "https://base.example/otlp",
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://metrics.example/as-it-is",
            "OTEL_EXPORTER_OTLP_HEADERS": "api-key=se%20cret, x-tenant = 7",
            "OTEL_EXPORTER_OTLP_METRICS_HEADERS": "api-key=other",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "2500",
            "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
            "OTEL_EXPORTER_OTLP_CERTIFICATE": "/etc/ca.pem",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": "0.25",
            "OTEL_BSP_SCHEDULE_DELAY": "5000",
            "OTEL_METRIC_EXPORT_INTERVAL": "15000",
            "OTEL_SERVICE_NAME": "predictions",
            "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=prod,team=a%2Cb,service.name=less",
        }
    )
    assert found.traces_url == "https://base.example/otlp/v1/traces"
    assert found.metrics_url == "http://metrics.example/as-it-is"
    assert revealed(found.trace_headers) == {"api-key": "se cret", "x-tenant": "7"}
    assert revealed(found.metric_headers) == {"api-key": "other"}
    assert (found.timeout_s, found.gzip, found.ca, found.ratio) == (2.5, True, "/etc/ca.pem", 0.25)
    assert (found.traces_interval_s, found.metrics_interval_s) == (5, 15)
    expected = {"deployment.environment.name": "prod", "team": "a,b", "service.name": "predictions"}
    assert found.resource == expected


def test_settings_come_before_variables() -> None:
    """Each by itself; an address of ours is meant for both signals."""
    environ = {
        BASE: "http://theirs",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://theirs/traces",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
        "OTEL_SDK_DISABLED": "true",
        "OTEL_EXPORTER_OTLP_HEADERS": "a=theirs",
        "OTEL_TRACES_SAMPLER_ARG": "1",
        "OTEL_SERVICE_NAME": "theirs",
        "OTEL_RESOURCE_ATTRIBUTES": "team=theirs,region=eu",
    }
    found = options(
        environ,
        endpoint="http://ours:4318",
        headers=Secret("a=ours"),
        sampling_ratio=0.0,
        service_name="ours",
        resource=("team=ours",),
    )
    assert found.traces_url == "http://ours:4318/v1/traces"
    assert revealed(found.trace_headers) == revealed(found.metric_headers) == {"a": "ours"}
    assert found.ratio == 0
    assert found.resource == {"team": "ours", "region": "eu", "service.name": "ours"}


@pytest.mark.parametrize(
    ("name", "argument", "ratio"),
    [
        ("always_on", "0.5", 1.0),
        ("parentbased_always_on", "", 1.0),
        ("always_off", "", 0.0),
        ("Parentbased_Always_Off", "", 0.0),
        ("traceidratio", "0.5", 0.5),
        ("parentbased_traceidratio", "", 1.0),
        ("", "0.125", 0.125),
    ],
)
def test_samplers_by_name(name: str, argument: str, ratio: float) -> None:
    """As the specification names them."""
    found = options({BASE: "http://x", "OTEL_TRACES_SAMPLER": name, "OTEL_TRACES_SAMPLER_ARG": argument})
    assert found.ratio == ratio


def test_a_signal_can_be_left_out() -> None:
    """By setting and by variable; the kill switch of the specification covers what variables asked for."""
    assert options(endpoint="http://x", traces=False).traces_url is None
    assert options(endpoint="http://x", metrics=False).metrics_url is None
    assert options({BASE: "http://x", "OTEL_TRACES_EXPORTER": "none"}).traces_url is None
    assert options({BASE: "http://x", "OTEL_METRICS_EXPORTER": "none"}).metrics_url is None
    assert silent({BASE: "http://x", "OTEL_SDK_DISABLED": "TRUE"})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (BASE, "collector:4318"),
        (BASE, "http://user:pass@collector"),
        (BASE, "grpc://collector:4317"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "nonsense"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "0"),
        ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
        ("OTEL_TRACES_SAMPLER_ARG", "1.5"),
        ("OTEL_TRACES_SAMPLER_ARG", "nan"),
        ("OTEL_BSP_SCHEDULE_DELAY", "-1"),
        ("OTEL_RESOURCE_ATTRIBUTES", "team"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key: hidden-value"),
        ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "api-key=line%0Ahidden-value"),
    ],
)
def test_a_variable_that_makes_no_sense_is_named(name: str, text: str) -> None:
    """And a header's value is not shown."""
    with pytest.raises(InvalidInput) as raised:
        options({BASE: "http://x", name: text})
    assert raised.value.where == name
    assert "hidden-value" not in str(raised.value)
