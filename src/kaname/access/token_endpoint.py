"""The token endpoint of a server, where it is switched on: its libraries are loaded only then."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from starlette.routing import BaseRoute

from kaname.call import Principal
from kaname.clock import Clock
from kaname.settings import AccessSettings
from kaname.web.resources import Resource


def routes(
    settings: AccessSettings, data: Path, authenticate: Callable[[bytes | None], Principal], clock: Clock
) -> list[BaseRoute]:
    """Its URLs; none while it is off. Raises MissingDependency without the extra `security`."""
    if not settings.oauth.enabled:
        return []
    from kaname.access.bearer import signing_keys
    from kaname.access.oauth import OAuth

    return OAuth(settings.oauth, signing_keys(settings, data, clock), authenticate, clock).routes()


def resources(settings: AccessSettings) -> list[Resource]:
    """The same, documented."""
    if not settings.oauth.enabled:
        return []
    from kaname.access.oauth_documented import resources as documented

    return documented()
