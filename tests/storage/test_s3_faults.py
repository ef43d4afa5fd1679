"""A real S3 server that dies, freezes, refuses and is slow: deadlines hold and nothing is half published."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kaname.errors import InvalidInput, KanameError, Unavailable
from kaname.storage.blobs.bucket import BucketArtefacts
from kaname.storage.blobs.profile import aws_profile
from tests.processes import until
from tests.proxy import Proxy
from tests.storage.s3 import CREDENTIALS, S3

pytestmark = [pytest.mark.services, pytest.mark.timeout(600)]
LARGE = 57 << 20
DEADLINE_S = 12.0
"""Beyond the time of one request and of its repetitions, on a busy machine."""


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[S3]:
    (tmp_path / "server").mkdir()
    with S3(tmp_path / "server") as running:
        yield running


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.onnx").write_bytes(os.urandom(1 << 20) * (LARGE >> 20))
    return tmp_path / "model"


def small(tmp_path: Path) -> Path:
    """A model of a few bytes."""
    (tmp_path / "small").mkdir(exist_ok=True)
    (tmp_path / "small" / "model.onnx").write_bytes(b"weights")
    return tmp_path / "small"


class Asked:
    """Work on a thread of its own, and what came of it."""

    def __init__(self, work: Callable[[], object]) -> None:
        self.error: KanameError | None = None
        self._work = work
        self._began = time.monotonic()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._work()
        except KanameError as error:
            self.error = error

    def failed(self) -> KanameError:
        """The error, which came in time."""
        self._thread.join()
        assert self.error is not None
        assert time.monotonic() - self._began < DEADLINE_S
        return self.error

    def succeeded(self) -> None:
        """It came to a good end."""
        self._thread.join()
        assert self.error is None, self.error


def parts_of(server: S3) -> list[Path]:
    """What the server has of uploads in progress."""
    return [path for path in server.objects.parent.rglob("*") if path.is_file() and path.stat().st_size >= 1 << 22]


def test_a_server_that_dies_while_it_is_sent_an_artefact(server: S3, model: Path, tmp_path: Path) -> None:
    """The publisher gets an error in time, nobody ever sees a part of it, and afterwards it can be published."""
    with Proxy(server.port) as proxy:
        proxy.latency_s = 0.05
        store = server.artefacts(tmp_path / "a", server.settings(port=proxy.port))
        publishing = Asked(lambda: store.publish(model))
        until(lambda: parts_of(server), "parts have arrived")
        server.kill()
        assert isinstance(publishing.failed(), Unavailable)
    server.start()
    again = server.artefacts(tmp_path / "a")
    assert again.artefacts() == []
    again.hold(again.publish(model)).release()


def test_a_server_that_dies_while_an_artefact_is_fetched(server: S3, model: Path, tmp_path: Path) -> None:
    """The fetch fails in time and leaves nothing; what the node holds is still given out; later it is fetched."""
    store = server.artefacts(tmp_path / "a")
    large, held = store.publish(model), store.publish(small(tmp_path))
    with Proxy(server.port) as proxy:
        proxy.latency_s = 0.005
        node = server.artefacts(tmp_path / "b", server.settings(port=proxy.port))
        node.hold(held).release()
        fetching = Asked(lambda: node.hold(large))
        until(lambda: proxy.answered > LARGE // 4, "bytes have arrived")
        server.kill()
        node.hold(held).release()
        assert isinstance(fetching.failed(), Unavailable)
        node.hold(held).release()
        assert not (tmp_path / "b" / "cache" / large).exists()
        server.start()
        proxy.latency_s = 0
        node.hold(large).release()


def test_a_frozen_server_is_given_up_in_time_and_waited_for_until_then(server: S3, tmp_path: Path) -> None:
    """Under SIGSTOP publishing and fetching fail after the deadline; a server that thaws before is not noticed."""
    store = server.artefacts(tmp_path / "a", server.settings(timeout_ms=500, retry_ms=1_000))
    artefact = store.publish(small(tmp_path))
    node = server.artefacts(tmp_path / "b", server.settings(timeout_ms=500, retry_ms=1_000))
    server.freeze()
    assert isinstance(Asked(lambda: node.hold(artefact)).failed(), Unavailable)
    assert isinstance(Asked(lambda: store.publish(small(tmp_path))).failed(), Unavailable)
    patient = server.artefacts(tmp_path / "c", server.settings(timeout_ms=500, retry_ms=20_000))
    waiting = Asked(lambda: patient.hold(artefact))
    until(lambda: list((tmp_path / "c" / "cache" / ".filling").glob("turn.*")), "it has begun")
    server.thaw()
    waiting.succeeded()


def test_a_connection_that_breaks_in_the_middle_is_repaired(server: S3, model: Path, tmp_path: Path) -> None:
    """A reset in the middle of a download costs one range, not the artefact."""
    artefact = server.artefacts(tmp_path / "a").publish(model)
    with Proxy(server.port) as proxy:
        proxy.cut_after = 3_000_000
        server.artefacts(tmp_path / "b", server.settings(port=proxy.port)).hold(artefact).release()
        assert proxy.cuts == 1
        assert LARGE < proxy.answered < LARGE * 1.3


def test_a_distant_server_costs_time_only(server: S3, tmp_path: Path) -> None:
    """With 100 ms on the way everything still works, within a few trips."""
    with Proxy(server.port) as proxy:
        proxy.latency_s = 0.1
        store = server.artefacts(tmp_path / "a", server.settings(port=proxy.port))
        began = time.monotonic()
        store.hold(store.publish(small(tmp_path))).release()
        assert time.monotonic() - began < 5


def refusal(store: BucketArtefacts) -> str:
    """What a person is told; none of it is secret."""
    with pytest.raises(Unavailable) as caught:
        store.hold("0" * 64)
    text = str(caught.value)
    for secret in (*CREDENTIALS.values(), "Signature=", "StringToSign", "AKIA"):
        assert secret not in text
    return text


def test_wrong_credentials_are_said_at_once_without_them(
    server: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong secret, or somebody whom the store does not know: the answer names the bucket and what is expected."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    said = refusal(server.artefacts(tmp_path))
    assert "s3://models/" in said
    assert "SignatureDoesNotMatch" in said
    assert "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile" in said
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIANOBODY")
    assert "refuses" in refusal(server.artefacts(tmp_path))


def test_a_bucket_that_is_not_there_is_said(server: S3, tmp_path: Path) -> None:
    """The message names it; it is not mistaken for an artefact that is not there."""
    said = refusal(server.artefacts(tmp_path, server.settings(bucket="nowhere")))
    assert "s3://nowhere/" in said
    assert "a bucket that exists" in said


def test_a_profile_gives_the_credentials(server: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without keys in the environment those of the profile in `~/.aws` are used."""
    for name in CREDENTIALS:
        monkeypatch.delenv(name)
    file = tmp_path / "credentials"
    key, secret = CREDENTIALS.values()
    file.write_text(f"[default]\n[team]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    monkeypatch.setenv("AWS_PROFILE", "team")
    store = server.artefacts(tmp_path / "a")
    store.hold(store.publish(small(tmp_path))).release()


def test_a_profile_that_is_nowhere_or_cannot_be_read_is_said(tmp_path: Path) -> None:
    """The error names the variable or the file; nothing of its content."""
    (tmp_path / "broken").write_text("secret without a section")
    environ = {"AWS_CONFIG_FILE": str(tmp_path / "none"), "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none")}
    assert aws_profile(environ) == {}
    with pytest.raises(InvalidInput, match="AWS_PROFILE"):
        aws_profile({**environ, "AWS_PROFILE": "gone"})
    with pytest.raises(InvalidInput) as caught:
        aws_profile({**environ, "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "broken")})
    assert "secret" not in str(caught.value)
