"""From headers to principals."""

from __future__ import annotations

import pytest

from kaname.access.buckets import Buckets
from kaname.access.keys import Keys
from kaname.access.principals import Principals
from kaname.call import PRIORITIES
from kaname.clock import ManualClock
from kaname.errors import Unauthenticated


def test_a_key_becomes_a_principal_with_its_rights(keys: Keys, clock: ManualClock) -> None:
    """Name, id, models, scopes and limit come from the key; the same header gives the same object."""
    info, key = keys.create("shop", ["predict:iris", "read"], who="t", rate_rows_per_s=100, burst_rows=20)
    principals = Principals(keys.rows(), Buckets(clock))
    who = principals.of(f"Bearer {key}".encode())
    assert (who.key_id, who.name, who.may_predict, who.scopes) == (
        info.id,
        "shop",
        frozenset({"iris"}),
        frozenset({"read"}),
    )
    assert who.burst_rows == 20
    assert who.limiter is not None
    assert who.limiter(20) == 0.0
    assert who.limiter(1) > 0
    assert principals.of(f"Bearer {key}".encode()) is who
    assert principals.of(f"bearer  {key}".encode()) is who


def test_wrong_headers_are_refused_alike_and_never_repeated(keys: Keys, clock: ManualClock) -> None:
    """Unknown, revoked and altered keys give one and the same error, which does not contain what was sent."""
    revoked, revoked_key = keys.create("gone", ["read"], who="t")
    info, key = keys.create("here", ["read"], who="t")
    keys.revoke(revoked.id, who="t")
    principals = Principals(keys.rows(), Buckets(clock))
    altered = key[:-1] + ("A" if key[-1] != "A" else "B")
    unknown = key.replace(info.id, "zzzzzzzz")
    errors = set()
    for text in (revoked_key, altered, unknown):
        with pytest.raises(Unauthenticated) as caught:
            principals.of(f"Bearer {text}".encode())
        errors.add(str(caught.value))
        assert text not in repr(caught.value.__dict__)
    assert len(errors) == 1
    for header in (None, b"", b"Bearer", b"Basic abc", b"Bearer kn_x", b"\xff" * 100_000):
        with pytest.raises(Unauthenticated) as caught:
            principals.of(header)
        assert "kn_x" not in str(caught.value)


def test_revoked_keys_in_the_rows_are_ignored(keys: Keys, clock: ManualClock) -> None:
    """Handing over too many rows opens no door."""
    info, key = keys.create("gone", ["admin"], who="t")
    keys.revoke(info.id, who="t")
    with pytest.raises(Unauthenticated):
        Principals(keys.list(), Buckets(clock)).of(f"Bearer {key}".encode())


def test_while_authentication_is_off_everybody_is_admin(clock: ManualClock) -> None:
    """With any header or none, and without a limit."""
    principals = Principals([], Buckets(clock), off=True, default_rate_rows_per_s=1)
    for header in (None, b"nonsense"):
        who = principals.of(header)
        assert "admin" in who.scopes
        assert who.may_predict is None
        assert who.limiter is None


def test_a_snapshot_swap_refills_no_bucket(keys: Keys, clock: ManualClock) -> None:
    """A key that spent its burst stays without rows when another key is made; changed limits start afresh."""
    _, key = keys.create("busy", ["predict:*"], who="t", rate_rows_per_s=10)
    header = f"Bearer {key}".encode()
    buckets = Buckets(clock)
    first = Principals(keys.rows(), buckets).of(header)
    assert first.limiter is not None
    assert first.limiter(10) == 0.0
    keys.create("other", ["read"], who="t")
    second = Principals(keys.rows(), buckets).of(header)
    assert second.limiter is not None
    assert second.limiter(1) > 0


def test_the_default_rate_holds_for_keys_without_their_own(keys: Keys, clock: ManualClock) -> None:
    """A key's own rate goes before the project's."""
    _, plain = keys.create("plain", ["predict:*"], who="t")
    _, fast = keys.create("fast", ["predict:*"], who="t", rate_rows_per_s=5000)
    principals = Principals(keys.rows(), Buckets(clock), default_rate_rows_per_s=1000)
    assert principals.of(f"Bearer {plain}".encode()).burst_rows == 1000
    assert principals.of(f"Bearer {fast}".encode()).burst_rows == 5000
    assert Principals(keys.rows(), Buckets(clock)).of(f"Bearer {plain}".encode()).limiter is None


def test_workers_share_a_limit_through_levels(keys: Keys, clock: ManualClock) -> None:
    """Two workers' principals of the same key draw from one cell; a key beyond the cells keeps a bucket of its own."""
    _, key = keys.create("busy", ["predict:*"], who="t", rate_rows_per_s=10)
    _, beyond = keys.create("beyond", ["predict:*"], who="t", rate_rows_per_s=10)
    levels = [0.0] * 4
    workers = [Principals(keys.rows(), Buckets(clock, levels)) for _ in range(2)]
    limits = [worker.of(f"Bearer {key}".encode()).limiter for worker in workers]
    assert limits[0] is not None
    assert limits[1] is not None
    assert limits[0](6) == 0.0
    assert limits[1](6) > 0
    own = workers[0].of(f"Bearer {beyond}".encode()).limiter
    assert own is not None
    assert own(10) == 0.0


def test_the_cache_is_bounded(keys: Keys, clock: ManualClock) -> None:
    """A caller that varies the spaces of a good header cannot fill the memory."""
    _, key = keys.create("k", ["read"], who="t")
    principals = Principals(keys.rows(), Buckets(clock))
    for spaces in range(1, 5000):
        principals.of(b"Bearer" + b" " * spaces + key.encode())
    assert len(principals._cache) <= 4096


def test_a_request_may_ask_for_less_importance_only(keys: Keys, clock: ManualClock) -> None:
    """A key's priority is what its requests have; a less important one keeps limits and scopes, a more important one is
    not granted."""
    _, key = keys.create("shop", ["predict:iris"], who="t", rate_rows_per_s=5.0, priority="high")
    who = Principals(keys.rows(), Buckets(clock)).of(f"Bearer {key}".encode())
    assert PRIORITIES[who.priority] == "high"
    low = who.at(PRIORITIES.index("low"))
    assert PRIORITIES[low.priority] == "low"
    assert (low.key_id, low.limiter, low.may_predict) == (who.key_id, who.limiter, who.may_predict)
    assert who.at(PRIORITIES.index("critical")) is who
