"""The owner's keys: what may be listed, which one is active, and what is said when one is missing."""

from __future__ import annotations

import os
from base64 import b64encode

import pytest

from kaname.errors import CorruptData, InvalidInput, Unavailable
from kaname.secret import Secret
from kaname.settings import EncryptionSettings
from kaname.storage.sealing.keys import Keyring, new_line

SHORT = b64encode(b"too short to be a key").decode()


def listed(*lines: str, active: str = "") -> Keyring:
    """The keys of these lines."""
    return Keyring.of(EncryptionSettings(keys=Secret("\n".join(lines)), active_key=active))


def test_the_first_key_is_active_unless_another_one_is_named() -> None:
    """Comments and blank lines do not count; commas stand for line ends; without keys nothing is active."""
    old, new = new_line("2025-11"), new_line("2026-11")
    assert listed("# the keys of the team", "", new, old).active == "2026-11"
    assert listed(f"{new},{old}").names == ("2026-11", "2025-11")
    assert listed(new, old, active="2025-11").active == "2025-11"
    assert Keyring.of(EncryptionSettings()).active is None
    assert Keyring().data_key() is None


def test_what_one_key_wrapped_it_alone_opens_and_for_its_purpose_only() -> None:
    """A data key comes back under its purpose; under another, or with another key of that name, it does not."""
    ring = listed(new_line("a"))
    key = ring.data_key()
    assert key is not None
    envelope = ring.wrap(key, "this")
    assert ring.unwrap(envelope, "this") == key
    with pytest.raises(CorruptData, match="the key a does not open it"):
        ring.unwrap(envelope, "that")
    with pytest.raises(CorruptData, match="the key a does not open it"):
        listed(new_line("a")).unwrap(envelope, "this")


def test_a_missing_key_is_named() -> None:
    """The error says which key encrypted it, where, and which keys are listed."""
    old = listed(new_line("2025-11"))
    envelope = old.wrap(os.urandom(32), "artefact x")
    with pytest.raises(Unavailable) as caught:
        listed(new_line("2026-11")).unwrap(envelope, "artefact x")
    assert str(caught.value) == (
        "artefact x: encrypted with the key 2025-11, which is not listed; found 2026-11; "
        "expected 2025-11 in encryption.keys"
    )
    with pytest.raises(Unavailable, match="found no keys"):
        Keyring().unwrap(envelope, "artefact x")


def test_wrapping_anew_keeps_the_data_key() -> None:
    """The active key opens it afterwards, the old one need not be listed; a second time there is nothing to do."""
    old, new = new_line("old"), new_line("new")
    key = os.urandom(32)
    envelope = listed(old).wrap(key, "x")
    both = listed(new, old)
    rewrapped = both.rewrap(envelope, "x")
    assert rewrapped is not None
    assert listed(new).unwrap(rewrapped, "x") == key
    assert both.rewrap(rewrapped, "x") is None
    with pytest.raises(InvalidInput, match="no key to wrap"):
        Keyring().rewrap(envelope, "x")


BAD = [
    ("nonsense", "line 1: not a key"),
    (f"../a: {SHORT}", "line 1: not a key"),
    (f"a: {SHORT}", r"line 1 \(a\): a key has the wrong length; found 21 bytes"),
    ("a: not base64!", r"line 1 \(a\): a key is not base64"),
    ("# only a comment", "no key is listed"),
]


@pytest.mark.parametrize(("text", "said"), BAD)
def test_a_list_that_cannot_be_read_is_refused_without_showing_it(text: str, said: str) -> None:
    """The line is named; of what stands in it nothing but the key's name."""
    with pytest.raises(InvalidInput, match=said) as caught:
        listed(text)
    assert SHORT not in str(caught.value)
    assert "nonsense" not in str(caught.value)


def test_names_are_unique_and_the_active_one_is_listed() -> None:
    """Two keys of one name are a fault, and so is an active key that is not there."""
    with pytest.raises(InvalidInput, match="listed twice"):
        listed(new_line("a"), new_line("a"))
    with pytest.raises(InvalidInput, match=r"encryption\.active_key"):
        listed(new_line("a"), active="b")
    with pytest.raises(InvalidInput, match="not the name of a key"):
        new_line("a b")


def test_no_nonce_and_no_key_comes_twice() -> None:
    """A thousand envelopes of one data key have a thousand nonces; a thousand data keys are different."""
    ring = listed(new_line("a"))
    assert len({ring.wrap(bytes(32), "x").wrapped[:12] for _ in range(1000)}) == 1000
    assert len({ring.data_key() for _ in range(1000)}) == 1000
