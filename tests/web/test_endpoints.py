"""Declared resources, asked over ASGI."""

from __future__ import annotations

import logging
from typing import Any

import httpx
import pytest

from tests.web.asking import Asker
from tests.web.notes import Notes

JSON = {"content-type": "application/json"}


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem document of an answer, checked for what every one of them has."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = answer.json()
    assert found["status"] == status
    assert found["code"] == code
    assert found["request_id"] == answer.headers["x-request-id"]
    assert found["instance"] == answer.url.path
    return found


def test_a_resource_is_created_shown_listed_replaced_and_deleted(notes: Notes, ask: Asker) -> None:
    """The whole life of a resource works, and handlers run outside the loop's thread."""
    made = ask("POST", "/api/v1/notes", json={"name": "a", "stars": 2})
    assert made.status_code == 201
    assert made.headers["location"] == "/api/v1/notes/a"
    assert ask("GET", "/api/v1/notes/a").json() == {"name": "a", "text": "", "stars": 2}
    assert ask("PUT", "/api/v1/notes/a", json={"name": "a", "stars": 3}).json()["stars"] == 3
    assert ask("GET", "/api/v1/notes").json()["items"] == [{"name": "a", "text": "", "stars": 3}]
    gone = ask("DELETE", "/api/v1/notes/a")
    assert (gone.status_code, gone.content) == (204, b"")
    problem(ask("GET", "/api/v1/notes/a"), 404, "not_found")
    assert "MainThread" not in notes.threads


MALFORMED = [
    (b"", {}, 400, "body"),
    (b"{", JSON, 400, "body"),
    (b"[]", JSON, 400, "body"),
    (b"null", JSON, 400, "body"),
    (b'{"name": 1}', JSON, 400, "body.name"),
    (b'{"name": "a", "stars": "3"}', JSON, 400, "body.stars"),
    (b'{"name": "a", "stars": 9}', JSON, 400, "body.stars"),
    (b'{"name": "a", "stars": NaN}', JSON, 400, "body"),
    (b'{"name": "a", "sars": 1}', JSON, 400, "body"),
    (b'{"name": "a"} x', JSON, 400, "body"),
    (b'{"name": "\xff"}', JSON, 400, "body"),
    (b'{"name": "a", "text": ' + b"[" * 400 + b"]" * 400 + b"}", JSON, 400, "body.text"),
    (b'{"name": "a"}', {"content-type": "text/plain"}, 415, "Content-Type"),
    (b'{"name": "a"}', {**JSON, "content-encoding": "gzip"}, 415, "Content-Encoding"),
    (b" " * 1001, JSON, 413, "body"),
]


@pytest.mark.parametrize(("body", "headers", "status", "where"), MALFORMED)
def test_a_malformed_body_is_refused_with_its_place(
    notes: Notes, ask: Asker, body: bytes, headers: dict[str, str], status: int, where: str
) -> None:
    """Every malformed body gives a 4xx that names the place, changes nothing, and the next good request succeeds."""
    answer = ask("POST", "/api/v1/notes", content=body, headers=headers)
    assert answer.status_code == status
    assert answer.json()["where"] == where
    assert not notes.kept
    assert ask("POST", "/api/v1/notes", json={"name": "good"}).status_code == 201


def test_a_body_without_declared_length_is_cut_off_at_the_limit(ask: Asker) -> None:
    """A chunked body cannot get around the limit by not saying how long it is."""

    async def chunks() -> Any:
        for _ in range(20):
            yield b" " * 100

    problem(ask("POST", "/api/v1/notes", content=chunks(), headers=JSON), 413, "too_large")


def test_wrong_types_say_what_was_found_and_expected(ask: Asker) -> None:
    """A person can repair the request from the answer alone."""
    found = problem(ask("POST", "/api/v1/notes", json={"name": 7}), 400, "invalid_input")
    assert (found["where"], found["found"], found["expected"]) == ("body.name", "int", "str")


@pytest.mark.parametrize(
    ("query", "where"),
    [
        ("limit=0", "query.limit"),
        ("limit=x", "query.limit"),
        ("limt=1", "query.limt"),
        ("limit=1&limit=2", "query.limit"),
    ],
)
def test_a_malformed_query_is_refused_with_its_place(ask: Asker, query: str, where: str) -> None:
    """Unknown, repeated, mistyped and out-of-range parameters are errors, never ignored."""
    assert problem(ask("GET", f"/api/v1/notes?{query}"), 400, "invalid_input")["where"] == where


def test_unknown_paths_and_methods_are_problems(ask: Asker) -> None:
    """404 and 405 of the router look like every other error, and 405 lists what is allowed."""
    problem(ask("GET", "/api/v1/nothing"), 404, "not_found")
    refused = ask("PUT", "/api/v1/notes", json={})
    problem(refused, 405, "invalid_input")
    assert refused.headers["allow"] == "GET, POST"


def test_scopes_decide(notes: Notes, ask: Asker) -> None:
    """No key is 401 with a challenge, too little scope 403, and `any` takes every valid key."""
    nobody = ask.as_(None)("GET", "/api/v1/notes")
    problem(nobody, 401, "unauthenticated")
    assert nobody.headers["www-authenticate"].startswith("Bearer")
    assert ask.as_(notes.reader)("GET", "/api/v1/notes").status_code == 200
    refused = problem(ask.as_(notes.reader)("POST", "/api/v1/notes", json={"name": "a"}), 403, "forbidden")
    assert refused["expected"] == "write"
    problem(ask.as_(notes.predictor)("GET", "/api/v1/notes"), 403, "forbidden")
    assert ask.as_(notes.predictor)("GET", "/api/v1/me").json()["head"].startswith("key:")


def test_an_unexpected_exception_stays_inside(ask: Asker, caplog: pytest.LogCaptureFixture) -> None:
    """A fault of ours is a 500 without details; the log has them under the same request id."""
    with caplog.at_level(logging.ERROR):
        answer = ask("GET", "/api/v1/broken")
    found = problem(answer, 500, "internal")
    assert "secret" not in answer.text
    assert found["request_id"] in caplog.text
    assert "ZeroDivisionError" in caplog.text
    assert len(caplog.records) == 1, "said twice"


def test_etags_guard_changes_and_save_reading(ask: Asker) -> None:
    """If-None-Match spares the body, a stale If-Match is 412 and changes nothing, and `*` matches anything."""
    ask("POST", "/api/v1/notes", json={"name": "a"})
    etag = ask("GET", "/api/v1/notes/a").headers["etag"]
    assert ask("GET", "/api/v1/notes/a", headers={"if-none-match": f'"x", W/{etag}'}).status_code == 304
    changed = ask("PUT", "/api/v1/notes/a", json={"name": "a", "stars": 1}, headers={"if-match": etag})
    assert changed.headers["etag"] != etag
    stale = ask("PUT", "/api/v1/notes/a", json={"name": "a", "stars": 2}, headers={"if-match": etag})
    problem(stale, 412, "precondition_failed")
    assert ask("GET", "/api/v1/notes/a").json()["stars"] == 1
    anything = ask("PUT", "/api/v1/notes/a", json={"name": "a", "stars": 2}, headers={"if-match": "*"})
    assert anything.status_code == 200
    weak = ask("PUT", "/api/v1/notes/a", json={"name": "a"}, headers={"if-match": 'W/"stars-2"'})
    assert problem(weak, 400, "invalid_input")["where"] == "If-Match"
    useless = ask("DELETE", "/api/v1/notes/a", headers={"if-match": etag})
    assert problem(useless, 400, "invalid_input")["where"] == "If-Match"


def test_a_repeated_request_with_the_same_key_has_one_effect(notes: Notes, ask: Asker) -> None:
    """The second answer is the first one's, marked; a day later the key is new again."""
    once = {"idempotency-key": "k-1"}
    first = ask("POST", "/api/v1/notes", json={"name": "a"}, headers=once)
    again = ask("POST", "/api/v1/notes", json={"name": "a"}, headers=once)
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["idempotency-replayed"] == "true"
    assert notes.created == 1
    notes.clock.advance(ms=24 * 3600 * 1000 + 1)
    ask("POST", "/api/v1/notes", json={"name": "a"}, headers=once)
    assert notes.created == 2


def test_a_key_used_for_another_request_is_refused(notes: Notes, ask: Asker) -> None:
    """Another body, path or query under the same key is a mistake of the client: 409. Other callers are apart."""
    once = {"idempotency-key": "k-1"}
    ask("POST", "/api/v1/notes", json={"name": "a"}, headers=once)
    problem(ask("POST", "/api/v1/notes", json={"name": "b"}, headers=once), 409, "conflict")
    problem(ask("PUT", "/api/v1/notes/a", json={"name": "a"}, headers=once), 409, "conflict")
    assert list(notes.kept) == ["a"]
    bad = ask("POST", "/api/v1/notes", json={"name": "b"}, headers={"idempotency-key": "a b"})
    assert problem(bad, 400, "invalid_input")["where"] == "Idempotency-Key"


def test_a_failed_request_may_be_tried_again_under_its_key(notes: Notes, ask: Asker) -> None:
    """Only answers that had an effect are kept."""
    once = {"idempotency-key": "k-1"}
    for _ in range(2):
        problem(ask("POST", "/api/v1/notes", json={"name": "a", "text": "fail"}, headers=once), 404, "not_found")
    assert notes.created == 2


def test_a_secret_is_never_stored_for_repetition(ask: Asker) -> None:
    """A resource that answers with a secret refuses Idempotency-Key and forbids caches."""
    refused = ask("POST", "/api/v1/secrets", headers={"idempotency-key": "k"})
    assert problem(refused, 400, "invalid_input")["where"] == "Idempotency-Key"
    assert ask("POST", "/api/v1/secrets").headers["cache-control"] == "no-store"


def test_an_upload_is_streamed_to_a_file_and_removed(notes: Notes, ask: Asker) -> None:
    """A body larger than the JSON limit arrives whole; nothing is left on disk, also when it is refused."""
    octets = {"content-type": "application/octet-stream"}
    big = b"head" + b"x" * 2_500_000
    assert ask("POST", "/api/v1/files?tag=a&tag=b&loud=true", content=big, headers=octets).json() == {
        "size": len(big),
        "head": "head",
    }
    problem(ask("POST", "/api/v1/files", content=b"x" * 3_000_001, headers=octets), 413, "too_large")
    problem(ask("POST", "/api/v1/files", content=b"", headers=octets), 400, "invalid_input")
    problem(ask("POST", "/api/v1/files", content=b"x", headers=JSON), 415, "unsupported_media_type")
    assert list(notes.site.spool.iterdir()) == []


def test_a_repeated_upload_is_recognised_by_its_content(ask: Asker) -> None:
    """The same file under the same key is answered from memory, another file is a conflict."""
    headers = {"content-type": "application/octet-stream", "idempotency-key": "up"}
    ask("POST", "/api/v1/files", content=b"abcd", headers=headers)
    assert "idempotency-replayed" in ask("POST", "/api/v1/files", content=b"abcd", headers=headers).headers
    problem(ask("POST", "/api/v1/files", content=b"abce", headers=headers), 409, "conflict")


def test_traceparent_is_echoed(ask: Asker) -> None:
    """A trace can be followed through answers, errors included."""
    trace = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    assert ask("GET", "/api/v1/notes", headers=trace).headers["traceparent"] == trace["traceparent"]
    assert ask("GET", "/api/v1/notes/x", headers=trace).headers["traceparent"] == trace["traceparent"]


def test_pages_follow_each_other(ask: Asker) -> None:
    """`next` leads through the whole list once."""
    for i in range(5):
        ask("POST", "/api/v1/notes", json={"name": f"n{i}"})
    seen: list[str] = []
    after = ""
    while True:
        answer = ask("GET", "/api/v1/notes", params={"limit": 2, "after": after}).json()
        seen += [item["name"] for item in answer["items"]]
        if answer["next"] is None:
            break
        after = answer["next"]
    assert seen == ["n0", "n1", "n2", "n3", "n4"]


def test_head_answers_like_get(ask: Asker) -> None:
    """HEAD is served wherever GET is."""
    assert ask("HEAD", "/api/v1/notes").status_code == 200
