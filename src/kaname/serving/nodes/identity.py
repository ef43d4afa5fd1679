"""Who this node is among those of one database: a name of its own, drawn once per project folder."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

FILE = "node"


def node_id(data: Path) -> str:
    """The id of the node whose data folder this is: sixteen hexadecimal digits, the same at every call."""
    path = data / FILE
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        fresh = path.with_name(f"{FILE}.{os.getpid()}")
        fresh.write_text(secrets.token_hex(8))
        try:
            path.hardlink_to(fresh)  # atomic: of two that start at once one wins
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
        return path.read_text().strip()
