"""Relations whose rows are kept by real servers: the figure's layouts, as they are written there."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import pytest

from kaname.features.ranges import Within
from kaname.features.relayout.choosing import choose
from kaname.features.relayout.types import How
from kaname.platform import Platform
from kaname.project import load_valid
from kaname.stores import Stores
from tests.cassandra_servers import SERVED, Cassandra
from tests.features.relayout.programs import NEW, OLD, RELATION, Writer, rows_of, write
from tests.features.test_figure import FIGURE, ROW
from tests.hbase_servers import Hbase

pytestmark = SERVED
KEY = {"key1": ROW["key1"], "key2": ROW["key2"]}


@pytest.mark.parametrize("kind", ["cassandra", "hbase"])
def test_the_layouts_of_the_figure_run_on_a_server(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Written to both, read by key, in order, in part, deleted; the settings say what `localhost` is."""
    server: Cassandra | Hbase = request.getfixturevalue(kind)
    said = f'kind: {kind}, addresses: ["127.0.0.1:{server.port}"], keyspace: figure, timeout_ms: 9000'
    (tmp_path / "kaname.yaml").write_text(f"cells: {{localhost: {{{said}}}}}\n")
    (tmp_path / "features").mkdir()
    (tmp_path / "features" / "order.schema").write_text(FIGURE.replace("hbase(", f"{kind}("))
    with Platform(tmp_path) as platform:
        orders = platform.features.relation("order")
        others = [{**ROW, "key2": f"k{i:03}", "value1": f"v{i}"} for i in range(300)]
        assert orders.insert([ROW, *others]) == 301
        assert orders.get(KEY) == ROW
        assert orders.get(KEY, ["value2"]) == {"value2": ROW["value2"]}
        _, by_key = orders.layouts
        within = by_key.span({"key1": "abc"}, Within(attribute="key2", low="k100", high="k200"))
        scanned = list(orders.scan(by_key, within, reverse=True, limit=10))
        assert [row["key2"] for row in scanned] == [f"k{i:03}" for i in range(200, 190, -1)]
        orders.delete([KEY, *others])
        assert orders.get_many([KEY, others[7]]) == [None, None]
        assert [list(orders.scan(layout, layout.span({}))) for layout in orders.layouts] == [[], []]


def test_a_schema_moves_from_the_embedded_store_to_a_cluster_by_a_setting(tmp_path: Path, cassandra: Cassandra) -> None:
    """`cells("main")` is embedded until kaname.yaml names a cluster; each has rows of its own."""
    (tmp_path / "kaname.yaml").write_text("name: moved\n")
    (tmp_path / "features").mkdir()
    (tmp_path / "features" / "order.schema").write_text(FIGURE.replace('hbase("localhost")', 'cells("main")'))
    with Platform(tmp_path) as platform:
        platform.features.relation("order").insert([ROW])
    clustered = f'cells: {{main: {{kind: cassandra, addresses: ["127.0.0.1:{cassandra.port}"], keyspace: moved}}}}\n'
    (tmp_path / "kaname.yaml").write_text(clustered)
    with Platform(tmp_path) as platform:
        orders = platform.features.relation("order")
        assert orders.get(KEY) is None
        orders.insert([ROW])
        assert orders.get(KEY) == ROW


@pytest.mark.parametrize("kind", ["cassandra", "hbase"])
def test_rows_move_from_the_embedded_store_to_a_server_while_they_are_written(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """And back again: inserted, emptied and deleted meanwhile, each is as it was written last."""
    server: Cassandra | Hbase = request.getfixturevalue(kind)
    said = f'kind: {kind}, addresses: ["127.0.0.1:{server.port}"], keyspace: moving, timeout_ms: 9000'
    (tmp_path / "kaname.yaml").write_text(f"name: moving\ncells: {{far: {{{said}}}}}\n")
    write(tmp_path, RELATION + OLD)
    with closing(Stores(load_valid(tmp_path, os.environ))) as stores, Platform(tmp_path) as platform:
        writer = Writer(platform.features, "u1", 1)
        writer.start()
        for text in (RELATION + NEW % "far", RELATION + OLD.replace('"by_user"', '"again"')):
            write(tmp_path, text)
            relayouts = stores.relayouts()
            relayouts.begin("order", *choose(stores.features, "order", None, []))
            assert relayouts.run("order", How(full=True), lambda _: None)
            platform.features.look()
        writer.end()
        assert writer.writes > 50
        assert [layout.table for layout in platform.features.relation("order").layouts] == ["again"]
        assert rows_of(platform.features, "u1") == [writer.expected]
