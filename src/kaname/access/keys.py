"""API keys: made, listed, revoked. The key itself is returned once and never stored."""

from __future__ import annotations

import builtins
import math
import secrets
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from pathlib import Path

import msgspec
from sqlalchemy import Connection

from kaname.access import scopes, store, tokens
from kaname.access.private import alone, write_private
from kaname.access.tenants import Tenants
from kaname.access.types import KeyInfo
from kaname.call import Priority
from kaname.clock import Clock
from kaname.errors import InvalidInput, NotFound
from kaname.storage.sql import journal
from kaname.storage.sql.database import Database

ADMIN_FILE = "admin.key"
_NAME_LIMIT = 128


class Keys:
    """The keys of a project. Every change is one transaction with its row in the change journal."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        token: Callable[[int], bytes] = secrets.token_bytes,
        tenants: Tenants | None = None,
    ) -> None:
        """`token(n)` returns n random bytes fit for secrets. `tenants`: who keys may belong to."""
        self._tenants = tenants or Tenants(database, clock)
        self._database = database
        self._clock = clock
        self._token = token

    def create(
        self,
        name: str,
        granted: Iterable[str],
        *,
        who: str,
        rate_rows_per_s: float | None = None,
        burst_rows: int | None = None,
        priority: Priority = "normal",
        tenant: str | None = None,
    ) -> tuple[KeyInfo, str]:
        """A new key and its text, which cannot be had again; raises InvalidInput, or NotFound for the tenant."""
        _check(name, rate_rows_per_s, burst_rows)
        key_id = tokens.id_of(self._token(tokens.ID_BYTES))
        key = tokens.key_of(key_id, self._token(tokens.SECRET_BYTES))
        info = KeyInfo(
            id=key_id,
            name=name,
            hash=tokens.digest(key.encode()),
            scopes=scopes.normalise(granted),
            rate_rows_per_s=rate_rows_per_s,
            burst_rows=burst_rows,
            priority=priority,
            tenant=tenant,
            created_us=self._now_us(),
        )
        with self._database.write() as conn:
            if tenant is not None:
                self._tenants.ensure(conn, tenant)
            info = store.add(conn, info)
            detail: dict[str, object] = {
                "name": name,
                "scopes": info.scopes,
                "rate_rows_per_s": rate_rows_per_s,
                "burst_rows": burst_rows,
                "priority": priority,
                "tenant": tenant,
            }
            self._journal(conn, "key.create", info, who, detail)
        return info, key

    def list(self) -> builtins.list[KeyInfo]:
        """Every key, revoked ones too, oldest first."""
        with self._database.read() as conn:
            return store.all_keys(conn, active=False)

    def rows(self, number: int | None = None) -> builtins.list[KeyInfo]:
        """The keys that are valid now; with a `number` as of that change or later, perhaps from a replica."""
        with self._database.read_from(number) as conn:
            return store.all_keys(conn, active=True)

    def get(self, key_id: str) -> KeyInfo:
        """One key; raises NotFound."""
        with self._database.read() as conn:
            return self._find(conn, key_id)

    def revoke(self, key_id: str, *, who: str) -> KeyInfo:
        """End a key's validity for good; a second time changes nothing. Raises NotFound."""
        with self._database.write() as conn:
            info = self._find(conn, key_id)
            if info.revoked_us is None:
                info = msgspec.structs.replace(info, revoked_us=self._now_us())
                store.mark_revoked(conn, info.id, info.revoked_us or 0)
                self._journal(conn, "key.revoke", info, who, {"name": info.name})
        return info

    def ensure_local_admin(self, folder: Path) -> str:
        """The admin key of this machine's user, from `folder/admin.key` (mode 0600).

        It is made when the file is missing or what it holds is not a valid admin key any more.
        """
        path = folder / ADMIN_FILE
        with alone(path):
            found = self._valid_admin(path)
            if found is None:
                _, found = self.create("local admin", ["admin"], who="system")
                write_private(path, found)
            path.chmod(0o600)
        return found

    def _valid_admin(self, path: Path) -> str | None:
        try:
            key = path.read_text().strip()
        except (FileNotFoundError, UnicodeDecodeError):
            return None
        hashed = tokens.digest(key.encode())
        good = any(row.hash == hashed and "admin" in row.scopes for row in self.rows())
        return key if good else None

    def _find(self, conn: Connection, key_id: str) -> KeyInfo:
        found = store.find(conn, key_id)
        if found is None:
            # What was given may be a whole key by mistake: only ever repeat what looks like an id.
            shown = key_id if len(key_id) <= 16 else "something longer than an id"
            near = get_close_matches(key_id, [key.id for key in store.all_keys(conn, active=False)], n=1)
            raise NotFound("no such API key", where="key", found=shown, expected=near[0] if near else "the id of a key")
        return found

    def _journal(self, conn: Connection, action: str, key: KeyInfo, who: str, detail: dict[str, object]) -> None:
        journal.append(conn, at_us=self._now_us(), who=who, action=action, subject=key.id, detail=detail)

    def _now_us(self) -> int:
        return self._clock.time_ns() // 1000


def _check(name: str, rate: float | None, burst: int | None) -> None:
    if len(name) > _NAME_LIMIT or not name.isprintable():
        raise InvalidInput("unusable name", where="name", expected=f"at most {_NAME_LIMIT} printable characters")
    if rate is not None and not (rate > 0 and math.isfinite(rate)):
        raise InvalidInput("unusable rate", where="rate_rows_per_s", found=str(rate), expected="a number above 0")
    if burst is not None and burst < 1:
        raise InvalidInput("unusable burst", where="burst_rows", found=str(burst), expected="at least 1")
