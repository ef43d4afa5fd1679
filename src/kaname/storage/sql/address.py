"""Where a database is, as settings name it."""

from __future__ import annotations

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from kaname.errors import InvalidInput, MissingDependency
from kaname.storage.sql.server import Server
from kaname.storage.sql.sqlite import Sqlite
from kaname.storage.sql.types import Backend

EXPECTED = "sqlite:///PATH, postgresql://USER@HOST/NAME, mysql://USER@HOST/NAME or mariadb://USER@HOST/NAME"
_DRIVERS = {"postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql", "mariadb": "mariadb+pymysql"}


def backend_of(url: str, password: str | None, *, busy_s: float, timeout_s: float) -> Backend:
    """The database at `url`, not yet asked anything.

    Raises InvalidInput for a URL that names none, or holds a password (a secret belongs in no URL), and
    MissingDependency when the driver is not installed.
    """
    parsed = _parse(url)
    if parsed.get_backend_name() == "sqlite":
        return Sqlite(parsed, busy_s)
    if parsed.password is not None:
        shown = parsed.render_as_string()
        raise InvalidInput("a password in the URL of a database", where="database.url", found=shown, expected=_SECRETS)
    return _server(parsed.set(password=password, drivername=_DRIVERS[parsed.get_backend_name()]), timeout_s)


_SECRETS = "the URL without it; the password in KANAME_DATABASE__PASSWORD, or in the file database.password_file"


def _server(url: URL, timeout_s: float) -> Server:
    if url.get_backend_name() != "postgresql":
        from kaname.storage.sql.mysql import Mysql

        return Server(url, Mysql(), timeout_s)
    try:
        from kaname.storage.sql.postgres import Postgres
    except ModuleNotFoundError as error:
        raise MissingDependency.of("psycopg", "postgres", "database.url") from error
    return Server(url, Postgres(), timeout_s)


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        parsed = None
    if (
        parsed is None
        or parsed.get_backend_name() not in {"sqlite", *_DRIVERS}
        or parsed.database in (None, "", ":memory:")
        or (parsed.get_backend_name() != "sqlite" and not parsed.host)
    ):
        shown = url if parsed is None else parsed.render_as_string()
        raise InvalidInput("not a database that this installation can open", found=shown, expected=EXPECTED)
    return parsed
