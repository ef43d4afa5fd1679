"""One relation that is laid out in four ways, in a real store."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from kaname.clock import SystemClock
from kaname.features.opened import Features
from kaname.features.schemas import schemas_in
from kaname.storage.cells.lmdb.store import LmdbCells

TEXT = """
define relation order {
  user_id string key, at timestamp key,
  item string, price float64, total decimal(9, 2), count int32, gift bool, day date, tags json, raw bytes,
  v vector<float32, 2>
};
define schema by_user for order on cells("main") {
  table "by_user", row size{user_id}:desc{at}, family "f", qualifier attr_name[], value attr_value[]
};
define schema by_time for order on cells("main") {
  table "by_time", row at:user_id, family "f", value pack[item, price]
};
define schema by_name for order on cells("main") {
  table "by_name", row suffix("\\0"){user_id}:at, family "f", value pack[item]
};
define schema spread for order on cells("main") {
  table "spread", row hash(1)[user_id]:at:size{user_id}, family "f", value pack[item]
};
"""
T = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def features(tmp_path: Path) -> Iterator[Features]:
    """Three users with three orders each."""
    opened = Features(lambda: schemas_in(TEXT), lambda _: LmdbCells(tmp_path, SystemClock()), SystemClock())
    opened.relation("order").insert(
        {"user_id": user, "at": T + day * DAY, "item": f"{user} {day}", "price": day / 2, "total": Decimal(day)}
        for user in ("ann", "anton", "bo")
        for day in range(3)
    )
    yield opened
    opened.close()
