"""The description of a remote model: where it is, what is spoken there, and how much is asked of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta

from kaname.errors import CorruptData, InvalidInput
from kaname.settings import Count, Share
from kaname.signature import Signature

Protocol = Literal["oip", "oip-grpc", "tfs", "tfs-grpc", "http"]
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)
OVER_GRPC = frozenset({"oip-grpc", "tfs-grpc"})
HEADER_VALUE = "one line of ASCII characters"
SECRET = frozenset({"authorization", "cookie", "proxy-authorization"})
_GRPC = ("grpc", "grpcs")
_HTTP = ("http", "https")


class Rows(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How rows travel over `http`: `{ROWS: [row, …]}` there, `{ANSWERS: [row, …]}` back."""

    rows: str = "instances"
    """Name of the rows in a request."""
    answers: str = "predictions"
    """Name of the rows in an answer; empty: the answer is the list of them."""
    named: bool = False
    """Whether the row of a model with one input is an object, too."""
    more: dict[str, Any] = {}
    """What else each request says."""
    ready: str | None = None
    """Path of the server that answers 2xx while it is ready; None: it is enough that somebody listens."""


class Remote(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a person writes, in YAML; the artefact of the version holds the same as JSON."""

    protocol: Protocol
    """`oip`: the Open Inference Protocol v2 over HTTP, `oip-grpc`: over gRPC; `tfs`: the REST API of TensorFlow
    Serving, `tfs-grpc`: its gRPC services; `http`: an endpoint that takes rows."""
    urls: Annotated[tuple[str, ...], Meta(min_length=1)]
    """Where the server answers, over `http` with the path of the endpoint; several addresses of equal servers share the
    requests."""
    model: str = ""
    """Its name there."""
    version: str | None = None
    """Its version there; None: the one that answers."""
    timeout_ms: Count = 10_000
    """Longest time for an answer, retries included; the deadline of a request is kept where it is nearer."""
    connections: Count = 8
    """Requests that a worker sends at once, each over a connection that is kept."""
    batch_rows: Count = 1
    """Most rows that are put together in one request; 1: the server makes its own batches."""
    retry_share: Share = 0.2
    """Retries as a share of requests."""
    retries_per_s: Annotated[float, Meta(ge=0)] = 3.0
    """Retries per second beside that share; at most ten retries are saved up."""
    probe_ms: Annotated[float, Meta(ge=50)] = 2_000
    """Pause between two questions whether an address is ready."""
    eject_failures: Count = 3
    """Failures in a row after which an address is left out until it is ready again."""
    headers: dict[Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]+$")], str] = {}
    """Sent with every request. A secret is none of them: it belongs to the setting `remotes`."""
    binary: bool | None = None
    """Whether tensors travel in binary; None: where the server says that it can."""
    signature_name: str = "serving_default"
    """Over `tfs` and `tfs-grpc`: which of the model's signatures."""
    http: Rows = Rows()
    """How rows travel over `http`."""
    signature: dict[str, Any] | None = None
    """Inputs and outputs; None: as the server describes them."""
    labels: dict[str, tuple[str, ...]] = {}
    """Of an output with a column per class: the names of the classes."""

    def declared(self, where: str) -> Signature | None:
        """The signature as the description has it. Raises InvalidInput."""
        if self.signature is None:
            return None
        try:
            return msgspec.convert({"task": "other", **self.signature}, Signature)
        except msgspec.ValidationError as error:
            raise InvalidInput(f"not a signature: {error}", where=f"{where}: signature") from None


def read(file: Path) -> Remote:
    """The description that a person wrote. Raises InvalidInput with the name of the file and of the field."""
    try:
        found = msgspec.yaml.decode(file.read_bytes(), type=Remote)
    except msgspec.ValidationError as error:
        what, _, place = str(error).partition(" - at `")
        field = place.rpartition("$")[2].strip("`.")
        raise InvalidInput(
            f"not a description of a remote model: {what}", where=f"{file}: {field}" if field else str(file)
        ) from None
    except (msgspec.MsgspecError, UnicodeDecodeError, OSError) as error:
        raise InvalidInput(f"the file cannot be read: {error}", where=str(file)) from None
    check(found, str(file))
    return found


def check(remote: Remote, where: str) -> None:
    """What the types of a description cannot say. Raises InvalidInput."""
    schemes = _GRPC if remote.protocol in OVER_GRPC else _HTTP
    for i, url in enumerate(remote.urls):
        if url.partition("://")[0] not in schemes or "?" in url or "#" in url:
            expected = " or ".join(f"{scheme}://HOST[:PORT]" for scheme in schemes)
            place = f"{where}: urls[{i}]"
            raise InvalidInput("no address for this protocol", where=place, found=url, expected=expected)
    if not remote.model and remote.protocol != "http":
        raise InvalidInput("which model of the server?", where=f"{where}: model", expected="its name there")
    if remote.signature is None and remote.protocol == "http":
        expected = "inputs and outputs: this protocol has no words for them"
        raise InvalidInput("which tensors does the model take?", where=f"{where}: signature", expected=expected)
    for name in remote.headers:
        if name.lower() in SECRET:
            place = f"{where}: headers.{name}"
            raise InvalidInput("a secret is not part of a description", where=place, expected="the setting `remotes`")
        if not is_header_value(remote.headers[name]):
            raise InvalidInput("not the value of a header", where=f"{where}: headers.{name}", expected=HEADER_VALUE)
    remote.declared(where)


def is_header_value(text: str) -> bool:
    """Whether HTTP and gRPC carry it as it is."""
    return text.isascii() and text.isprintable()


def parse(file: Path) -> Remote:
    """The description in an artefact. Raises CorruptData."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=Remote)
    except (msgspec.MsgspecError, UnicodeDecodeError, OSError) as error:
        raise CorruptData(f"not the description of a remote model: {error}", where=str(file)) from error
