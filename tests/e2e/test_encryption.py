"""Encryption at rest as an operator has it: keys in a file, a rotation beside the server, a key that is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.kaname import kaname
from tests.e2e.server import ROW, Server, new_project, tail

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]  # a dozen commands and two servers, on a busy machine
WORD = "a-request-that-nobody-else-may-see"


def everything(folder: Path) -> bytes:
    """Every byte below a folder."""
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def ask(server: Server, request_id: str) -> None:
    with server.client() as client:
        answer = client.post(
            "/api/v1/models/iris/predict", json={"features": ROW}, headers={"x-request-id": request_id}
        )
    assert answer.status_code == 200, answer.text


def test_keys_come_change_and_are_missed(tmp_path: Path) -> None:
    """Artefacts and record are unreadable on disk; a rotation needs no restart; afterwards the old key may go; without
    any key the error names the one that is needed. No key is ever printed."""
    project, keys = new_project(tmp_path / "project"), tmp_path / "keys"
    old, new = (kaname("encryption", "new-key", name).out.strip() for name in ("2025-11", "2026-11"))
    keys.write_text(old + "\n")
    with (project / "kaname.yaml").open("a") as file:
        file.write(f"\nencryption:\n  keys_file: {keys}\n")
    printed = []
    with Server(project) as server:
        ask(server, WORD)
        keys.write_text(f"{new}\n{old}\n")
        printed.append(server.run("encryption", "rotate").out)
        ask(server, f"{WORD}-later")
        assert len(tail(server)) == 2
        ask(server, f"{WORD}-again")
    for store in ("artefacts", "events"):
        raw = everything(project / ".kaname" / store)
        assert WORD.encode() not in raw
        assert b"pytorch" not in raw
        assert b"ai.onnx" not in raw
    printed.append(kaname("-C", project, "encryption", "rotate").out)
    keys.write_text(new + "\n")
    with Server(project) as server:
        ask(server, "afterwards")
        assert [event["request_id"] for event in tail(server)][:2] == [WORD, f"{WORD}-later"]
        status = server.run("encryption", "status")
        assert "2025-11" not in status.out
        printed += [status.out, server.run("settings").out, server.run("settings", "--json").out]
    keys.write_text(kaname("encryption", "new-key", "2027-11").out)
    refused = kaname("-C", project, "predictions", "tail")
    assert refused.code == 1
    assert "encrypted with the key 2026-11, which is not listed" in refused.err
    keys.write_text(new[:30])
    broken = kaname("-C", project, "model", "list")
    assert broken.code == 2
    printed += [refused.err, broken.err, Path(f"{project}.err").read_text(), Path(f"{project}.out").read_text()]
    seen = "".join(printed) + everything(project).decode(errors="replace")
    for line in (old, new):
        secret = line.partition(": ")[2]
        assert secret not in seen
        assert secret[:20] not in seen
