"""Heads that were parsed before: found by their exact bytes only, bounded, and forgotten with the snapshot."""

from __future__ import annotations

from kaname.clock import ManualClock
from kaname.errors import KanameError
from kaname.serving.exchange import Body, Fields, Head, Reply
from kaname.serving.gate import Gate
from kaname.serving.heads import MOST, Heads
from kaname.serving.json_codec import ProblemEndpoint
from kaname.settings import ServerSettings

START = b"POST /p HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\n"
FIELDS: Fields = {b"host": b"a", b"content-length": b"4"}


class Silent:
    """An endpoint that is only remembered."""

    lasting = True

    def enter(self, head: Head, body: Body, reply: Reply) -> None:
        """Nothing is sent here."""

    def refuse(self, status: int, error: KanameError, head: Head, reply: Reply) -> None:
        """Nothing is sent here."""


def keep(heads: Heads, data: bytes, fields: Fields = FIELDS) -> Head:
    head = Head(b"/p", fields)
    heads.keep(data, Silent(), head, 4, b"")
    return head


def test_a_head_is_found_by_exactly_its_bytes() -> None:
    """One byte more, less or other is another head."""
    heads = Heads()
    kept = keep(heads, START + b"body")
    found = heads.find(START)
    assert found is not None
    assert found[1:] == (kept, 4, b"")
    assert heads.find(START[:-1]) is None
    assert heads.find(START.replace(b"host: a", b"host: b")) is None


def test_the_first_head_in_the_data_is_kept_whatever_follows() -> None:
    """Half a body or another request behind it changes nothing about the head."""
    for data in (START + b"bod", START + b"bodyPOST"):
        heads = Heads()
        kept = keep(heads, data)
        found = heads.find(START)
        assert found is not None
        assert found[1] is kept


def test_data_that_does_not_begin_with_the_head_is_not_kept() -> None:
    """A parser skips empty lines before a request: what ends first is then not its head."""
    heads = Heads()
    keep(heads, b"\r\n\r\n" + START + b"body")
    assert heads.find(b"\r\n\r\n") is None
    assert heads.find(b"\r\n\r\n" + START) is None


def test_heads_that_come_once_or_ask_for_more_are_not_kept() -> None:
    """Ids and traces differ each time; chunked bodies, expectations and connection wishes need the parser."""
    for name in (b"x-request-id", b"traceparent", b"expect", b"transfer-encoding", b"connection"):
        heads = Heads()
        keep(heads, START + b"body", {**FIELDS, name: b"1"})
        assert heads.find(START) is None


def test_the_number_of_heads_is_bounded() -> None:
    """A client that varies its heads cannot fill the memory."""
    heads = Heads()
    starts = [b"POST /p HTTP/1.1\r\nx: %d\r\ncontent-length: 4\r\n\r\n" % i for i in range(MOST + 10)]
    for start in starts:
        keep(heads, start + b"body")
    assert sum(heads.find(start) is not None for start in starts) == 10


def test_a_snapshot_forgets_all_heads() -> None:
    """The endpoints of an old snapshot answer nothing after the switch."""
    gate = Gate(ServerSettings(), ManualClock(), lambda _: None, ProblemEndpoint(lambda: "id"))
    keep(gate.heads, START + b"body")
    gate.swap(lambda _: None)
    assert gate.heads.find(START) is None
