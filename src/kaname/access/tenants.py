"""Tenants: who keys belong to, and what all keys of one may ask together."""

from __future__ import annotations

import builtins
import math
import re
from collections.abc import Mapping
from difflib import get_close_matches

import msgspec
from sqlalchemy import Connection

from kaname.access import store
from kaname.access.types import TenantInfo
from kaname.clock import Clock
from kaname.errors import Conflict, InvalidInput, NotFound
from kaname.settings import TenantSettings
from kaname.storage.sql import journal
from kaname.storage.sql.database import Database

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}\Z")
MOST_ROWS = 10**12
"""Most rows of a burst or a day that a limit may name."""
EXPECTED = "up to 63 lower-case letters, digits, - and _"


class Tenants:
    """The tenants of a project: those that were made by command or API, and those that its settings declare.

    What the settings say of a tenant holds instead of what the database does. Every change of the database is one
    transaction with its row in the change journal.
    """

    def __init__(self, database: Database, clock: Clock, declared: Mapping[str, TenantSettings] | None = None) -> None:
        self._database = database
        self._clock = clock
        self._declared = dict(declared or {})

    def list(self) -> builtins.list[TenantInfo]:
        """Every tenant, by name, with the limits that hold; number 0 for a declared one that no key belongs to yet."""
        return self._listed(None)

    def _listed(self, number: int | None) -> builtins.list[TenantInfo]:
        with self._database.read_from(number) as conn:
            found = {tenant.name: tenant for tenant in store.all_tenants(conn)}
        missing = {name: TenantInfo(name=name, created_us=0) for name in self._declared if name not in found}
        return sorted(map(self._as_declared, (found | missing).values()), key=lambda tenant: tenant.name)

    def get(self, name: str) -> TenantInfo:
        """One tenant; raises NotFound, which names similar ones."""
        known = {tenant.name: tenant for tenant in self.list()}
        if name not in known:
            near = get_close_matches(name, known) or sorted(known)[:10]
            expected = " or ".join(near) or "a tenant: none has been made yet"
            raise NotFound("no such tenant", where="tenant", found=name[:80], expected=expected)
        return known[name]

    def set(
        self,
        name: str,
        *,
        who: str,
        rate_rows_per_s: float | None = None,
        burst_rows: int | None = None,
        rows_per_day: int | None = None,
    ) -> TenantInfo:
        """Make a tenant or change its limits. Raises InvalidInput, or Conflict where the settings declare it."""
        _check(name, rate_rows_per_s, burst_rows, rows_per_day)
        if name in self._declared:
            raise Conflict(
                "the settings declare this tenant", where=name, expected=f"tenants.{name} of kaname.yaml changed"
            )
        limits: dict[str, object] = {
            "rate_rows_per_s": rate_rows_per_s,
            "burst_rows": burst_rows,
            "rows_per_day": rows_per_day,
        }
        with self._database.write() as conn:
            old = store.find_tenant(conn, name) or self._new(conn, name)
            tenant = msgspec.structs.replace(old, **limits)
            store.change_tenant(conn, tenant)
            self._journal(conn, "tenant.set", name, who, limits)
        return tenant

    def remove(self, name: str, *, who: str) -> None:
        """Forget a tenant. Raises NotFound, or Conflict while a valid key belongs to it."""
        with self._database.write() as conn:
            if store.find_tenant(conn, name) is None:
                raise NotFound("no such tenant in the database", where="tenant", found=name[:80])
            keys = [key.id for key in store.all_keys(conn, active=True) if key.tenant == name]
            if keys:
                raise Conflict("keys belong to this tenant", where=name, found=", ".join(keys[:5]), expected="none")
            store.remove_tenant(conn, name)
            self._journal(conn, "tenant.remove", name, who, {})

    def rows(self, number: int | None = None) -> builtins.list[TenantInfo]:
        """The tenants that keys may belong to; with a `number` as of that change or later, perhaps from a replica."""
        return [tenant for tenant in self._listed(number) if tenant.number]

    def ensure(self, conn: Connection, name: str) -> None:
        """Have a row for a declared tenant that gets its first key. Raises NotFound for one that nobody knows."""
        if store.find_tenant(conn, name) is not None:
            return
        if name not in self._declared:
            near = ", ".join(sorted({*self._declared, *(t.name for t in store.all_tenants(conn))})[:10])
            raise NotFound("no such tenant", where="tenant", found=name[:80], expected=near or "one made before")
        self._new(conn, name)

    def _new(self, conn: Connection, name: str) -> TenantInfo:
        return store.add_tenant(conn, TenantInfo(name=name, created_us=self._clock.time_ns() // 1000))

    def _as_declared(self, tenant: TenantInfo) -> TenantInfo:
        declared = self._declared.get(tenant.name)
        if declared is None:
            return tenant
        return msgspec.structs.replace(tenant, declared=True, **msgspec.structs.asdict(declared))

    def _journal(self, conn: Connection, action: str, name: str, who: str, detail: dict[str, object]) -> None:
        at_us = self._clock.time_ns() // 1000
        journal.append(conn, at_us=at_us, who=who, action=action, subject=name, detail=detail)


def _check(name: str, rate: float | None, burst: int | None, per_day: int | None) -> None:
    if not _NAME.match(name):
        raise InvalidInput("unusable name", where="tenant", found=repr(name)[:80], expected=EXPECTED)
    if rate is not None and not (rate > 0 and math.isfinite(rate)):
        raise InvalidInput("unusable rate", where="rate_rows_per_s", found=str(rate), expected="a number above 0")
    for where, number in (("burst_rows", burst), ("rows_per_day", per_day)):
        if number is not None and not 1 <= number <= MOST_ROWS:
            raise InvalidInput(
                "unusable number of rows", where=where, found=str(number), expected=f"1 to {MOST_ROWS:,}"
            )
