"""Begins to know signed tokens where they are accepted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kaname.clock import Clock
from kaname.settings import AccessSettings

if TYPE_CHECKING:
    from kaname.access.bearer import Tokens


async def started_tokens(access: AccessSettings, root: Path, data: Path, clock: Clock) -> Tokens | None:
    """What knows signed tokens; None where only API keys are accepted."""
    if not (access.tokens or access.oauth.enabled):
        return None
    from kaname.access.bearer import open_tokens  # with libraries that few projects need

    tokens = open_tokens(access, root, data, clock)
    await tokens.start()
    return tokens
