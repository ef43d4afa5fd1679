"""The document of the interface against a real server: schemathesis asks all of it, as described and as not.

Every answer must be one that the document describes, in status, media type and schema; nothing may be an error of the
server or hang.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import Serve
from tests.e2e.server import Server

pytestmark = [pytest.mark.slow, pytest.mark.serial]

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "allow_header_conformance",
    "ignored_auth",
)
CONFIG = """
hooks = "{hooks}"
[parameters]
"path.model" = "iris"
"path.version" = "1"
"path.label" = "stable"
"path.relation" = "order"
[[operations]]
include-operation-id-regex = "^(put|patch|delete|post.*(Load|Unload|Archive|Promote|Rollback|Versions|Optimize)$)"
parameters = {{ "path.model" = "spare" }}
"""
HOOKS = '''
import json

import schemathesis


@schemathesis.serializer("application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines")
def lines(context, value):
    """A body that is no JSON document but a sequence of them."""
    return value if isinstance(value, bytes) else json.dumps(value).encode()

'''
SCHEMA = """
define relation order { user_id string key, placed_at timestamp key, item string, price float64, tags json };
define schema by_user for order on cells("main") {
  table "t", row size{user_id}:placed_at, family "f", value pack[]
};
"""
SERVER_ERRORS = ("Traceback", "a fault inside the server")


def add_spare(server: Server) -> None:
    """A model that may be changed and deleted while `iris` answers."""
    server.run("model", "add", "spare", server.project / "models" / "iris.onnx")


def ask(server: Server, folder: Path, *options: str) -> str:
    """Run schemathesis over the whole document; returns what it printed."""
    key = server.run("key", "create", "--scope", "admin", "--json").json()["key"]
    (folder / "hooks.py").write_text(HOOKS)
    (folder / "schemathesis.toml").write_text(CONFIG.format(hooks=folder / "hooks.py"))
    command = [str(Path(sys.executable).parent / "schemathesis"), "--config-file", str(folder / "schemathesis.toml")]
    command += ["run", f"{server.url}/openapi.json", "-H", f"Authorization: Bearer {key}", "-c", ",".join(CHECKS)]
    command += [
        "--request-timeout",
        "10",
        "--warnings",
        "off",
        "--continue-on-failure",
        "--no-color",
        "--seed",
        "1",
        *options,
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout[-30_000:] + done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize("phases", ["examples,coverage", "fuzzing"])
def test_every_answer_is_documented(serve: Serve, project: Path, tmp_path: Path, phases: str) -> None:
    """Whatever is asked, valid or not: no server error, no undocumented answer, no hang; the server answers on."""
    (project / "features").mkdir()
    (project / "features" / "order.schema").write_text(SCHEMA)
    with serve(KANAME_ACCESS__OAUTH__ENABLED="true") as server:
        add_spare(server)
        ask(server, tmp_path, "--phases", phases, "-n", "10")
        assert server.predict().status_code == 200
        assert not [line for line in server.log().splitlines() if any(word in line for word in SERVER_ERRORS)]
