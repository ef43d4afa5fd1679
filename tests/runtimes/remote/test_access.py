"""What a server is shown: only what the settings say of its very address."""

from __future__ import annotations

import pytest

from kaname.errors import InvalidInput
from kaname.runtimes.remote.access import headers, of_address
from kaname.secret import Secret
from kaname.settings import RemoteSettings


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://far.example", False),
        ("https://far.example/models", True),
        ("https://far.example:443/models/", True),
        ("https://FAR.example/models/v1", True),
        ("https://far.example/models-of-others", False),
        ("https://far.example/models/../others", False),
        ("http://far.example/models", False),
        ("https://far.example:8443/models", False),
        ("https://far.example.evil.example/models", False),
        ("https://far.example@evil.example/models", False),
    ],
)
def test_a_secret_is_for_its_address(url: str, shown: bool) -> None:
    """Scheme, host and port are the same, and the path lies at or below."""
    settings = [RemoteSettings(url="https://far.example/models", header="X-Key", value=Secret("hush"))]
    assert headers(of_address(settings, url)) == ({"x-key": "hush"} if shown else {})


@pytest.mark.parametrize("value", ["Bearer hush\nx-more: 1", "Bearer h\u00fcsh", "hush\x00"])
def test_what_is_no_header_is_not_shown_either(value: str) -> None:
    """A secret with a line break in it is refused before a library complains about its very text."""
    with pytest.raises(InvalidInput) as raised:
        headers([RemoteSettings(url="http://far", value=Secret(value))])
    assert value not in str(raised.value)
    assert raised.value.found is None
    assert "authorization" in str(raised.value.where)


def test_without_a_path_it_is_for_the_whole_server() -> None:
    """And several settings may hold for one address."""
    settings = [RemoteSettings(url="http://a:8000"), RemoteSettings(url="http://a:8000/v2", value=Secret("hush"))]
    assert of_address(settings, "http://a:8000/v2/models") == settings
    assert of_address(settings, "http://a:8000") == settings[:1]
