"""Where answers may be sent to, and how they are signed."""

from __future__ import annotations

import base64
import socket
import stat
from pathlib import Path

import pytest

from kaname.errors import InvalidInput
from kaname.serving.deferred.webhooks import Targets, signature, signing_key
from kaname.settings import DeferredSettings

ALLOWED = ("https://hooks.example.com/kaname/", "http://127.0.0.1:9000", "http://localhost:9000/")
TARGETS = Targets(DeferredSettings(webhooks=ALLOWED))


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.com/kaname/a?b=c",
        "https://HOOKS.example.com/kaname/",
        "http://127.0.0.1:9000/anything",
    ],
)
def test_targets_below_an_entry_are_permitted(url: str) -> None:
    """Scheme, host and port are those of the entry, and the path begins with its path."""
    assert TARGETS.check(url).hostname


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.com/kaname/a",
        "https://hooks.example.com/other",
        "https://hooks.example.com.evil.org/kaname/",
        "https://hooks.example.com@evil.org/kaname/",
        "https://user:secret@hooks.example.com/kaname/",
        "https://hooks.example.com:444/kaname/",
        "https://hooks.example.com/kaname/../admin",
        "https://hooks.example.com/kaname/%2e%2e/admin",
        "https://hooks.example.com/kaname/%252e%252e/admin",
        "https://evil.org/https://hooks.example.com/kaname/",
        "http://127.0.0.1/anything",
        "http://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "gopher://127.0.0.1:9000/",
        "//hooks.example.com/kaname/",
        "http://[::1",
        "",
    ],
)
def test_everything_else_is_refused(url: str) -> None:
    """Whatever only looks like a permitted target is told apart."""
    with pytest.raises(InvalidInput):
        TARGETS.check(url)


def test_a_name_that_leads_inside_is_not_followed() -> None:
    """A permitted name whose address is not public is refused, unless the owner says otherwise; an address that the
    list names is one that the owner has said."""
    inside = TARGETS.check("http://localhost:9000/a")
    with pytest.raises(OSError, match="no public address"):
        TARGETS.address(inside)
    open_targets = Targets(DeferredSettings(webhooks=ALLOWED, webhook_private=True))
    assert open_targets.address(inside)[1] == 9000
    assert TARGETS.address(TARGETS.check("http://127.0.0.1:9000/a")) == ("127.0.0.1", 9000)


def test_the_address_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was checked is what is connected to: the answer is an address, not a name."""
    targets = Targets(DeferredSettings(webhooks=("https://hooks.example.com/",)))
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, 443)) for one in ("10.0.0.1", "8.8.8.8")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    assert targets.address(targets.check("https://hooks.example.com/a")) == ("8.8.8.8", 443)


def test_the_signature_is_that_of_standard_webhooks() -> None:
    """The example of the specification."""
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signed = signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_key_is_made_once_and_private(tmp_path: Path) -> None:
    """The first use writes it with mode 0600, later ones read it."""
    path = tmp_path / "webhook.key"
    key = signing_key(path)
    assert len(key) == 32
    assert signing_key(path) == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
