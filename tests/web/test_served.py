"""The same application behind a real server and a real socket."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import httpx
import pytest
import uvicorn

from kaname.ids import counting_ids
from kaname.web.hosts import Guarded, HostGuard
from tests.web.notes import Notes


@pytest.fixture
def url(notes: Notes) -> Iterator[str]:
    """The application served by uvicorn on a free port."""
    app = Guarded(notes.app, HostGuard("127.0.0.1"), counting_ids("g-"))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    end = time.monotonic() + 20
    while not server.started and time.monotonic() < end:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def test_a_browser_and_a_client_are_served(notes: Notes, url: str) -> None:
    """Pages, resources, uploads, errors and the host check work over a socket, on one connection."""
    with httpx.Client(base_url=url, headers={"authorization": f"Bearer {notes.admin}"}) as client:
        assert client.get("/docs").headers["content-type"].startswith("text/html")
        assert client.post("/api/v1/notes", json={"name": "ä b"}).headers["location"] == "/api/v1/notes/%C3%A4%20b"
        assert client.get("/api/v1/notes/%C3%A4%20b").json()["name"] == "ä b"
        upload = client.post("/api/v1/files", content=b"x" * 2_000_000, headers={"content-type": ""})
        assert upload.json()["size"] == 2_000_000
        assert (
            client.post("/api/v1/notes", content=b"{", headers={"content-type": "application/json"}).status_code == 400
        )
        assert client.get("/api/v1/notes", headers={"host": "evil.example"}).status_code == 403
        assert client.get("/api/v1/notes", headers={"authorization": "Bearer nonsense"}).status_code == 401
        assert client.get("/api/v1/notes").status_code == 200


def test_a_client_that_leaves_in_the_middle_of_an_upload_leaves_nothing(notes: Notes, url: str) -> None:
    """Half a file is removed and the server goes on."""
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as connection:
        head = (
            "POST /api/v1/files HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2000000\r\n"
            f"authorization: Bearer {notes.admin}\r\n\r\n"
        )
        connection.sendall(head.encode() + b"x" * 1000)
        end = time.monotonic() + 10
        while not list(notes.site.spool.iterdir()) and time.monotonic() < end:
            time.sleep(0.01)
        assert list(notes.site.spool.iterdir())
    end = time.monotonic() + 10
    while list(notes.site.spool.iterdir()) and time.monotonic() < end:
        time.sleep(0.01)
    assert list(notes.site.spool.iterdir()) == []
    answer = httpx.get(f"{url}/api/v1/notes", headers={"authorization": f"Bearer {notes.admin}"})
    assert answer.status_code == 200
