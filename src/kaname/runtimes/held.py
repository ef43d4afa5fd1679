"""A session that lets go of its artefact's files when it is closed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from kaname.runtimes.types import Session
from kaname.storage.blobs.types import Held
from kaname.tensors import Tensor


class _HeldSession:
    """Runs as the session itself does: its `run` is the session's own."""

    def __init__(self, session: Session, held: Held) -> None:
        self._session = session
        self._held = held
        self.run: Callable[[tuple[Tensor, ...]], tuple[Tensor, ...]] = session.run

    def __getattr__(self, name: str) -> Any:  # what only some sessions have
        return getattr(self._session, name)

    def close(self) -> None:
        """See `Session.close`; the files are let go of on a thread, since that may wait for other processes."""
        del self.run
        self._session.close()
        threading.Thread(target=self._held.release, name="kaname-release", daemon=True).start()


def held_by(session: Session, held: Held) -> Session:
    """The session, which from now on holds the artefact's files until it is closed."""
    return _HeldSession(session, held) if held.counts else session
