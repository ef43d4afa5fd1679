"""Where Redis is: one node, a master that Sentinels know, or a cluster, as one URL."""

from __future__ import annotations

import urllib.parse
from typing import Literal

import msgspec

from kaname.errors import InvalidInput
from kaname.secret import Secret

Kind = Literal["single", "sentinel", "cluster"]
KINDS: dict[str, Kind] = {"": "single", "sentinel": "sentinel", "cluster": "cluster"}
PORTS: dict[Kind, int] = {"single": 6379, "sentinel": 26379, "cluster": 6379}
EXPECTED = (
    "redis://host:6379/0, redis+sentinel://a:26379,b:26379/NAME or redis+cluster://a:6379,b:6379 (rediss… for TLS)"
)


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """`hosts` are those of the node, of the Sentinels, or of some nodes of the cluster; `master` is the Sentinels' name
    for what they watch."""

    kind: Kind
    hosts: tuple[tuple[str, int], ...]
    tls: bool = False
    master: str = ""
    database: int = 0
    username: str | None = None
    password: Secret | None = None

    def __str__(self) -> str:
        """The address as errors and logs may show it."""
        return ",".join(f"{host}:{port}" for host, port in self.hosts) + (f"/{self.master}" if self.master else "")


def parse(text: str, where: str) -> Address:
    """The address in a URL. Raises InvalidInput, which never shows what may be a password."""
    scheme, found, rest = text.partition("://")
    base, _, kind = scheme.partition("+")
    if not found or base not in ("redis", "rediss") or kind not in KINDS:
        raise InvalidInput("not an address of Redis", where=where, found=f"{scheme[:20]}://…", expected=EXPECTED)
    credentials, _, place = rest.rpartition("@")
    hosts, _, path = place.partition("/")
    username, _, password = credentials.partition(":")
    name, _, database = path.rpartition("/") if kind == "sentinel" and "/" in path else (path, "", "")
    if kind != "sentinel":
        name, database = "", path
    address = Address(
        kind=KINDS[kind],
        hosts=tuple(_host(host, PORTS[KINDS[kind]], where) for host in hosts.split(",")),
        tls=base == "rediss",
        master=name,
        database=_number(database or "0", "database", where),
        username=urllib.parse.unquote(username) or None,
        password=Secret(urllib.parse.unquote(password)) if password else None,
    )
    _check(address, where)
    return address


def _host(text: str, port: int, where: str) -> tuple[str, int]:
    name, colon, number = text.rpartition(":")
    if not colon or text.endswith("]"):  # no port, or the colons are those of an IPv6 address
        name, number = text, str(port)
    if not name:
        raise InvalidInput("an address of Redis without a host", where=where, expected=EXPECTED)
    return name.strip("[]"), _number(number, "port", where)


def _number(text: str, what: str, where: str) -> int:
    if not text.isdecimal() or int(text) > 65_535:
        raise InvalidInput(f"the {what} in an address of Redis", where=where, found=text[:20], expected="a number")
    return int(text)


def _check(address: Address, where: str) -> None:
    if address.kind == "single" and len(address.hosts) > 1:
        found = f"{len(address.hosts)} hosts"
        raise InvalidInput(
            "one node has one host", where=where, found=found, expected="redis+sentinel or redis+cluster"
        )
    if address.kind == "sentinel" and not address.master:
        raise InvalidInput("which master do the Sentinels watch?", where=where, expected="redis+sentinel://…/NAME")
    if address.kind == "cluster" and address.database:
        found = str(address.database)
        raise InvalidInput("a cluster has one database", where=where, found=found, expected="no number")
