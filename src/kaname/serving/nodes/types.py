"""Facts about the nodes of a cluster."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

NodeState = Literal["ready", "behind", "gone"]
LIVE_US = 5_000_000
"""A node that was last seen before is taken for dead: nobody waits for it."""


class NodeFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a node says of itself."""

    id: str
    name: str
    address: str
    """Where it answers; empty until it does."""
    release: str
    workers: int
    """Workers that answer."""
    loading: int
    """The id of a version that one of them loads; 0: none."""
    prepared: int
    """The newest change that all of them have loaded."""
    applied: int
    """The newest change that all of them answer from."""


class NodeInfo(NodeFacts, frozen=True, kw_only=True):
    """What the others know of a node."""

    seen_us: int
    """When it was last heard of, µs since the Unix epoch by the database's clock."""

    def is_live(self, now_us: int) -> bool:
        """Whether it was heard of lately."""
        return now_us - self.seen_us < LIVE_US


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What the database says to every node."""

    newest: int
    """Number of the last change."""
    switch: int
    """The change that nodes may answer from."""
    at_us: int
    """Since when, or from when on, by the database's clock."""


class NodeView(msgspec.Struct, frozen=True, kw_only=True):
    """One node of the cluster."""

    id: str
    name: str
    address: str
    release: str
    workers: Annotated[int, Meta(description="Workers that answer.")]
    state: Annotated[
        NodeState,
        Meta(description="`behind`: does not answer from the last change yet. `gone`: not heard of for 5 seconds."),
    ]
    applied: Annotated[int, Meta(description="The change of the control plane that it answers from.")]
    newest: Annotated[int, Meta(description="The last change of the control plane.")]
    seen_s: Annotated[float, Meta(description="Seconds since it was last heard of.")]
