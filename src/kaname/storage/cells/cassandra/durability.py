"""Whether nodes have on their disks what they confirm."""

from __future__ import annotations

from kaname.errors import Unavailable
from kaname.storage.cells.cassandra.driver import Session

PERIODIC = (
    "confirms writes before they are on its disk (commitlog_sync: periodic): when it is killed or loses power,"
    " the last seconds of them are gone"
)


def danger_of(session: Session) -> str:
    """What is dangerous about the node that is asked; nothing where all is well, or where it does not say."""
    try:
        sync = session.run("SELECT value FROM system_views.settings WHERE name = 'commitlog_sync'")
    except Unavailable:  # before release 4.0 there is no such table
        return ""
    return PERIODIC if sync == [("periodic",)] else ""
