"""The nodes of a cluster over HTTP."""

from __future__ import annotations

from kaname.serving.nodes.registry import Nodes
from kaname.serving.nodes.types import NodeView
from kaname.web.paging import Listed, Page, page
from kaname.web.resources import Asked, Resource


def resources(nodes: Nodes) -> list[Resource]:
    """The resource over `nodes`."""

    def listed(asked: Asked) -> Listed[NodeView]:
        return page(nodes.list(), lambda node: f"{node.name} {node.id}", asked.query(Page))

    return [
        Resource(
            method="GET",
            path="/api/v1/nodes",
            summary="List the nodes that share the database",
            description="None where the database is a file: then this server is alone.",
            handler=listed,
            scope="read",
            query=Page,
            answer=Listed[NodeView],
            tag="nodes",
        )
    ]
