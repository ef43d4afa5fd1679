"""Rows that are kept: by the process, by all nodes in a real Redis; who is told of writes; what a dead Redis costs."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kaname.clock import ManualClock
from kaname.features.layout import StoreName
from kaname.features.opened import Features
from kaname.features.schemas import load as load_schemas
from kaname.features.views.loading import examine
from kaname.features.views.readers import Readers
from kaname.project import Files
from kaname.secret import Secret
from kaname.settings import FeatureSettings, SharedSettings
from kaname.storage.cells.lmdb.store import LmdbCells
from kaname.storage.shared.opened import open_store
from tests.features.views.declared import project
from tests.features.views.test_reading import ORDER, USER
from tests.processes import until
from tests.redis_servers import RedisServer

VIEW = """\
name: buyer
entity: [user_id]
reads:
  - relation: user
    features: {age: {default: -1}, country: {default: none}}
  - relation: order
    latest: placed_at
    features: {price: {default: 0.0}}
"""
ENTITY = {"user_id": "u1"}
SETTINGS = FeatureSettings(cache_embedded=True, shared_ms=30.0)

Node = Callable[..., Features]


@pytest.fixture
def clock() -> ManualClock:
    """The time of all nodes."""
    return ManualClock(time_ns=int(ORDER["placed_at"].timestamp()) * 1_000_000_000)  # type: ignore[attr-defined]  # a datetime


@pytest.fixture
def node(tmp_path: Path, clock: ManualClock) -> Iterator[Node]:
    """Opens the relations as another process does: with caches of its own. `name`: of its node."""
    root, files, made, read = project(tmp_path, VIEW), Files(tmp_path), list[Features](), list[Readers]()

    def store(name: StoreName) -> LmdbCells:
        folder = tmp_path / "cells" / name.name
        folder.mkdir(parents=True, exist_ok=True)
        return LmdbCells(folder, clock)

    def opened(redis: RedisServer | None = None, name: str = "one", settings: FeatureSettings = SETTINGS) -> Features:
        shared = SharedSettings(redis_url=None if redis is None else Secret(redis.url), timeout_ms=settings.shared_ms)
        stamps = tmp_path / name / "stamps"
        readers = Readers(settings, clock, lambda _: True, stamps, lambda: open_store(shared))
        views = lambda schemas: examine(root, schemas, files.examined)  # noqa: E731
        read.append(readers)
        made.append(Features(lambda: load_schemas(root, files.text), store, clock, views, readers=readers))
        return made[-1]

    yield opened
    for features in made:
        features.close()
    for readers in read:
        readers.close()


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One server for all tests that do it no harm."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


def told(features: Features, entity: dict[str, str] = ENTITY) -> dict[str, tuple[object, str]]:
    """Values and where they came from."""
    used = features.view("buyer").explain(entity)
    return {name: (one.value, one.origin) for name, one in used.items()}


def test_a_row_is_read_once_and_then_kept_for_its_time(node: Node, clock: ManualClock) -> None:
    """Its age goes on counting while it is kept."""
    features = node()
    features.relation("user").insert([USER])
    features.relation("order").insert([ORDER])
    assert told(features)["age"] == (40, "store")
    clock.advance(ms=30_000)
    assert told(features) == {"age": (40, "cache"), "country": ("JP", "cache"), "price": (20.5, "cache")}
    assert features.view("buyer").explain(ENTITY)["price"].age_s == 30.0
    clock.advance(ms=30_000)
    assert told(features)["price"] == (20.5, "store")


def test_many_entities_are_found_in_part(node: Node) -> None:
    """What is kept is not asked for; every row is its own entity's."""
    features = node()
    features.relation("user").insert([{**USER, "user_id": f"u{n}", "age": n} for n in range(300)])
    view = features.view("buyer")
    view.read([{"user_id": f"u{n}"} for n in range(0, 300, 7)])
    rows = view.read([{"user_id": f"u{n}"} for n in range(310)])
    assert [row["age"] for row in rows] == [*range(300), *[-1] * 10]


def test_that_there_is_no_row_is_kept_until_there_is_one(node: Node) -> None:
    """A write is seen at once, by who made it and by the other processes of the node."""
    one, other = node(), node()
    assert told(other)["age"] == told(one)["age"] == (-1, "default")
    one.relation("user").insert([USER])
    one.relation("order").insert([ORDER])
    for features in (one, other):
        assert told(features) == {"age": (40, "store"), "country": ("JP", "store"), "price": (20.5, "store")}
    other.relation("user").update([{"user_id": "u1", "country": "FR"}])
    assert told(one)["country"] == ("FR", "store")
    other.relation("user").delete([{"user_id": "u1"}])
    assert told(one)["country"] == ("none", "default")


WRITER = """
import sys
from pathlib import Path
from kaname.platform import Platform

platform = Platform(sys.argv[1])
platform.features.relation("user").update([{"user_id": "u1", "country": "NO"}])
platform.features.close()
"""


@pytest.mark.slow
def test_a_write_of_another_process_is_seen_at_once(tmp_path: Path) -> None:
    """A real one, which reads no views."""
    from kaname.platform import Platform

    root = project(tmp_path, VIEW)
    (root / "kaname.yaml").write_text("features: {cache_embedded: true}")
    features = Platform(root).features
    features.relation("user").insert([USER])
    told(features)
    assert told(features)["country"] == ("JP", "cache")
    subprocess.run([sys.executable, "-c", WRITER, str(root)], check=True, timeout=60)
    assert told(features)["country"] == ("NO", "store")
    features.close()


def test_nodes_find_in_redis_what_one_of_them_has_read(node: Node, redis: RedisServer) -> None:
    """Rows, newest rows, and that there is none."""
    silent = node(settings=FeatureSettings())  # keeps nothing, so tells nobody
    silent.relation("user").insert([{**USER, "user_id": "shared"}])
    silent.relation("order").insert([{**ORDER, "user_id": "shared"}])
    one, other = node(redis), node(redis, "other")
    entity = {"user_id": "shared"}
    assert {origin for _, origin in told(one, entity).values()} == {"store"}
    silent.relation("user").delete([entity])
    assert told(other, entity) == {"age": (40, "shared"), "country": ("JP", "shared"), "price": (20.5, "shared")}
    assert told(one, {"user_id": "nobody"})["age"] == (-1, "default")
    silent.relation("user").insert([{**USER, "user_id": "nobody"}])
    assert told(other, {"user_id": "nobody"})["age"] == (-1, "default")


def test_what_was_written_is_not_found_in_redis_again(node: Node, redis: RedisServer) -> None:
    """Neither the row of before, nor one that a slow reader brings back."""
    one, other = node(redis), node(redis, "other")
    entity = {"user_id": "fresh"}
    one.relation("user").insert([{**USER, **entity, "country": "JP"}])
    assert told(other, entity)["country"] == ("JP", "store")
    one.relation("user").update([{**entity, "country": "FR"}])
    third = node(redis, "third")
    assert told(third, entity)["country"] == ("FR", "store")


def test_other_nodes_hear_of_a_write(node: Node, redis: RedisServer) -> None:
    """What they keep themselves is good no more."""
    one, other = node(redis), node(redis, "other")
    entity = {"user_id": "heard"}
    one.relation("user").insert([{**USER, **entity}])
    told(other, entity)
    until(lambda: told(other, entity)["country"] == ("JP", "cache"), "the row is kept")
    one.relation("user").update([{**entity, "country": "FR"}])
    until(lambda: told(other, entity)["country"][0] == "FR", "the write is heard of")


@pytest.mark.parametrize("harm", ["frozen", "killed"])
def test_a_dead_redis_costs_no_answer(node: Node, tmp_path: Path, clock: ManualClock, harm: str) -> None:
    """The first questions wait for their short time, then it is left alone; it is used again when it is back."""
    with RedisServer(tmp_path / "redis") as server:
        features, silent = node(server), node(settings=FeatureSettings())
        silent.relation("user").insert([{**USER, "user_id": f"u{n}", "age": n} for n in range(100)])
        view = features.view("buyer")
        assert view.read({"user_id": "u0"})["age"] == 0
        (server.freeze if harm == "frozen" else server.kill)()
        took = []
        for n in range(1, 100):
            began = time.monotonic()
            assert view.read({"user_id": f"u{n}"})["age"] == n
            took.append(time.monotonic() - began)
        assert max(took) < 1.0
        assert sorted(took)[50] < 0.02
        (server.thaw if harm == "frozen" else server.start)()
        clock.advance(ms=2_000)

        def found() -> bool:
            """Whether a process that keeps nothing yet finds the row there."""
            features.view("buyer").read([{"user_id": f"u{n}"} for n in range(100)])
            return told(node(server, "new"), {"user_id": "u0"})["age"][1] == "shared"

        until(found, "Redis is used again")


def test_too_old_for_its_view_is_a_default_also_when_kept(node: Node, tmp_path: Path, clock: ManualClock) -> None:
    """The cache's time and the view's maximum age are two things."""
    (tmp_path / "features" / "buyer.view.yaml").write_text(VIEW.replace("latest:", "max_age_s: 10\n    latest:"))
    features = node()
    features.relation("order").insert([ORDER])
    assert told(features)["price"] == (20.5, "store")
    clock.advance(ms=11_000)
    assert told(features)["price"] == (0.0, "default")
