"""Secrets in settings: read from a file's text, the environment or a file of their own, and shown nowhere."""

from __future__ import annotations

import copy
import logging
import pickle
from pathlib import Path

import msgspec
import pytest

from kaname.errors import InvalidInput
from kaname.project import parse, problems_in
from kaname.project.environment import overrides_of
from kaname.project.secret_files import read_secret_files
from kaname.secret import MASK, Secret, mask_secret, secret_hook

WORD = "correct-horse-battery"


class Store(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of a store with secrets of every kind."""

    password: Secret | None = None
    password_file: str | None = None
    keys: dict[str, Secret] = {}


class Tree(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The settings around it."""

    store: Store = Store()


def test_a_secret_is_masked_in_every_form() -> None:
    """Text, formats, logs, the Struct around it and JSON show the mask; pickling and plain encoding are refused."""
    secret = Secret(WORD)
    tree = Tree(store=Store(password=secret, keys={"a": secret}))
    shown = [str(secret), repr(secret), f"{secret}", f"{secret!r:>40}", repr(tree)]
    shown.append(msgspec.json.encode(tree, enc_hook=mask_secret).decode())
    shown.append(logging.LogRecord("x", 20, "x", 1, "%s %r", (secret, tree), None).getMessage())
    assert all(MASK in text and WORD not in text for text in shown)
    for encode in (msgspec.json.encode, pickle.dumps):
        with pytest.raises(TypeError) as caught:
            encode(secret)
        assert WORD not in str(caught.value)
    assert copy.deepcopy(secret).reveal() == WORD


def test_secrets_are_compared_by_their_text() -> None:
    """Equal text is equal, also as a key of a dict; text alone is not a secret."""
    assert Secret(WORD) == Secret(WORD) != Secret("other")
    assert len({Secret(WORD), Secret(WORD)}) == 1
    assert Secret(WORD) != WORD


BAD = [
    (f"store: {{password: {{x: {WORD}}}}}", "a secret is text"),
    (f"store: {{password: [{WORD}]}}", "a secret is text"),
    ("store: {password: 20261128}", "a secret is text"),
    ("store: {keys: {a: 20261128}}", "a secret is text"),
    ('store: {password: ""}', "must not be empty"),
    (f"store: {{passwort: {WORD}}}", "unknown key `passwort`"),
]


@pytest.mark.parametrize(("text", "said"), BAD)
def test_a_wrong_secret_is_named_but_not_shown(text: str, said: str) -> None:
    """The error has the place and what is wrong; of the value nothing."""
    _, problems = problems_in(parse(text.encode(), "kaname.yaml"), Tree)
    assert len(problems) == 1
    assert said in str(problems[0])
    assert "kaname.yaml:1:" in str(problems[0])
    assert WORD not in str(problems[0])
    assert "20261128" not in str(problems[0])


def test_a_line_that_is_not_yaml_is_not_repeated_when_it_may_hold_a_secret() -> None:
    """A quote that is never closed shows where it is, not what is in it."""
    with pytest.raises(InvalidInput) as caught:
        parse(f'store:\n  password: "{WORD}\n'.encode(), "kaname.yaml")
    assert WORD not in str(caught.value)


def test_the_environment_gives_secrets_as_they_are() -> None:
    """No type is guessed from the text; an empty one is refused and `null` unsets it."""
    found, problems = overrides_of({"KANAME_STORE__PASSWORD": "12345"}, Tree)
    assert (found, problems) == ({"store.password": ("KANAME_STORE__PASSWORD", "12345")}, [])
    assert overrides_of({"KANAME_STORE__PASSWORD": "null"}, Tree)[0]["store.password"][1] is None
    _, problems = overrides_of({"KANAME_STORE__PASSWORD": ""}, Tree)
    assert "must not be empty" in str(problems[0])


def test_a_file_named_by_a_setting_is_the_secret(tmp_path: Path) -> None:
    """Without its line end, from the project's folder; the origin names setting and file."""
    (tmp_path / "word").write_text(f"{WORD}\n")
    values: dict[str, object] = {"store.password_file": "word"}
    origins = {"store.password_file": "KANAME_STORE__PASSWORD_FILE"}
    assert list(read_secret_files(values, origins, tmp_path, Tree)) == []
    assert origins["store.password"] == "KANAME_STORE__PASSWORD_FILE (word)"
    tree = msgspec.convert({"store": {"password": values["store.password"]}}, Tree, dec_hook=secret_hook)
    assert tree.store.password is not None
    assert tree.store.password.reveal() == WORD


@pytest.mark.parametrize(
    ("content", "beside", "said"),
    [
        (None, None, "cannot be read; found word: No such file"),
        (b"", None, "is empty"),
        (b"\n", None, "is empty"),
        (b"\xff", None, "not text"),
        (b"x", WORD, "is given twice"),
    ],
)
def test_a_file_that_gives_no_secret_is_a_fault(
    tmp_path: Path, content: bytes | None, beside: str | None, said: str
) -> None:
    """Missing, empty, not text, or beside the secret itself: one problem at the place of the setting."""
    if content is not None:
        (tmp_path / "word").write_bytes(content)
    values: dict[str, object] = {"store.password_file": "word", "store.password": beside}
    origins = {"store.password_file": "kaname.yaml:2:3", "store.password": "KANAME_STORE__PASSWORD"}
    problems = list(read_secret_files(values, origins, tmp_path, Tree))
    assert [problem.where for problem in problems] == ["kaname.yaml:2:3"]
    assert said in str(problems[0])
    assert WORD not in str(problems[0])
