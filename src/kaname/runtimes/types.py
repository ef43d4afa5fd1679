"""What executes an artefact, and what is known about how it does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

import msgspec

from kaname.errors import KanameError
from kaname.settings import Device, InferenceSettings, RemoteSettings
from kaname.signature import Signature
from kaname.tensors import Tensor


class Session(Protocol):
    """One loaded version. Used by one thread at a time."""

    def run(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Outputs in the signature's order for inputs in the signature's order.

        Inputs have the signature's dtypes and are C-contiguous; outputs are fresh arrays that the session
        does not touch again. Raises whatever the runtime raises; the caller maps it.
        """

    def close(self) -> None:
        """Release the memory; the session is not used afterwards."""


@runtime_checkable
class Streaming(Session, Protocol):
    """A session that can also answer piece by piece."""

    streams: bool
    """Whether this version does."""

    def stream(self, inputs: tuple[Tensor, ...]) -> Iterator[tuple[Tensor, ...]]:
        """Outputs as `run` gives them, again and again; each time as far as the answer has come.

        Called from threads of their own, several at a time and beside `run`.
        """


class Told(Protocol):
    """Hears what becomes of the requests to each address of a remote model; from any thread."""

    def asked(self, address: str, code: str) -> None:
        """An attempt has ended: `ok`, or the code of an error."""

    def again(self, address: str) -> None:
        """A request that failed at this address is asked once more."""

    def health(self, address: str, ready: bool) -> None:
        """Whether the address takes part from now on."""


@runtime_checkable
class Elsewhere(Session, Protocol):
    """A session whose work another machine does: its runs wait, several at a time, and nothing is computed here."""

    concurrency: int
    """Most runs at once."""

    def ask(self, inputs: tuple[Tensor, ...], deadline_ns: int) -> tuple[Tensor, ...]:
        """`run` until a moment of the monotonic clock (0: no such moment). Raises KanameErrors, for callers to see."""

    @property
    def trouble(self) -> KanameError | None:
        """Why it cannot be asked now; None: it can."""

    def tell(self, told: Told) -> None:
        """Have `told` hear of every attempt, and of each address: how it is now, and when that changes."""


class SessionOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a session may use the machine."""

    threads: int = 1
    """Intra-op threads; with one, batched results equal single ones bit for bit for float models."""
    device: Device = "cpu"
    """Where models of ONNX, PyTorch and TensorFlow run."""
    device_bytes: int = 0
    """Most of the device's memory that a session takes; 0: what there is."""
    remotes: tuple[RemoteSettings, ...] = ()
    """What the servers of remote models are shown."""


PLAIN = SessionOptions()
"""One thread of the processor."""


def session_options(settings: InferenceSettings, remotes: tuple[RemoteSettings, ...] = ()) -> SessionOptions:
    """How sessions use the machine, and other machines, by a project's settings."""
    return SessionOptions(
        threads=settings.threads, device=settings.device, device_bytes=settings.device_bytes, remotes=remotes
    )


class Runtime(Protocol):
    """Opens sessions of one kind."""

    name: str
    """A name of the catalogue: `onnx`, `lightgbm`, …"""

    def open(self, path: Path, signature: Signature, options: SessionOptions) -> Session:
        """Load the model file at `path`.

        Raises MissingDependency, or CorruptData when the file cannot be loaded.
        """


@runtime_checkable
class Beginning(Runtime, Protocol):
    """A runtime that has something to begin before its first session, which is then no part of that session."""

    def begin(self, options: SessionOptions) -> None:
        """Begin to use the device that sessions with `options` run on. Raises Unavailable where it cannot be used."""


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """How a version's time depends on the batch size, measured on the machine that imported it.

    `rows[i]` rows took `us[i]` microseconds per run (median). `best_rows` minimises time per row.
    `exact`: every output of a batch equals, bit for bit, that of its rows alone. `splits`: outputs have one
    row per input row and rows do not influence each other beyond rounding. `session_bytes`: what a session left in
    memory; 0: not measured. `device`: where it ran. `device_bytes`: what the session left in the device's own memory.
    """

    rows: tuple[int, ...]
    us: tuple[float, ...]
    best_rows: int
    exact: bool
    splits: bool
    session_bytes: int = 0
    device: Device = "cpu"
    device_bytes: int = 0

    def us_at(self, rows: int) -> float:
        """Microseconds of one run with `rows` rows: interpolated between, extrapolated beyond the measured sizes."""
        sizes, times = self.rows, self.us
        for i in range(1, len(sizes)):
            if rows <= sizes[i]:
                share = (rows - sizes[i - 1]) / (sizes[i] - sizes[i - 1])
                return times[i - 1] + share * (times[i] - times[i - 1])
        return times[-1] * rows / sizes[-1] if rows > sizes[-1] else times[0]
