"""One POST: encrypted where the address says so, over a connection that is kept, and judged as OTLP wants it."""

from __future__ import annotations

import ssl
import sys
from contextlib import closing
from pathlib import Path

import pytest

from kaname.errors import InvalidInput, MissingDependency
from kaname.settings import OtlpSettings, Settings, TelemetrySettings
from kaname.telemetry.otlp.opened import check_exports
from kaname.telemetry.otlp.sender import Sent
from kaname.telemetry.otlp.wire import trace_request
from tests.certificates import LOOPBACK, Authority
from tests.collector import Collector
from tests.servers import free_port
from tests.telemetry.otlp.conftest import Request, sender

BODY = trace_request({}, [Request()])


def send(url: str, *, ca: str | None = None, timeout_s: float = 5.0) -> Sent:
    """One export."""
    with closing(sender(url, ca=ca, timeout_s=timeout_s)) as one:
        return one.send(BODY)


def test_a_collector_with_tls_is_believed_by_its_authority(tmp_path: Path) -> None:
    """With the file of the certificates that vouch for it; without it, nothing is sent."""
    authority = Authority(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("collector", *LOOPBACK))
    with Collector(tls=context) as collector:
        assert send(collector.url, ca=str(authority.file)).fault is None
        assert len(collector.spans) == 2
        refused = send(collector.url)
    assert refused.fault is not None
    assert "CERTIFICATE_VERIFY_FAILED" in refused.fault
    assert len(collector.spans) == 2


def test_certificates_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    """Before anything is sent."""
    with pytest.raises(InvalidInput, match=r"telemetry\.otlp\.ca"):
        sender("https://127.0.0.1:1", ca=str(tmp_path / "none.pem"))


@pytest.mark.parametrize(
    ("status", "again"),
    [
        (200, None),
        (202, None),
        (429, True),
        (502, True),
        (503, True),
        (504, True),
        (400, False),
        (401, False),
        (500, False),
    ],
)
def test_answers_are_judged_by_their_status(collector: Collector, status: int, again: bool | None) -> None:
    """Which of them may be tried again is what OTLP says, no more."""
    collector.status = status
    sent = send(collector.url)
    assert (sent.fault is None) == (again is None)
    assert sent.again is bool(again)


def test_the_collector_says_when_to_come_back(collector: Collector) -> None:
    """`Retry-After` in seconds; a date is not understood, and counts as nothing said."""
    collector.status = 503
    for text, seconds in (("7", 7.0), ("Fri, 31 Dec 1999 23:59:59 GMT", 0.0), ("", 0.0)):
        collector.retry_after = text
        assert send(collector.url).after_s == seconds


def test_nobody_listens() -> None:
    """A fault that may pass."""
    sent = send(f"http://127.0.0.1:{free_port()}")
    assert sent.again
    assert sent.fault is not None
    assert "ConnectionRefused" in sent.fault


def test_the_time_of_an_export_is_bounded(collector: Collector) -> None:
    """A collector that does not answer is given up, and may be asked again."""
    collector.answering.clear()
    sent = send(collector.url, timeout_s=0.1)
    assert sent.again
    assert sent.fault is not None
    assert "Timeout" in sent.fault


def test_without_the_extra_the_start_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only where something is to be sent."""
    for name in [one for one in sys.modules if one.startswith("kaname.telemetry.otlp.")]:
        if name.rpartition(".")[2] in ("messages", "traces", "measures", "exports"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry.proto.collector.metrics.v1.metrics_service_pb2", None)
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    assert check_exports(Settings(), Path()) is None
    settings = Settings(telemetry=TelemetrySettings(otlp=OtlpSettings(endpoint="http://127.0.0.1:4318")))
    with pytest.raises(MissingDependency, match=r"pip install 'kaname\[otel\]'"):
        check_exports(settings, Path())
