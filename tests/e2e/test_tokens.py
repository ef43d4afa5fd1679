"""Signed tokens in the place of API keys, on every door of a real server."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import jwt
import msgspec
import numpy
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from tests.access.issuer import Issuer
from tests.e2e.conftest import Serve
from tests.e2e.server import ROW, Server, predict, tail
from tests.processes import until
from tests.serving.grpc.conftest import hold_port

pytestmark = pytest.mark.slow

OIP = {"inputs": [{"name": "input", "shape": [1, 4], "datatype": "FP32", "data": [5.1, 3.5, 1.4, 0.2]}]}


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    """An issuer whose keys are in a file."""
    return Issuer(tmp_path / "jwks.json")


@pytest.fixture
def port() -> Iterator[int]:
    """A port for gRPC."""
    with hold_port() as held:
        yield int(held.getsockname()[1])


def trusting(issuer: Issuer, **changed: Any) -> dict[str, str]:
    """The environment of a server that trusts the issuer."""
    declared = msgspec.json.encode([issuer.trusted(leeway_ms=0, **changed)]).decode()
    return {"KANAME_ACCESS__TOKENS": declared}


def fresh(issuer: Issuer, seconds: float = 600.0, **claims: Any) -> str:
    """A token of now."""
    now = time.time()
    return issuer.token(**{"iat": int(now), "exp": now + seconds, **claims})


def infer(port: int, token: str) -> str:
    """One prediction over gRPC; the status."""
    rows = triton.InferInput("input", [1, 4], "FP32")
    rows.set_data_from_numpy(numpy.array([ROW["input"]], numpy.float32))
    with triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
        try:
            client.infer("iris", [rows], headers={"authorization": f"Bearer {token}"})
        except InferenceServerException as error:
            return str(error.status())
    return "OK"


def test_a_token_is_as_good_as_a_key_on_every_door(serve: Serve, issuer: Issuer, port: int) -> None:
    """/api, /v1, /v2, streams, gRPC and batch jobs; limits and the record know the subject, the journal who it was."""
    server = serve(KANAME_SERVER__GRPC_PORT=str(port), **trusting(issuer))
    token = fresh(issuer, scope="predict:iris write")
    with server.client(token) as client:
        assert predict(client).status_code == 200
        assert client.post("/v2/models/iris/infer", json=OIP).status_code == 200
        assert client.post("/v1/models/iris:predict", json={"instances": [ROW["input"]]}).status_code == 200
        lines = client.post("/api/v1/models/iris/predict/stream", content=msgspec.json.encode({"features": ROW}))
        assert '"prediction"' in lines.text
        assert infer(port, token) == "OK"
        job = client.post(
            "/api/v1/models/iris/batch-jobs?input_format=csv",
            content="input[0],input[1],input[2],input[3]\n5.1,3.5,1.4,0.2\n",
            headers={"content-type": "text/csv", "idempotency-key": "x"},
        )
        assert job.status_code == 201, job.text
        assert client.get(f"/api/v1/batch-jobs/{job.json()['id']}").status_code == 200
        assert client.post("/api/v1/models/iris/unload").status_code in (200, 202)
        assert client.get("/api/v1/keys").status_code == 403
        changes = client.get("/api/v1/changes?limit=1000").json()["items"]
    assert "key:corp:alice" in {change["who"] for change in changes}
    assert {event["key_id"] for event in tail(server)} == {"corp:alice"}
    assert server.predict(key=token[:-4] + "AAAA").status_code == 401
    assert infer(port, token[:-4] + "AAAA") == "StatusCode.UNAUTHENTICATED"
    assert token not in server.log()


def test_an_expired_token_is_refused_within_a_second(serve: Serve, issuer: Issuer, port: int) -> None:
    """On connections whose heads are remembered, too."""
    server = serve(KANAME_SERVER__GRPC_PORT=str(port), **trusting(issuer))
    ends = time.time() + 3.0
    token = issuer.token(iat=int(ends) - 5, exp=ends)
    rows = triton.InferInput("input", [1, 4], "FP32")
    rows.set_data_from_numpy(numpy.array([ROW["input"]], numpy.float32))
    with server.client(token) as client, triton.InferenceServerClient(f"127.0.0.1:{port}") as caller:
        headers = {"authorization": f"Bearer {token}"}
        answers = [predict(client).status_code for _ in range(20)]
        caller.infer("iris", [rows], headers=headers)
        assert set(answers) == {200}
        until(lambda: predict(client).status_code == 401, "the token is refused over HTTP")
        late_s = time.time() - ends
        assert -0.1 < late_s < 1.0
        with pytest.raises(InferenceServerException) as caught:
            caller.infer("iris", [rows], headers=headers)
        assert str(caught.value.status()) == str(grpc.StatusCode.UNAUTHENTICATED)


def _token(server: Server, client: tuple[str, str], **form: str) -> str:
    answer = httpx.post(
        f"{server.url}/oauth/token", data={"grant_type": "client_credentials", **form}, auth=client, trust_env=False
    )
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])


def test_the_servers_own_tokens_hold_at_every_worker_and_end_with_their_key(serve: Serve) -> None:
    """Issued by one, good at all; narrowed; rotated without a refusal; gone with the key that they stand for."""
    server = serve(workers=2, KANAME_ACCESS__OAUTH__ENABLED="true")
    made = msgspec.json.decode(server.run("key", "create", "-s", "predict:iris", "-s", "read", "--json").out)
    shop = made["info"]["id"], made["key"]
    until(lambda: {server.predict(key=shop[1]).status_code for _ in range(16)} == {200}, "both workers know the key")
    token = _token(server, shop, scope="predict:iris")
    assert {server.predict(key=token).status_code for _ in range(20)} == {200}
    with server.client(token) as client:
        assert client.get("/metrics").status_code == 403
        said = server.run("token", "rotate-key").out
        answers: set[int] = set()

        def rotated() -> bool:
            newest = _token(server, shop)
            answers.update(server.predict(key=key).status_code for key in (token, newest) for _ in range(4))
            return _kid(newest) in said

        until(rotated, "the new key signs")
        assert answers == {200}
        assert "kept until" in server.run("token", "keys").out
        server.run("key", "revoke", shop[0])
        until(lambda: predict(client).status_code == 401, "the token ends with its key", 1.0)
    assert token not in server.log()
    assert made["key"] not in server.log()


def _kid(token: str) -> str:
    return str(jwt.get_unverified_header(token)["kid"])
