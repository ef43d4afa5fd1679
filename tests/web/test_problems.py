"""Problem documents."""

from __future__ import annotations

import msgspec
import pytest

from kaname import errors
from kaname.errors import KanameError
from kaname.web.problems import STATUS, TITLE, error_of, problem, status_of


def every_error() -> list[type[KanameError]]:
    """All error classes of the kernel."""
    return [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, KanameError)]


@pytest.mark.parametrize("kind", every_error())
def test_every_error_has_a_status_of_its_own_and_a_title(kind: type[KanameError]) -> None:
    """No error of the kernel falls through to an accidental 500; what the client must repair is 4xx."""
    assert kind in STATUS
    assert STATUS[kind] in TITLE


def test_a_subclass_has_the_status_of_its_base() -> None:
    """A capability may refine an error without touching the table."""

    class Special(errors.NotFound):
        """A refinement."""

    assert status_of(Special("x")) == 404


def test_the_document_holds_everything_and_nothing_empty() -> None:
    """Place, found and expected come along; what is unknown is left out."""
    error = errors.InvalidInput("wrong type", where="features.age", found="str", expected="float")
    status, headers, body = problem(error, instance="/api/v1/x", request_id="r1")
    assert status == 400
    assert dict(headers) == {
        b"content-type": b"application/problem+json",
        b"content-length": b"%d" % len(body),
        b"x-request-id": b"r1",
    }
    assert msgspec.json.decode(body) == {
        "type": "urn:kaname:problem:invalid_input",
        "title": "The request is not valid",
        "status": 400,
        "detail": "wrong type",
        "code": "invalid_input",
        "instance": "/api/v1/x",
        "request_id": "r1",
        "where": "features.age",
        "found": "str",
        "expected": "float",
    }


@pytest.mark.parametrize(("wait", "header"), [(None, b"1"), (0.0001, b"1"), (1.0, b"1"), (1.2, b"2"), (30.0, b"30")])
def test_retry_after_is_whole_seconds_rounded_up(wait: float | None, header: bytes) -> None:
    """A client that obeys Retry-After is not refused again for coming too early."""
    for kind in (errors.RateLimited, errors.Overloaded, errors.Unavailable):
        headers = dict(problem(kind("later", retry_after_s=wait), instance="/", request_id="r")[1])
        assert headers[b"retry-after"] == header


@pytest.mark.parametrize("kind", every_error())
def test_an_error_comes_back_from_its_document(kind: type[KanameError]) -> None:
    """Class, message and every field survive the way over HTTP."""
    error = kind("no", where="a[0].b", found="\u00e4", expected="\x00", retry_after_s=0.25)
    status, _, body = problem(error, instance="/", request_id="r")
    again = error_of(status, body)
    assert type(again) is kind
    assert (again.message, again.where, again.found, again.expected, again.retry_after_s) == (
        "no", "a[0].b", "\u00e4", "\x00", 0.25,
    )  # fmt: skip


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b"\xff", b'{"detail": "\xff"}', b"[" * 5000])
def test_any_other_answer_is_an_error_that_quotes_it(body: bytes) -> None:
    """What a proxy in between says is shown to the person, as far as it is text."""
    error = error_of(502, body)
    assert type(error) is KanameError
    assert "502" in str(error)


def test_a_code_of_a_newer_server_is_an_error_all_the_same() -> None:
    """Its message stays."""
    body = problem(KanameError("new"), instance="/", request_id="r")[2].replace(b'"internal"', b'"brand_new"')
    assert error_of(500, body).message == "new"
