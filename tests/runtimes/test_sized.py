"""Sessions of a few sizes: every number of rows gets the answers of the plain session."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kaname.errors import Unavailable
from kaname.runtimes.catalog import open_session
from kaname.runtimes.sized import SIZES, SizedSession, sized
from kaname.runtimes.types import PLAIN, Session
from kaname.tensors import Tensor
from tests.runtimes import graphs


class Small:
    """A session whose memory holds `most` rows, and which notes how many it was given."""

    def __init__(self, session: Session, most: int, seen: list[int]) -> None:
        self._session, self._most, self._seen = session, most, seen
        self.closed = False

    def run(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        if len(inputs[0]) > self._most:
            raise Unavailable("full")
        self._seen.append(len(inputs[0]))
        return self._session.run(inputs)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def plain(tmp_path: Path) -> Session:
    path = graphs.doubled(tmp_path / "doubled.onnx")
    return open_session("onnx", path, graphs.signature_of(path), PLAIN)


def made(plain: Session, most: int) -> tuple[SizedSession, list[int], list[Small]]:
    seen: list[int] = []
    opened: list[Small] = [Small(plain, most, seen)]

    def again() -> Session:
        opened.append(Small(plain, most, seen))
        return opened[-1]

    return SizedSession(opened[0], again), seen, opened


@pytest.mark.parametrize("rows", [1, 2, 4, 5, 16, 63, 64, 65, 200])
def test_any_number_of_rows(plain: Session, rows: int) -> None:
    """Filled up to a size, or divided; only sizes are ever run, and the answers are those of the rows alone."""
    session, seen, _ = made(plain, 64)
    x = np.random.default_rng(rows).normal(size=(rows, 4)).astype(np.float32)
    (found,) = session.run((x,))
    assert found.tobytes() == plain.run((x,))[0].tobytes()
    assert set(seen) <= set(SIZES)


def test_each_size_has_a_session_of_its_own_that_is_closed(plain: Session) -> None:
    """Opened when it is first asked for, and once; the first is the one that was there."""
    session, _, opened = made(plain, 64)
    for rows in (1, 16, 1, 10, 16):
        session.run((np.ones((rows, 4), np.float32),))
    assert len(opened) == 2
    session.close()
    assert all(one.closed for one in opened)


def test_a_size_that_does_not_fit_is_given_up(plain: Session) -> None:
    """Rows beyond are answered in parts from then on; not even one row is an error."""
    session, seen, _ = made(plain, 16)
    x = np.random.default_rng(2).normal(size=(40, 4)).astype(np.float32)
    assert session.run((x,))[0].tobytes() == (x + x).tobytes()
    assert (session.sizes, set(seen)) == ([1, 4, 16], {16})
    with pytest.raises(Unavailable):
        made(plain, 0)[0].run((x[:3],))


def test_the_processor_takes_any_number_as_it_is(tmp_path: Path) -> None:
    """Nothing is planned there: the session itself."""
    path = graphs.doubled(tmp_path / "doubled.onnx")
    session = open_session("onnx", path, graphs.signature_of(path), PLAIN)
    assert sized(session, graphs.signature_of(path)) is session
