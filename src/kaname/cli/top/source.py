"""Where the figures come from: the files of the project's own server, or another server over HTTP."""

from __future__ import annotations

from typing import Protocol
from urllib.parse import urlencode

import msgspec

from kaname.cli.asking import address_of
from kaname.cli.residency import accounts
from kaname.cli.top.counts import parse
from kaname.cli.top.figures import Sample
from kaname.client import Client
from kaname.clock import Clock
from kaname.errors import KanameError
from kaname.project import Project
from kaname.serving.residency.account import summed
from kaname.serving.residency.api import ResidencyPage
from kaname.telemetry.metrics import expose

PAGE = 1000
"""Versions asked for at a time."""


class Source(Protocol):
    """A server that can be looked at."""

    def look(self) -> Sample:
        """What it says now. Raises a KanameError when it says nothing."""


class Own:
    """The project's own server: needs no key, and sees it even while it answers nobody."""

    def __init__(self, project: Project, clock: Clock) -> None:
        self._project = project
        self._clock = clock

    def look(self) -> Sample:
        slots, workers = accounts(self._project)
        at_us, at_ns = self._clock.time_ns() // 1000, self._clock.monotonic_ns()
        text = expose(self._project.data / "metrics", slots)
        return Sample(
            server=address_of(self._project),
            at_us=at_us,
            at_ns=at_ns,
            counts=parse(text),
            workers=workers,
            versions=summed(workers),
            silent=sorted(set(slots) - {worker.slot for worker in workers}),
        )


class Other:
    """A server anywhere, whose key has the scope `read`."""

    def __init__(self, url: str, client: Client, clock: Clock) -> None:
        self._url = url
        self._client = client
        self._clock = clock

    def look(self) -> Sample:
        pages = self._pages()
        at_us, at_ns = self._clock.time_ns() // 1000, self._clock.monotonic_ns()
        text = self._client.get("/metrics").decode("utf-8", "replace")
        return Sample(
            server=self._url,
            at_us=at_us,
            at_ns=at_ns,
            counts=parse(text),
            workers=pages[0].workers,
            versions=[version for page in pages for version in page.items],
        )

    def _pages(self) -> list[ResidencyPage]:
        pages: list[ResidencyPage] = []
        after: str | None = ""
        while after is not None:
            query = urlencode({"limit": PAGE, "after": after})
            pages.append(_page(self._client.get(f"/api/v1/residency?{query}")))
            after = pages[-1].next
        return pages


def _page(body: bytes) -> ResidencyPage:
    try:
        return msgspec.json.decode(body, type=ResidencyPage)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise KanameError("the server's answer is not what this release knows", found=str(error)) from error
