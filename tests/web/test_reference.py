"""The documentation page."""

from __future__ import annotations

import re

import pytest

from tests.web.asking import Asker

FILES = ["/docs", "/docs/reference.css", "/docs/reference.js"]


@pytest.mark.parametrize("path", FILES)
def test_no_file_names_another_host(ask: Asker, path: str) -> None:
    """There is no absolute or protocol-relative URL, no import and no remote font; a policy forbids the rest."""
    answer = ask.as_(None)("GET", path)
    assert answer.status_code == 200
    assert not re.search(r"https?:|wss?:|[\"'(=]//\w|@import|@font-face|(?<!c)url\(", answer.text)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert not re.search(r"https?:|\*|unsafe", policy)


def test_the_root_leads_to_the_page(ask: Asker) -> None:
    """Who types the address of the server into a browser finds the documentation; no key is needed."""
    answer = ask.as_(None)("GET", "/")
    assert (answer.status_code, answer.headers["location"]) == (307, "docs")


def test_every_file_that_the_page_names_is_served(ask: Asker) -> None:
    """Links are relative to the page, so it works under any host and port."""
    page = ask("GET", "/docs").text
    named = [name for name in re.findall(r'(?:src|href)="([^"#]+)"', page) if not name.startswith("data:")]
    assert sorted(named) == ["docs/reference.css", "docs/reference.js", "openapi.json"]
    for name in named:
        assert ask("GET", f"/{name}").status_code == 200


def test_text_is_never_inserted_as_markup(ask: Asker) -> None:
    """Descriptions come from names that users choose."""
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval", ask("GET", "/docs/reference.js").text
    )
