"""Spans written by hand are what OpenTelemetry's own classes read, and would have written."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from kaname import __version__
from kaname.telemetry.otlp.wire import trace_request
from kaname.telemetry.spans import Span, Value

INTEGERS = st.integers(-(2**63), 2**63 - 1)
VALUES: st.SearchStrategy[Value] = st.one_of(st.text(), INTEGERS, st.booleans())
ATTRIBUTES = st.dictionaries(st.text(max_size=200), VALUES, max_size=5)
TIMES = st.integers(0, 2**64 - 1)


def ids(size: int) -> st.SearchStrategy[str]:
    return st.binary(min_size=size, max_size=size).map(bytes.hex)


SPANS = st.builds(
    Span,
    kind=st.sampled_from(["server", "internal"]),
    name=st.text(),
    trace_id=ids(16),
    span_id=ids(8),
    parent_id=st.one_of(st.just(""), ids(8)),
    state=st.text(max_size=300),
    start_ns=TIMES,
    end_ns=TIMES,
    attributes=ATTRIBUTES,
    fault=st.one_of(st.none(), st.text()),
)


class Done:
    """A request with these spans."""

    def __init__(self, spans: list[Span]) -> None:
        self.size = len(spans)
        self._spans = spans

    def spans(self) -> list[Span]:
        return self._spans


def expected(resource: dict[str, Value], spans: list[Span]) -> ExportTraceServiceRequest:
    """The message, by protobuf's own classes."""
    request = ExportTraceServiceRequest()
    within = request.resource_spans.add()
    write(within.resource.attributes, dict(sorted(resource.items())))
    within.resource.SetInParent()
    scope = within.scope_spans.add()
    scope.scope.name, scope.scope.version = "kaname", __version__
    for span in spans:
        message = scope.spans.add(
            trace_id=bytes.fromhex(span.trace_id),
            span_id=bytes.fromhex(span.span_id),
            parent_span_id=bytes.fromhex(span.parent_id),
            trace_state=span.state,
            name=span.name,
            kind=2 if span.kind == "server" else 1,
            start_time_unix_nano=span.start_ns,
            end_time_unix_nano=span.end_ns,
        )
        write(message.attributes, span.attributes)
        if span.fault is not None:
            message.status.code = 2
            message.status.message = span.fault
    return request


def write(pairs: object, attributes: object) -> None:
    for name, value in attributes.items():  # type: ignore[attr-defined]  # a mapping of either kind
        kind = "string_value" if isinstance(value, str) else "bool_value" if isinstance(value, bool) else "int_value"
        setattr(pairs.add(key=name).value, kind, value)  # type: ignore[attr-defined]  # a repeated field


@given(ATTRIBUTES, st.lists(SPANS, max_size=4))
def test_any_span_is_read_as_it_was_meant(resource: dict[str, Value], spans: list[Span]) -> None:
    """Of any text, number and size, the empty ones included."""
    read = ExportTraceServiceRequest.FromString(trace_request(resource, [Done(spans), Done(spans[:1])]))
    assert read == expected(resource, [*spans, *spans[:1]])
