"""Sessions on remote models, and what they are asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from kaname.errors import KanameError
from kaname.runtimes.remote.description import Remote
from kaname.runtimes.remote.session import RemoteSession
from kaname.runtimes.types import SessionOptions
from kaname.signature import OutputSpec, Signature
from kaname.tensors import Tensor, TensorSpec

from .peer import SIGNATURE

ROWS: Tensor = np.random.default_rng(5).normal(size=(50, 2)).astype(np.float32)
TWICE: Tensor = ROWS * np.float32(2)
TEXTS = Signature(
    task="other",
    inputs=(TensorSpec(name="t", datatype="BYTES", shape=(-1,)),),
    outputs=(OutputSpec(name="t", datatype="BYTES", shape=(-1,)),),
)
BYTES: Tensor = np.array([b"plain", b"\x00\xff"], dtype=object)
Connect = Callable[..., RemoteSession]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Opens sessions; all are closed at the end."""
    opened: list[RemoteSession] = []

    def open_(protocol: str, url: str, signature: Signature = SIGNATURE, **fields: Any) -> RemoteSession:
        remote = Remote(**{"protocol": protocol, "urls": (url,), "model": "m", "probe_ms": 50, **fields})
        opened.append(RemoteSession(remote, signature, SessionOptions()))
        return opened[-1]

    yield open_
    for session in opened:
        session.close()


def failure(session: RemoteSession, inputs: Tensor = ROWS) -> KanameError:
    """The error that a request ends in."""
    with pytest.raises(KanameError) as raised:
        session.run((inputs,))
    return raised.value
