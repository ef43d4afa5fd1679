"""Rows of relations over a real server: through the client, from several workers, beside predictions."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from kaname.client import Client
from kaname.errors import Forbidden, InvalidInput
from tests.e2e.conftest import Serve

pytestmark = pytest.mark.slow

SCHEMA = """
define relation order { user_id string key, at timestamp key, item string, total decimal(9, 2), raw bytes };
define schema by_user for order on cells("main") {
  table "by_user", row suffix("\\0"){user_id}:at, family "f", value pack[]
};
"""
VIEW = "name: orders\nentity: [user_id]\nreads: [{relation: order, latest: at, features: {total: {default: 0}}}]"
T = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.fixture
def project(project: Path) -> Path:
    """The project with a relation."""
    (project / "features").mkdir(exist_ok=True)
    (project / "features" / "order.schema").write_text(SCHEMA)
    (project / "features" / "orders.view.yaml").write_text(VIEW)
    return project


def test_an_application_writes_and_another_reads(serve: Serve) -> None:
    """Each with a key for just that, through whatever worker answers."""
    with serve(workers=2) as server:
        keys = {
            scope: server.run("key", "create", "--scope", scope, "--json").json()["key"]
            for scope in ("write:order", "read:order", "read:user")
        }
        rows = [
            {"user_id": f"u{i % 10}", "at": T + timedelta(seconds=i), "total": Decimal(i) / 4, "raw": b"\0\xff"}
            for i in range(30_000)
        ]
        with Client(server.url, keys["write:order"]) as writer:
            assert writer.features.insert("order", rows) == 30_000
            writer.features.delete("order", [{"user_id": "u0", "at": T}])
        with Client(server.url, keys["read:order"]) as reader:
            features = reader.features
            assert [relation.name for relation in features.relations()] == ["order"]
            found = features.query("SELECT total, raw FROM order WHERE user_id = ? ORDER BY at LIMIT 1", ["u1"])
            assert found.rows == ({"total": "0.25", "raw": "AP8="},)
            key = {"user_id": "u2", "at": T + timedelta(seconds=2)}
            assert features.get("order", [key, {"user_id": "u0", "at": T}], ["total"]) == [{"total": "0.50"}, None]
            assert sum(1 for _ in features.rows("SELECT at FROM order ALLOW FILTERING")) == 29_999
            for refused in (lambda: features.insert("order", rows[:1]), lambda: features.delete("order", [key])):
                with pytest.raises(Forbidden, match="write:order"):
                    refused()
            with pytest.raises(InvalidInput, match="query:1:8: no such attribute"):
                next(features.rows("SELECT itm FROM order"))
            [view] = features.views()
            assert view == features.view("orders")
            assert (view.entity[0].name, view.reads[0].features[0].default) == ("user_id", "0.00")
            assert features.read("orders", [{"user_id": "u9"}, {"user_id": "eve"}]) == [
                {"total": 7499.75},
                {"total": 0},
            ]
        with Client(server.url, keys["read:user"]) as other:
            assert other.features.relations() == []
            with pytest.raises(Forbidden, match="read:order"):
                other.features.query("SELECT * FROM order LIMIT 1")


@pytest.mark.serial
def test_predictions_go_on_while_rows_stream_to_a_slow_reader(serve: Serve) -> None:
    """One worker: a scan that nobody takes is held back, and neither it nor a load holds up the loop."""
    row = {"at": T, "item": "x" * 500}
    with serve() as server, Client(server.url, server.admin) as client, server.client() as reader:
        client.features.insert("order", ({"user_id": f"u{i}", **row} for i in range(40_000)))
        leave = threading.Event()

        def load() -> None:
            while not leave.is_set():
                client.features.insert("order", ({"user_id": f"u{i}", **row} for i in range(5000)))

        loading = threading.Thread(target=load)
        took = []
        with reader.stream("GET", "/api/v1/relations/order/rows") as slow:
            lines = slow.iter_lines()
            next(lines)
            loading.start()
            for _ in range(100):
                began = time.perf_counter()
                assert server.predict().status_code == 200
                took.append(time.perf_counter() - began)
            leave.set()
            loading.join()
            assert sum(1 for _ in lines) == 39_999
        assert sorted(took)[50] < 0.5
