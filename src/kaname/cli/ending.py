"""What is let go of when a command ends: before the process does, when drivers of stores have ended their threads."""

from __future__ import annotations

from contextlib import ExitStack

ending = ExitStack()
"""The last that was opened goes first."""
