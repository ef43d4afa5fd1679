"""A project with relations, code and views, for the tests of this folder."""

from __future__ import annotations

from pathlib import Path

from kaname.errors import KanameError
from kaname.features.schemas import load as load_schemas
from kaname.features.views.loading import Declared, examine
from kaname.features.views.types import View
from kaname.project import Files

SCHEMAS = """
define relation user {
  user_id string key, age int32, country string, score float64, seen timestamp, taste vector<float32, 2>, plan json
};
define schema users for user on cells("main") {
  table "users", row user_id, family "f", qualifier attr_name[], value attr_value[]
};
define relation order { user_id string key, placed_at timestamp key, item string, price float64, item_taste
  vector<float32, 2> };
define schema by_user for order on cells("main") {
  table "orders", row size{user_id}:desc{placed_at}, family "f", value pack[]
};
define relation airport { code string key, hour timestamp key, delay float64 };
define schema spread for airport on cells("main") {
  table "airports", row hash(2)[code]:hour:code, family "f", value pack[]
};
define relation device { device_id int64 key, os string };
define schema devices for device on cells("main") { table "devices", row device_id, family "f", value pack[] };
define relation unplaced { user_id string key, x string };
"""
CODE = '''
import numpy as np


def ratio(price, score):
    """One column of two."""
    return price / np.maximum(score, 1.0)


def grown(age):
    return age >= 18


def short(age):
    return age[:1]


def wordy(age):
    return ["many"] * len(age)


def broken(age):
    return age / len(age[:0])


def no_columns():
    return []


def many(*columns):
    return columns
'''
VIEW = """\
name: buyer
entity: [user_id]
reads:
  - relation: user
    features:
      age: {default: 30}
      country: {default: null}
      points: {attribute: score}
  - relation: order
    latest: placed_at
    max_age_s: 3600
    features:
      price: {default: 0.0, max_age_s: 60}
      last: {attribute: placed_at, default: null}
derived:
  per_year: price / (age + 1)
  home: country == "JP"
  grown: {function: "code/columns.py:grown", type: bool}
"""


def project(folder: Path, views: dict[str, str] | str = VIEW, schemas: str = SCHEMAS) -> Path:
    """A project folder; a single view is `buyer.view.yaml`."""
    (folder / "features").mkdir(exist_ok=True)
    (folder / "code").mkdir(exist_ok=True)
    (folder / "features" / "all.schema").write_text(schemas)
    (folder / "code" / "columns.py").write_text(CODE)
    for name, text in (views if isinstance(views, dict) else {"buyer": views}).items():
        (folder / "features" / f"{name}.view.yaml").write_text(text)
    return folder


def views_of(root: Path) -> dict[str, View]:
    """Its views, all of which are good."""
    found = declared(root)
    assert found.problems == []
    return found.views


def problems_of(root: Path) -> list[KanameError]:
    """What is wrong with them."""
    return declared(root).problems


def declared(root: Path) -> Declared:
    """What its files say."""
    files = Files(root)
    return examine(root, load_schemas(root, files.text), files.examined)
