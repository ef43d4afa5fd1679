"""What `kaname doctor` says: one line per question."""

from __future__ import annotations

from typing import Literal

import msgspec

Level = Literal["ok", "warn", "fail"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the doctor's report."""

    subject: str
    level: Level
    found: str
    advice: str = ""
    """What to do; empty when all is well."""
