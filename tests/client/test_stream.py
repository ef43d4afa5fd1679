"""Streams of the client against a real server."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from kaname.client import Client, Prediction
from kaname.errors import InvalidInput, KanameError, NotFound, Unauthenticated, Unavailable
from tests.processes import until
from tests.serving.world import World

ROW: list[Any] = [5.1, 3.5, 1.4, "red"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with World(tmp_path_factory.mktemp("stream")) as made:
        yield made


@pytest.fixture
def client(world: World) -> Iterator[Client]:
    host, port = world.addresses["own"]
    with Client(f"http://{host}:{port}", key=world.key, timeout_s=20) as client:
        yield client


def senders() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "kaname-lines"]


def test_rows_are_answered_in_order_and_a_bad_one_in_its_place(client: Client) -> None:
    """More rows than fit into anything, one in ten of them wrong."""
    rows = ([float(n), None, 1, "red" if n % 10 else "sky"] for n in range(5000))
    answers = list(client.stream("flowers", rows, version=1))
    assert len(answers) == 5000
    for n, answer in enumerate(answers):
        if n % 10:
            assert isinstance(answer, Prediction)
            assert answer.request_id.endswith(f"-{n + 1}")
        else:
            assert isinstance(answer, InvalidInput)
            assert answer.where == "features.colour"


def test_rows_without_end_are_read_as_far_as_somebody_listens(client: Client) -> None:
    """The iterator may be left at any time; the thread that reads the rows ends with it."""
    answers = client.stream("flowers", itertools.repeat(ROW))
    first = list(itertools.islice(answers, 100))
    assert all(isinstance(answer, Prediction) for answer in first)
    assert senders()
    answers.close()  # type: ignore[attr-defined]  # a generator
    until(lambda: not senders(), "the thread ends")


def test_a_refused_stream_raises(client: Client, world: World) -> None:
    """What is wrong with the whole of it is no answer to a row."""
    with pytest.raises(NotFound) as unknown:
        list(client.stream("flower", [ROW]))
    assert "flowers" in str(unknown.value.expected)
    host, port = world.addresses["own"]
    with Client(f"http://{host}:{port}") as stranger, pytest.raises(Unauthenticated):
        list(stranger.stream("flowers", [ROW]))
    with Client("http://127.0.0.1:1") as nobody, pytest.raises(Unavailable):
        list(nobody.stream("flowers", [ROW]))


def test_what_the_rows_raise_comes_out(client: Client) -> None:
    """A fault of the caller's own reaches the caller."""

    def rows() -> Iterator[list[Any]]:
        yield ROW
        raise FileNotFoundError("no more rows")

    found: list[Prediction | KanameError] = []
    with pytest.raises(FileNotFoundError, match="no more rows"):
        found.extend(client.stream("flowers", rows()))
    until(lambda: not senders(), "the thread ends")
