"""What the parts of a remote model hand to each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from kaname.errors import KanameError
from kaname.tensors import Tensor, TensorSpec

Tensors = tuple[Tensor, ...]


class Trouble(Exception):
    """One attempt has failed.

    `error` is what a caller is told. `again`: the server cannot have begun to answer, so asking once more is safe.
    `blame`: it speaks against the address, not against the request.
    """

    def __init__(self, error: KanameError, *, again: bool = False, blame: bool = False) -> None:
        super().__init__(str(error))
        self.error = error
        self.again = again
        self.blame = blame


class Described(NamedTuple):
    """What a server says of its model."""

    inputs: Sequence[TensorSpec]
    outputs: Sequence[TensorSpec]
    binary: bool
    """Whether it takes and gives tensors in binary."""


class Link(Protocol):
    """One address of a remote model, spoken to in its protocol. May be used by several threads."""

    address: str

    def infer(self, inputs: Tensors, timeout_s: float) -> Tensors:
        """Outputs for inputs, both in the order of the signature. Raises Trouble."""

    def probe(self, timeout_s: float) -> None:
        """Return when the model is ready there. Raises Trouble, whose error says why it is not."""

    def described(self, timeout_s: float) -> Described | None:
        """What the server says of the model; None: the protocol has no words for it. Raises Trouble."""

    def close(self) -> None:
        """Close the connections."""
