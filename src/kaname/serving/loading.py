"""Opens versions for a worker: verified, quarantine respected, warm."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import msgspec
import numpy as np

from kaname.call import Call, Principal
from kaname.errors import Unavailable
from kaname.inference.gather import gather_for, strict_context
from kaname.inference.residency import artefact_file
from kaname.models.types import VersionInfo
from kaname.runtimes.catalog import begin, open_session
from kaname.runtimes.held import held_by
from kaname.runtimes.sized import SizedSession, sized
from kaname.runtimes.types import Elsewhere, Session, SessionOptions
from kaname.serving.json_input import json_input
from kaname.storage.blobs.types import Held

WARM_RUNS = 3
_NOBODY = Principal("", "warm-up", may_predict=None, scopes=frozenset())


class ArtefactLoader:
    """`hold` gives the verified folder of an artefact, until the session is closed. `guarded` surrounds a load, so that
    a version that kills the process is known, and may wait for others that try it; `quarantined` are the versions that
    did so."""

    def __init__(
        self,
        hold: Callable[[str], Held],
        guarded: Callable[[int], AbstractContextManager[None]],
        quarantined: Callable[[], frozenset[int]],
        options: SessionOptions,
    ) -> None:
        self._hold = hold
        self._options = options
        self._guarded = guarded
        self._quarantined = quarantined

    def size(self, info: VersionInfo) -> int:
        """What a session took when the version was imported."""
        return info.profile.session_bytes

    def prepare(self, info: VersionInfo) -> None:
        """Import the library of the version's runtime, and begin to use the device."""
        begin(info.runtime, self._options)

    def starts_threads(self, info: VersionInfo) -> bool:
        """False for ONNX models that compute with one thread on the processor; of others nobody knows."""
        return info.runtime != "onnx" or self._options.threads != 1 or info.profile.device != "cpu"

    def open(self, info: VersionInfo) -> Session:
        """A session that has answered the version's own sample."""
        self._refuse_quarantined(info)
        with self._guarded(info.id):
            self._refuse_quarantined(info)  # what was found out while this worker waited
            held = self._hold(info.artefact)
            try:
                path = artefact_file(held.folder, info)
                session = open_session(info.runtime, path, info.signature, self._options)
                session = sized(session, info.signature) if info.profile.splits else session
                if not isinstance(session, Elsewhere):  # another machine keeps itself warm
                    warm(session, info)
            except BaseException:
                held.release()
                raise
        return held_by(session, held)

    def _refuse_quarantined(self, info: VersionInfo) -> None:
        if info.id in self._quarantined():
            raise Unavailable(
                "the version is quarantined: loading it ended a worker process twice",
                where=f"{info.model}@{info.version}",
                expected="another version promoted, or a restart of the server to try again",
            )


def warm(session: Session, info: VersionInfo) -> None:
    """Run the version's sample a few times, and in every size of the session. Raises what the session raises: a version
    that fails on its own sample is not put into service."""
    if info.sample is None:
        return
    call = Call("warm-up", _NOBODY, lambda _, __: None, rows=1)
    json_input(info.signature, 100_000).fill(call, msgspec.json.encode(info.sample))
    inputs, _ = strict_context().run(gather_for(info.signature), [call])
    for _ in range(WARM_RUNS):
        session.run(inputs)
    for size in tuple(session.sizes) if isinstance(session, SizedSession) else ():
        session.run(tuple(np.repeat(x, size, axis=0) for x in inputs))
