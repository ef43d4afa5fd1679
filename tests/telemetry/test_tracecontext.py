"""W3C Trace Context: what is read, what is ignored, and which requests are traced."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from kaname.telemetry.tracecontext import Parent, Sampler, echo, parent_of, state_of, traceparent, untraced

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
USUAL = f"00-{TRACE}-{SPAN}-01".encode()


@pytest.mark.parametrize(
    ("header", "sampled"),
    [
        (USUAL, True),
        (f"00-{TRACE}-{SPAN}-00".encode(), False),
        (f"00-{TRACE}-{SPAN}-03".encode(), True),  # flags that are not known are ignored
        (f"00-{TRACE}-{SPAN}-02".encode(), False),
        (f"  00-{TRACE}-{SPAN}-01\t".encode(), True),
        (f"cc-{TRACE}-{SPAN}-01".encode(), True),  # a later version
        (f"cc-{TRACE}-{SPAN}-01-what-may-come".encode(), True),
        (f"01-{TRACE}-{SPAN}-00-".encode(), False),
    ],
)
def test_a_valid_parent_is_followed(header: bytes, sampled: bool) -> None:
    """Also one of a version that is not known yet, as far as it is like this one."""
    assert parent_of(header) == Parent(TRACE, SPAN, sampled)


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"00",
        b"traced",
        USUAL + b"-more",  # version 00 ends here
        USUAL + b"-",
        USUAL + b".",
        USUAL[:-1],
        USUAL[3:],
        f"ff-{TRACE}-{SPAN}-01".encode(),
        f"0-{TRACE}-{SPAN}-01".encode(),
        f"000-{TRACE}-{SPAN}-01".encode(),
        f"00-{'0' * 32}-{SPAN}-01".encode(),
        f"00-{TRACE}-{'0' * 16}-01".encode(),
        f"00-{TRACE.upper()}-{SPAN}-01".encode(),
        f"00-{TRACE}-{SPAN}-0x".encode(),
        f"00-{TRACE}-{SPAN}-1".encode(),
        f"00-{TRACE}0-{SPAN}-01".encode(),
        f"00-{TRACE[1:]}-{SPAN}-01".encode(),
        f"00-{TRACE}-{SPAN[1:]}-01".encode(),
        f"00-{TRACE}-{SPAN}0-01".encode(),
        f"00_{TRACE}_{SPAN}_01".encode(),
        f"cc-{TRACE}-{SPAN}-01.what".encode(),
        f"00-{TRACE}-{SPAN}-01,00-{TRACE}-{SPAN}-01".encode(),
        USUAL + b"\n",
        b"\xff" * 55,
    ],
)
def test_a_header_that_is_not_valid_is_as_good_as_none(header: bytes) -> None:
    """Neither followed nor told the caller again."""
    assert parent_of(header) is None
    assert not untraced(header)
    assert echo(header) == b""


@given(st.from_regex(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", fullmatch=True))
@example(USUAL)
def test_the_official_propagator_reads_the_same(header: bytes) -> None:
    """OpenTelemetry's own reading of any header of the usual form."""
    theirs = trace.get_current_span(
        TraceContextTextMapPropagator().extract({"traceparent": header.decode()})
    ).get_span_context()
    ours = parent_of(header)
    assert (ours is not None) == theirs.is_valid
    if ours is not None:
        assert int(ours.trace_id, 16) == theirs.trace_id
        assert int(ours.span_id, 16) == theirs.span_id
        assert ours.sampled == theirs.trace_flags.sampled
    if header.startswith(b"00"):
        assert bool(untraced(header)) == (ours is not None and not ours.sampled)


@pytest.mark.parametrize(
    ("header", "state"),
    [
        (b"congo=t61rcWkgMzE", "congo=t61rcWkgMzE"),
        (b" rojo=00f067aa0ba902b7 ,\tcongo=t61 ", "rojo=00f067aa0ba902b7,congo=t61"),
        (b"a=1,,b=2,", "a=1,b=2"),
        (b"fw529a3039@dt=FfwKAAAA;1,0tenant@sys=x", "fw529a3039@dt=FfwKAAAA;1,0tenant@sys=x"),
        (b"a=with space", "a=with space"),
        (b"", ""),
        (b"a", ""),
        (b"a=", ""),
        (b"A=1", ""),
        (b"a=1,a=2", ""),
        (b"0a=1", ""),
        (b"a=b=c", ""),
        (b"a=caf\xc3\xa9", ""),
        (b"a" * 257 + b"=1", ""),
        (b"a=" + b"x" * 257, ""),
        (b"a=" + b"x" * 256, "a=" + "x" * 256),
        (b",".join(b"k%d=v" % n for n in range(32)), ",".join(f"k{n}=v" for n in range(32))),
        (b",".join(b"k%d=v" % n for n in range(33)), ""),
    ],
)
def test_the_state_is_passed_on_or_dropped_as_a_whole(header: bytes, state: str) -> None:
    """Members keep their order; one that is not valid spoils all of them, but not the parent."""
    assert state_of(header) == state


def test_a_header_that_is_written_can_be_read() -> None:
    """By the reader above."""
    for sampled in (True, False):
        assert parent_of(traceparent(TRACE, SPAN, sampled=sampled)) == Parent(TRACE, SPAN, sampled)


@pytest.mark.parametrize("ratio", [0.0, 0.01, 0.25, 1.0])
def test_the_share_of_new_traces_is_the_ratio_and_others_decide_alike(ratio: float) -> None:
    """OpenTelemetry's sampler of the same ratio agrees on every trace id."""
    sampler, theirs = Sampler(ratio, Random(7)), TraceIdRatioBased(ratio)
    taken = 0
    for _ in range(20_000):
        low = sampler.draw()
        trace_id = sampler.root(low)
        assert len(trace_id) == 32
        assert len(sampler.span_id()) == 16
        traced = low < sampler.bound
        assert (theirs.should_sample(None, int(trace_id, 16), "").decision is Decision.RECORD_AND_SAMPLE) == traced
        taken += traced
    assert taken / 20_000 == pytest.approx(ratio, abs=0.01)
