"""Tenants in the registry, in the settings, over HTTP and at the command line."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import typer
from starlette.applications import Starlette
from typer.testing import CliRunner

from kaname.access import tenant_api, tenant_cli
from kaname.access.answers import KeptAnswers
from kaname.access.buckets import Buckets, NodeCells
from kaname.access.keys import Keys
from kaname.access.principals import Principals
from kaname.access.quotas import SLOTS, DayCount
from kaname.access.tenant_api import TenantView
from kaname.access.tenants import Tenants
from kaname.access.types import TenantInfo
from kaname.access.usage import Usage
from kaname.clock import ManualClock
from kaname.errors import Conflict, InvalidInput, NotFound, Unavailable
from kaname.ids import counting_ids
from kaname.project import load
from kaname.settings import TenantSettings
from kaname.storage.shared.memory import MemoryStore
from kaname.storage.shared.types import Draw, Drawn
from kaname.storage.sql import journal
from kaname.storage.sql.database import Database
from kaname.web import endpoints, openapi
from kaname.web.endpoints import Site
from tests.web.asking import Asker
from tests.web.test_openapi import check_document


@pytest.fixture
def tenants(database: Database, clock: ManualClock) -> Tenants:
    """A project's tenants, of which its settings declare one."""
    return Tenants(database, clock, {"lab": TenantSettings(rate_rows_per_s=5, rows_per_day=70)})


@pytest.fixture
def keys(database: Database, clock: ManualClock, tenants: Tenants) -> Keys:
    return Keys(database, clock, tenants=tenants)


def test_a_tenant_is_made_changed_and_removed(tenants: Tenants, database: Database) -> None:
    """Its number stays; every change is in the journal with who made it."""
    made = tenants.set("shop", who="ann", rate_rows_per_s=10, rows_per_day=1000)
    changed = tenants.set("shop", who="bob", rows_per_day=500)
    assert (changed.number, changed.rate_rows_per_s, changed.rows_per_day) == (made.number, None, 500)
    assert tenants.get("shop") == changed
    tenants.remove("shop", who="ann")
    with pytest.raises(NotFound, match="lab"):
        tenants.get("shop")
    with database.read() as conn:
        assert [(row.action, row.subject, row.who) for row in journal.changes(conn)] == [
            ("tenant.set", "shop", "ann"),
            ("tenant.set", "shop", "bob"),
            ("tenant.remove", "shop", "ann"),
        ]


def test_what_the_settings_say_holds(tenants: Tenants, keys: Keys, database: Database, clock: ManualClock) -> None:
    """A declared tenant gets a number with its first key, and no command changes it."""
    assert [(tenant.name, tenant.number, tenant.declared) for tenant in tenants.list()] == [("lab", 0, True)]
    assert tenants.rows() == []
    with pytest.raises(Conflict, match=r"tenants\.lab of kaname\.yaml"):
        tenants.set("lab", who="ann")
    info, _ = keys.create("k", ("predict:*",), who="ann", tenant="lab")
    assert info.tenant == "lab"
    (lab,) = tenants.rows()
    assert (lab.number, lab.rows_per_day, lab.rate_rows_per_s) == (1, 70, 5)
    undeclared = Tenants(database, clock)
    assert [(tenant.name, tenant.rows_per_day) for tenant in undeclared.rows()] == [("lab", None)]


def test_keys_belong_to_tenants_that_exist_and_keep_them(tenants: Tenants, keys: Keys) -> None:
    """An unknown tenant is refused with those that there are; a tenant with keys stays until they are revoked."""
    with pytest.raises(NotFound, match="lab"):
        keys.create("k", ("predict:*",), who="ann", tenant="shop")
    tenants.set("shop", who="ann")
    info, _ = keys.create("k", ("predict:*",), who="ann", tenant="shop")
    with pytest.raises(Conflict, match=info.id):
        tenants.remove("shop", who="ann")
    keys.revoke(info.id, who="ann")
    tenants.remove("shop", who="ann")
    assert keys.get(info.id).tenant == "shop"


@pytest.mark.parametrize(
    ("name", "limits", "where"),
    [
        ("Shop", {}, "tenant"),
        ("", {}, "tenant"),
        ("a" * 64, {}, "tenant"),
        ("a.b", {}, "tenant"),
        ("shop", {"rate_rows_per_s": 0}, "rate_rows_per_s"),
        ("shop", {"rate_rows_per_s": float("nan")}, "rate_rows_per_s"),
        ("shop", {"burst_rows": 0}, "burst_rows"),
        ("shop", {"rows_per_day": -1}, "rows_per_day"),
        ("shop", {"rows_per_day": 2**64}, "rows_per_day"),
    ],
)
def test_bad_names_and_limits_are_refused(tenants: Tenants, name: str, limits: dict[str, int], where: str) -> None:
    """With the place of the fault, and nothing is written."""
    with pytest.raises(InvalidInput) as caught:
        tenants.set(name, who="ann", **limits)
    assert caught.value.where == where
    assert [tenant.name for tenant in tenants.list()] == ["lab"]


def test_settings_declare_tenants_and_faults_are_found_where_they_are(tmp_path: Path) -> None:
    """`kaname.yaml` names them; a wrong limit is reported with its line."""
    (tmp_path / "kaname.yaml").write_text("tenants:\n  shop: {rate_rows_per_s: 10, rows_per_day: 1000}\n  lab: {}\n")
    project, problems = load(tmp_path, {})
    assert problems == []
    assert project.settings.tenants == {
        "shop": TenantSettings(rate_rows_per_s=10, rows_per_day=1000),
        "lab": TenantSettings(),
    }
    (tmp_path / "kaname.yaml").write_text("tenants:\n  shop: {rows_per_day: 0}\n")
    _, problems = load(tmp_path, {})
    assert [problem.where for problem in problems] == ["kaname.yaml:2:24"]
    (tmp_path / "kaname.yaml").write_text("tenants:\n  lab: {}\n  The.Shop: {}\n")
    _, problems = load(tmp_path, {})
    assert len(problems) == 1
    assert "tenants" in str(problems[0])


class Deaf(MemoryStore):
    """A store that does not answer."""

    def draw(self, draws: object) -> list[Drawn | None]:
        raise Unavailable("nobody is there")


def test_usage_is_what_the_node_or_the_fleet_has_counted(clock: ManualClock) -> None:
    """Of a fleet the store knows; while it does not answer, what this node knows is shown."""
    shop = TenantInfo(name="shop", number=1, rows_per_day=1000, created_us=0)
    cells = NodeCells(days=[0.0] * SLOTS * 3)
    assert cells.days is not None
    DayCount(1000, clock, cells.days, shop.number * SLOTS, 5, 8).take(17)
    lab = TenantInfo(name="lab", number=2, created_us=0)
    assert Usage(clock, cells, None).today([shop, lab]) == {"shop": 17}
    store = MemoryStore(clock)
    day = clock.time_ns() // 86_400_000_000_000
    store.draw([Draw(f"tenant:shop:{day}", 40, 40, 0.0, 1000, 10**9)])
    assert Usage(clock, cells, store).today([lab, shop]) == {"shop": 40}
    assert Usage(clock, cells, Deaf(clock)).today([shop]) == {"shop": 17}


def test_the_commands_set_list_and_remove(tenants: Tenants, clock: ManualClock) -> None:
    """As a person types them, as text and as JSON."""
    app: typer.Typer = tenant_cli.commands(lambda: (tenants, Usage(clock, NodeCells(), None)))
    run = CliRunner()
    assert run.invoke(app, ["set", "shop", "--rate", "10", "--per-day", "1000"]).exit_code == 0
    listed = run.invoke(app, ["list"]).stdout
    for word in ("shop", "1,000", "lab", "kaname.yaml"):
        assert word in listed
    found = msgspec.json.decode(run.invoke(app, ["list", "--json"]).stdout, type=list[TenantView])
    assert [(view.name, view.rows_today, view.declared) for view in found] == [("lab", 0, True), ("shop", 0, False)]
    assert "removed" in run.invoke(app, ["remove", "shop"]).stdout


def test_admins_make_show_and_remove_tenants_over_http(
    keys: Keys, tenants: Tenants, database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """PUT makes and replaces, GET shows with what is used, DELETE removes; others may not, and faults are named."""
    buckets = Buckets(clock)
    site = Site(
        authenticate=lambda header: Principals(keys.rows(), buckets).of(header),
        ids=counting_ids(),
        answers=KeptAnswers(database, clock),
        spool=tmp_path,
    )
    found = tenant_api.resources(tenants, Usage(clock, NodeCells(), None))
    ask = Asker(Starlette(routes=list(endpoints.routes(found, site))), keys.ensure_local_admin(tmp_path))
    one = "/api/v1/tenants/shop"
    made = ask("PUT", one, json={"rate_rows_per_s": 10, "rows_per_day": 100})
    assert (made.status_code, made.json()["rows_today"]) == (200, 0)
    assert ask("PUT", one, json={}).json()["rows_per_day"] is None
    assert [tenant["name"] for tenant in ask("GET", "/api/v1/tenants").json()["items"]] == ["lab", "shop"]
    assert ask("DELETE", one).status_code == 204
    assert ask("GET", one).status_code == 404
    assert ask("PUT", one, json={"rows_per_day": 0}).status_code == 400
    assert ask("PUT", "/api/v1/tenants/lab", json={}).status_code == 409
    reader = keys.create("reader", ("read",), who="test")[1]
    assert ask.as_(reader)("GET", "/api/v1/tenants").status_code == 403
    check_document(openapi.document(found, title="t", version="1"))
