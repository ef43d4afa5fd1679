"""The shared store in Redis: one node, a master behind Sentinels, or a cluster; all three through one pipeline."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from kaname.errors import MissingDependency, Unavailable
from kaname.secret import Secret
from kaname.storage.shared.address import Address
from kaname.storage.shared.types import Draw, Drawn, Value

try:
    import redis
    from redis.backoff import NoBackoff
    from redis.cluster import ClusterNode, RedisCluster
    from redis.exceptions import RedisError
    from redis.retry import Retry
    from redis.sentinel import Sentinel
except ModuleNotFoundError as error:
    raise MissingDependency.of("redis", "redis", "shared.redis_url") from error

node: Any = ClusterNode
sentinels: Any = Sentinel
"""Untyped in their own module."""

DRAW = """
local need, want, rate, most = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
local missing, since = 0, now
local held = redis.call('GET', KEYS[1])
if held then
  local first, second = string.match(held, '^(%S+) (%S+)$')
  missing, since = tonumber(first or '') or 0, tonumber(second or '') or now
end
if rate > 0 then missing = math.max(0, missing - math.max(0, now - since) * rate / 1000) end
local room = math.floor(most - missing + 1e-6)
local granted = 0
if want < 0 then granted = want elseif room >= need then granted = math.min(want, room) end
missing = math.max(0, missing + granted)
local ttl = tonumber(ARGV[5])
if rate > 0 then ttl = missing * 1000 / rate end
redis.call('SET', KEYS[1], string.format('%.6f %.3f', missing, now), 'PX', math.ceil(ttl) + 1000)
return {granted, string.format('%.6f', missing)}
"""
"""One draw. The server's own clock counts, so that the nodes' clocks need not agree. A value is `missing since`."""


LISTEN_S = 0.2
"""So often who listens looks whether it is enough, and tries to connect again."""
Command = tuple[str, tuple[Any, ...]]
"""A key, and the words of the command that is about it."""


class RedisStore:
    """Implements `Shared`. Connects when it is first used."""

    def __init__(
        self,
        address: Address,
        *,
        prefix: str,
        timeout_ms: float,
        username: str | None = None,
        password: Secret | None = None,
        ca_file: str | None = None,
    ) -> None:
        """`timeout_ms` bounds each wait for the network; `username` and `password` add to those of the address."""
        self._address = address
        self._prefix = prefix
        self._timeout_s = timeout_ms / 1000
        self._username = username or address.username
        self._password = password or address.password
        self._ca_file = ca_file
        self._client: Any = None
        self._connecting = threading.Lock()

    def get(self, keys: Sequence[str]) -> list[bytes | None]:
        named = [self._named(key) for key in keys]
        found = (
            self._together(named) if self._address.kind != "cluster" else self._run([(k, ("GET", k)) for k in named])
        )
        return [one if isinstance(one, bytes) else None for one in found]

    def put(self, values: Sequence[Value]) -> None:
        named = [(self._named(value.key), value) for value in values]
        self._run([(key, ("SET", key, v.data, "PX", max(v.ttl_ms, 1), *["NX"] * v.absent)) for key, v in named])

    def draw(self, draws: Sequence[Draw]) -> list[Drawn | None]:
        named = [(self._named(d.key), d) for d in draws]
        found = self._run([(key, ("EVAL", DRAW, 1, key, d.need, d.want, d.rate, d.most, d.ttl_ms)) for key, d in named])
        return [None if isinstance(one, Exception) else Drawn(int(one[0]), float(one[1])) for one in found]

    def publish(self, channel: str, data: bytes) -> None:
        try:
            self._connected().publish(self._named(channel), data)
        except (RedisError, OSError) as error:
            raise self._unavailable(error) from error

    def listen(self, channel: str, told: Callable[[bytes], None], left: Callable[[], bool]) -> None:
        while not left():
            try:
                heard: Any = self._connected().pubsub(ignore_subscribe_messages=True)
                heard.subscribe(self._named(channel))
                while not left():
                    message = heard.get_message(timeout=LISTEN_S)
                    if message is not None:
                        told(message["data"])
            except (RedisError, OSError, AttributeError):  # the last is what the client makes of a connection that ends
                time.sleep(LISTEN_S)
                told(b"")

    def _named(self, key: str) -> str:
        return self._prefix + key

    def _run(self, commands: Sequence[Command]) -> list[Any]:
        """The answers to commands, errors among them; raises Unavailable when there is nothing else."""
        if not commands:
            return []
        found: list[Any] = [None] * len(commands)
        try:
            for positions in self._by_node(commands):
                answers = self._pipelined([commands[at][1] for at in positions])
                for at, answer in zip(positions, answers, strict=True):
                    found[at] = answer
        except (RedisError, OSError) as error:
            raise self._unavailable(error) from error
        if all(isinstance(one, Exception) for one in found):
            raise self._unavailable(found[0]) from found[0]
        return found

    def _together(self, keys: Sequence[str]) -> list[Any]:
        """The values of keys that lie on one node, in one command: a third of what a command for each costs."""
        try:
            return list(self._connected().mget(keys)) if keys else []
        except (RedisError, OSError) as error:
            raise self._unavailable(error) from error

    def _by_node(self, commands: Sequence[Command]) -> list[list[int]]:
        """Positions of the commands, those of a cluster's node together: a dead node takes no other's with it."""
        client = self._connected()
        if self._address.kind != "cluster":
            return [list(range(len(commands)))]
        groups: dict[Any, list[int]] = {}
        for at, (key, _) in enumerate(commands):
            groups.setdefault(client.get_node_from_key(key).name, []).append(at)
        return list(groups.values())

    def _pipelined(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        pipe = self._connected().pipeline(transaction=False)
        for command in commands:
            pipe.execute_command(*command)
        try:
            answers: list[Any] = pipe.execute(raise_on_error=False)
        except (RedisError, OSError) as error:
            return [error] * len(commands)
        return answers

    def _unavailable(self, error: BaseException) -> Unavailable:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return Unavailable("Redis does not answer", where=str(self._address), found=lines[0][:200], retry_after_s=1.0)

    def _connected(self) -> Any:
        """The client of all threads: a second one, made at the same time, would close its connections when it goes."""
        client = self._client
        if client is None:
            made = self._connect()
            with self._connecting:
                client = self._client = made if self._client is None else self._client
        return client

    def _connect(self) -> Any:
        address = self._address
        reach: dict[str, Any] = {"socket_timeout": self._timeout_s, "socket_connect_timeout": self._timeout_s}
        if address.tls:
            reach |= {"ssl": True, "ssl_ca_certs": self._ca_file}
        retries = 1 if address.kind == "cluster" else 0  # once more where the keys have moved to
        reach["retry"] = Retry(NoBackoff(), retries)
        password = None if self._password is None else self._password.reveal()
        options = {**reach, "username": self._username, "password": password}
        if address.kind == "cluster":
            nodes: Any = [node(host, port) for host, port in address.hosts]
            return RedisCluster(startup_nodes=nodes, **options)
        options["db"] = address.database
        if address.kind == "sentinel":
            return sentinels(list(address.hosts), sentinel_kwargs=reach, **options).master_for(address.master)
        host, port = address.hosts[0]
        return redis.Redis(host=host, port=port, **options)

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(RedisError, OSError):
                client.close()
