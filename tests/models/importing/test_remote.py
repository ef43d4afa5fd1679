"""Imports of remote models: the server says what it is, and is believed only as far as it answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from kaname.errors import InvalidInput, KanameError, RemoteFailed, Unavailable
from kaname.models.importing.process import reprofile, run_import
from kaname.models.importing.remote_url import local
from kaname.models.importing.types import Imported, ImportRequest
from kaname.models.types import VersionInfo
from kaname.runtimes.remote.description import parse
from kaname.runtimes.types import PLAIN, SessionOptions
from kaname.secret import Secret
from kaname.settings import RemoteSettings
from tests.runtimes.remote.peer import SIGNATURE, Peer, says
from tests.servers import free_port


@pytest.fixture
def peer() -> Iterator[Peer]:
    """A server that answers."""
    with Peer() as one:
        yield one


def described(folder: Path, *urls: str, **fields: object) -> Path:
    """A description in a file."""
    file = folder / "far.yaml"
    file.write_bytes(msgspec.yaml.encode({"protocol": "oip", "urls": urls, "model": "m", **fields}))
    return file


def imported(file: Path, options: SessionOptions = PLAIN, sample: Path | None = None) -> Imported:
    """The import of a description."""
    return run_import(ImportRequest(path=file, sample=sample), file.parent / "work", options)


def refusal(file: Path) -> KanameError:
    """What an import ends in."""
    with pytest.raises(KanameError) as raised:
        imported(file)
    return raised.value


def test_the_server_says_what_its_model_is(peer: Peer, tmp_path: Path) -> None:
    """Inputs, outputs and whether tensors travel in binary are read from the server; a sample is made up and asked."""
    found = imported(described(tmp_path, peer.url))
    assert found.signature == SIGNATURE
    assert found.runtime == "remote"
    assert parse(found.files / "remote.json").binary is True
    assert found.sample is not None
    assert any("made up" in note for note in found.notes)
    assert (found.profile.rows, found.profile.best_rows) == ((1,), 1)
    assert peer.inferences


def test_without_the_extension_tensors_travel_as_json(peer: Peer, tmp_path: Path) -> None:
    """A server that does not say it knows binary tensors is not sent any."""
    peer.extensions = []
    assert parse(imported(described(tmp_path, peer.url)).files / "remote.json").binary is False


def test_rows_share_a_request_where_the_description_says_so(peer: Peer, tmp_path: Path) -> None:
    """The batch is measured, and compared with its rows alone."""
    profile = imported(described(tmp_path, peer.url, batch_rows=16)).profile
    assert (profile.rows, profile.best_rows, profile.exact, profile.splits) == ((1, 16), 16, True, True)


def test_a_version_is_measured_again(peer: Peer, tmp_path: Path) -> None:
    """From its artefact and its own sample."""
    found = imported(described(tmp_path, peer.url))
    version = VersionInfo(
        id=1,
        model="far",
        model_id=1,
        version="1",
        status="deployed",
        artefact="a",
        source="remote",
        runtime="remote",
        signature=found.signature,
        profile=found.profile,
        sample=found.sample,
        created_us=0,
    )
    before = len(peer.inferences)
    profile, runtime, (choice,) = reprofile(version, found.files)
    assert (profile.rows, runtime, choice.chosen) == ((1,), "remote", True)
    assert len(peer.inferences) > before


def test_an_address_that_is_away_is_noted(peer: Peer, tmp_path: Path) -> None:
    """One of several is enough for an import; the note names the other."""
    url = f"http://127.0.0.1:{free_port()}"
    found = imported(described(tmp_path, peer.url, url))
    assert any(url in note and "refused" in note for note in found.notes)


def test_classes_have_the_names_that_the_description_gives(peer: Peer, tmp_path: Path) -> None:
    """An output with a column per class becomes a classifier's."""
    found = imported(described(tmp_path, peer.url, labels={"y": ["no", "yes"]}))
    assert found.signature.task == "classification"
    assert found.signature.labels == ("no", "yes")


def test_the_secret_of_the_settings_is_shown(peer: Peer, tmp_path: Path) -> None:
    """It goes along with every request, and into no artefact."""
    settings = RemoteSettings(url=peer.url, value=Secret("Bearer hush"))
    found = imported(described(tmp_path, peer.url), SessionOptions(remotes=(settings,)))
    assert {headers["authorization"] for headers in peer.inferences} == {"Bearer hush"}
    assert b"hush" not in (found.files / "remote.json").read_bytes()


@pytest.mark.parametrize(
    ("url", "content"),
    [
        ("http://far:8000/v2/models/fraud", {"protocol": "oip", "urls": ["http://far:8000"], "model": "fraud"}),
        (
            "https://far/api/v2/models/a%20b/versions/3/",
            {"protocol": "oip", "urls": ["https://far/api"], "model": "a b", "version": "3"},
        ),
        ("http://far/v1/models/fraud", {"protocol": "tfs", "urls": ["http://far"], "model": "fraud"}),
        ("grpcs://far:9000/fraud", {"protocol": "oip-grpc", "urls": ["grpcs://far:9000"], "model": "fraud"}),
    ],
)
def test_an_address_is_a_description(tmp_path: Path, url: str, content: dict[str, object]) -> None:
    """The path of a URL says protocol, model and version."""
    assert msgspec.yaml.decode(local(url, tmp_path).read_bytes()) == content


@pytest.mark.parametrize("url", ["http://far/score", "ftp://far/v2/models/m", "http://far/v2/models/m?x=1", "://"])
def test_other_addresses_need_a_description(tmp_path: Path, url: str) -> None:
    """The error shows the forms that are known."""
    with pytest.raises(InvalidInput) as raised:
        local(url, tmp_path)
    assert raised.value.found == url
    assert "/v2/models/NAME" in str(raised.value.expected)


# --- what is refused ------------------------------------------------------------------------------------


def test_nobody_there_is_no_import(tmp_path: Path) -> None:
    """The error is the connection's."""
    error = refusal(described(tmp_path, f"http://127.0.0.1:{free_port()}"))
    assert isinstance(error, Unavailable)
    assert "refused" in str(error)


def test_addresses_must_serve_the_same_model(peer: Peer, tmp_path: Path) -> None:
    """Found and expected are both signatures."""
    with Peer() as other:
        other.metadata["inputs"][0]["shape"] = [-1, 3]
        error = refusal(described(tmp_path, peer.url, other.url))
    assert isinstance(error, InvalidInput)
    assert error.where == other.url
    assert "x: FP32[-1, 3]" in str(error.found)
    assert "x: FP32[-1, 2]" in str(error.expected)


def test_a_declared_signature_must_be_the_servers(peer: Peer, tmp_path: Path) -> None:
    """The place is the line of the description that is not fulfilled."""
    inputs = [{"name": "x", "datatype": "FP64", "shape": [-1, 2]}]
    outputs = [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}]
    error = refusal(described(tmp_path, peer.url, signature={"inputs": inputs, "outputs": outputs}))
    assert str(error.where).endswith("far.yaml: signature.inputs[0]")
    assert error.found == "x: FP32[-1, 2]"
    assert error.expected == "x: FP64[-1, 2]"


@pytest.mark.parametrize(
    "metadata",
    [{"hello": 1}, b"<html>", {"inputs": [{"name": "x", "datatype": "COMPLEX", "shape": []}], "outputs": []}],
)
def test_a_server_of_another_kind_is_recognised(peer: Peer, tmp_path: Path, metadata: object) -> None:
    """What does not describe itself as the protocol says is no remote of it."""
    peer.metadata = metadata
    error = refusal(described(tmp_path, peer.url))
    assert isinstance(error, RemoteFailed)
    assert error.where == peer.url


def test_a_made_up_sample_that_is_refused_asks_for_a_real_one(peer: Peer, tmp_path: Path) -> None:
    """The server's words, and what to do."""
    peer.step = says(400, {"error": "no such colour"})
    error = refusal(described(tmp_path, peer.url))
    assert isinstance(error, InvalidInput)
    assert "--sample" in error.message
    assert "no such colour" in str(error.found)


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"urls": ["ftp://far"]}, "urls[0]"),
        ({"urls": []}, "urls"),
        ({"protocol": "smoke"}, "protocol"),
        ({"model": ""}, "model"),
        ({"protocol": "http"}, "signature"),
        ({"protocol": "oip-grpc"}, "urls[0]"),
        ({"http": {"colour": "red"}}, "http"),
        ({"timeout_ms": 0}, "timeout_ms"),
        ({"retry_share": 2}, "retry_share"),
        ({"colour": "red"}, "far.yaml"),
        ({"headers": {"Authorization": "Bearer hush"}}, "headers.Authorization"),
        ({"signature": {"inputs": 1}}, "signature"),
        ({"headers": {"x-note": "two\nlines"}}, "headers.x-note"),
        ({"headers": {"x note": "1"}}, "headers"),
    ],
)
def test_what_is_wrong_with_a_description_has_a_place(tmp_path: Path, fields: dict[str, object], place: str) -> None:
    """The file and the field; a secret in it is not repeated."""
    error = refusal(described(tmp_path, "http://127.0.0.1:1", **fields))
    assert isinstance(error, InvalidInput)
    assert str(error.where).endswith(place)
    assert "hush" not in str(error)
