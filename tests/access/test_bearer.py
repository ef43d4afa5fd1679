"""Signed tokens: good ones become principals for as long as they are good, hostile ones nothing."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jwt import PyJWK

from kaname.access import jose
from kaname.access.bearer import Tokens
from kaname.access.buckets import Buckets
from kaname.access.keys import Keys
from kaname.access.principals import Principals
from kaname.call import Principal
from kaname.clock import ManualClock
from kaname.errors import KanameError, Unauthenticated
from kaname.settings import TokenIssuer
from tests.access.issuer import ISSUER, NOW_S, Issuer, bearer, encoded, opened, part
from tests.processes import until


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Issuer:
    """One issuer for all tests that change nothing about it: making RSA keys takes time."""
    return Issuer(tmp_path_factory.mktemp("issuer") / "jwks.json")


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """A loop on which key sets are read."""
    with asyncio.Runner() as made:
        yield made


@pytest.fixture
def tokens(runner: asyncio.Runner, clock: ManualClock, tmp_path: Path, issuer: Issuer) -> Iterator[Tokens]:
    """What a project accepts that trusts the issuer."""
    made = runner.run(opened(clock, tmp_path, issuer.trusted()))
    yield made
    runner.run(made.stop())


def principals(tokens: Tokens, clock: ManualClock, **options: Any) -> Principals:
    """Those of a project without API keys."""
    return Principals((), Buckets(clock), check=tokens, **options)


@pytest.mark.parametrize("algorithm", jose.ALGORITHMS)
def test_a_token_of_each_algorithm_becomes_a_principal(
    tokens: Tokens, clock: ManualClock, issuer: Issuer, algorithm: Any
) -> None:
    """Its subject is the name in limits and records; the same header gives the same object."""
    known = principals(tokens, clock)
    header = bearer(issuer.token(algorithm, scope="predict:iris read other:thing"))
    who = known.of(header)
    assert (who.key_id, who.may_predict, who.scopes) == ("corp:alice", frozenset({"iris"}), frozenset({"read"}))
    assert known.of(header) is who
    assert known.of(header.replace(b"Bearer ", b"bearer   ")).key_id == "corp:alice"


# --- hostile tokens -------------------------------------------------------------------------------------

Make = Callable[[Issuer], str]


def _hmac(issuer: Issuer, secret: bytes, alg: str = "HS256") -> str:
    signing_input = f"{part({'alg': alg, 'kid': issuer.keys['RS256'].kid})}.{part(issuer.claims())}"
    digest = hmac.new(secret, signing_input.encode(), hashlib.sha256).digest()
    return f"{signing_input}.{encoded(digest)}"


def _public_pem(issuer: Issuer) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = PyJWK(jose.public_members(issuer.keys["RS256"].jwk), "RS256").key
    return bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def _none(issuer: Issuer, spelled: str) -> str:
    return f"{part({'alg': spelled, 'kid': issuer.keys['ES256'].kid})}.{part(issuer.claims())}."


def _changed(issuer: Issuer) -> str:
    head, _, signature = issuer.token().split(".")
    return f"{head}.{part(issuer.claims(sub='mallory'))}.{signature}"


def _own_key(**header: Any) -> Make:
    def make(issuer: Issuer) -> str:
        mine = jose.new_key("ES256")
        members = {"alg": "ES256", "kid": issuer.keys["ES256"].kid, **header}
        if "jwk" in members:
            members["jwk"] = jose.public_members(mine.jwk)
        return issuer.signed(members, issuer.claims(), mine)

    return make


def _claimed(**claims: Any) -> Make:
    return lambda issuer: issuer.token(**claims)


def _headed(**header: Any) -> Make:
    return lambda issuer: issuer.with_header(**header)


def _payload(payload: object) -> Make:
    def make(issuer: Issuer) -> str:
        key = issuer.keys["ES256"]
        return issuer.signed({"alg": "ES256", "kid": key.kid}, payload, key)

    return make


def _wide_signature(issuer: Issuer) -> str:
    """CVE-2022-21449: a signature of zeros."""
    return issuer.token().rpartition(".")[0] + "." + encoded(bytes(64))


HOSTILE: dict[str, tuple[Make, str]] = {
    "alg none": (lambda i: _none(i, "none"), "neither an API key nor a token"),
    "alg none with a signature": (lambda i: _none(i, "none") + "AAAA", "not accepted"),
    "alg nOnE": (lambda i: _none(i, "nOnE") + "AAAA", "not accepted"),
    "HS256 with the public key as PEM": (lambda i: _hmac(i, _public_pem(i)), "not accepted"),
    "HS256 with the public key as JWK": (
        lambda i: _hmac(i, json.dumps(jose.public_members(i.keys["RS256"].jwk)).encode()),
        "not accepted",
    ),
    "HMAC under the name RS256": (lambda i: _hmac(i, _public_pem(i), "RS256"), "signature is wrong"),
    "RS384": (_headed(alg="RS384"), "not accepted"),
    "PS256": (_headed(alg="PS256"), "not accepted"),
    "ES256 with the kid of an RSA key": (
        lambda i: i.with_header(kid=i.keys["RS256"].kid),
        "the issuer has no such key",
    ),
    "RS256 with the kid of an EC key": (
        lambda i: i.with_header("RS256", kid=i.keys["ES256"].kid),
        "the issuer has no such key",
    ),
    "EdDSA with the kid of an EC key": (
        lambda i: i.with_header("EdDSA", kid=i.keys["ES256"].kid),
        "the issuer has no such key",
    ),
    "signed by a stranger under a known kid": (_own_key(), "signature is wrong"),
    "signed by a stranger without a kid": (
        lambda i: i.signed({"alg": "ES256"}, i.claims(), jose.new_key("ES256")),
        "signature is wrong",
    ),
    "an unknown kid": (_headed(kid="other"), "the issuer has no such key"),
    "a kid that is a path": (_headed(kid="../../../dev/null"), "the issuer has no such key"),
    "a kid that is a number": (_headed(kid=7), "header cannot be read"),
    "an embedded jwk": (_own_key(jwk=True), "header has `jwk`"),
    "jku": (_own_key(jku="https://evil.example/jwks"), "header has `jku`"),
    "x5u": (_own_key(x5u="https://evil.example/cert"), "header has `x5u`"),
    "x5c": (_own_key(x5c=["MIIB"]), "header has `x5c`"),
    "crit": (_headed(crit=["exp"], exp=1), "header has `crit`"),
    "b64 false": (_headed(b64=False), "header has `b64`"),
    "zip": (_headed(zip="DEF"), "header has `zip`"),
    "an ID of another kind": (_headed(typ="logout+jwt"), "kind of token"),
    "alg missing": (_headed(alg=None), "header cannot be read"),
    "a header that is a list": (lambda i: f"W10.{part(i.claims())}.AAAA", "header cannot be read"),
    "a header that is no JSON": (lambda i: f"AAAA.{part(i.claims())}.AAAA", "header cannot be read"),
    "claims of somebody else": (_changed, "signature is wrong"),
    "a signature of zeros": (_wide_signature, "signature is wrong"),
    "no signature": (lambda i: i.token().rpartition(".")[0] + ".", "neither an API key nor a token"),
    "a cut signature": (lambda i: i.token()[:-8], "signature is wrong"),
    "two parts": (lambda i: i.token().rpartition(".")[0], "neither an API key nor a token"),
    "five parts, as of an encrypted one": (lambda i: "a.b.c.d.e", "neither an API key nor a token"),
    "characters that base64 decoders skip": (lambda i: i.token() + "!", "neither an API key nor a token"),
    "padding": (lambda i: i.token() + "=", "neither an API key nor a token"),
    "a token of 9,000 bytes": (_claimed(pad="x" * 9000), "neither an API key nor a token"),
    "expired": (_claimed(exp=NOW_S - 6), "expired"),
    "expired long ago": (_claimed(exp=0), "expired"),
    "exp missing": (_claimed(exp=None), "claims are not what they should be"),
    "exp as text": (_claimed(exp="2000000000"), "claims are not what they should be"),
    "exp true": (_claimed(exp=True), "claims are not what they should be"),
    "not yet valid": (_claimed(nbf=NOW_S + 60), "`nbf` is in the future"),
    "issued in the future": (_claimed(iat=NOW_S + 60), "`iat` is in the future"),
    "of another issuer": (_claimed(iss="https://evil.example"), "issuer is not trusted"),
    "of an issuer that differs by a slash": (_claimed(iss=f"{ISSUER}/"), "issuer is not trusted"),
    "iss missing": (_claimed(iss=None), "claims are not what they should be"),
    "iss a list": (_claimed(iss=[ISSUER]), "claims are not what they should be"),
    "for another audience": (_claimed(aud="other"), "another audience"),
    "for an audience that begins alike": (_claimed(aud="kaname-staging"), "another audience"),
    "for nobody": (_claimed(aud=[]), "another audience"),
    "aud missing": (_claimed(aud=None), "claims are not what they should be"),
    "sub missing": (_claimed(sub=None), "claims are not what they should be"),
    "sub empty": (_claimed(sub=""), "names nobody"),
    "sub a number": (_claimed(sub=7), "claims are not what they should be"),
    "claims that are a list": (_payload([1]), "claims are not what they should be"),
    "claims that are text": (_payload("x"), "claims are not what they should be"),
    "an infinite exp": (
        lambda i: i.token().split(".")[0] + "." + encoded(b'{"exp":1e999}') + ".AAAA",
        "claims",
    ),
}


@pytest.mark.parametrize(("make", "said"), HOSTILE.values(), ids=list(HOSTILE))
def test_a_hostile_token_opens_no_door(
    tokens: Tokens, clock: ManualClock, issuer: Issuer, make: Make, said: str
) -> None:
    """Refused with a word on the reason, and nothing of an unsigned token is repeated."""
    token = make(issuer)
    with pytest.raises(Unauthenticated) as caught:
        principals(tokens, clock).of(bearer(token))
    assert said in str(caught.value)
    assert "evil" not in str(caught.value)
    assert token not in repr(caught.value.__dict__)


def test_an_algorithm_that_the_issuer_does_not_use_is_refused(
    runner: asyncio.Runner, clock: ManualClock, tmp_path: Path, issuer: Issuer
) -> None:
    """A good signature by a key of the set does not help."""
    tokens = runner.run(opened(clock, tmp_path, issuer.trusted(algorithms=("ES256",))))
    assert bool(principals(tokens, clock).of(bearer(issuer.token("ES256"))))
    with pytest.raises(Unauthenticated, match="expected ES256"):
        principals(tokens, clock).of(bearer(issuer.token("RS256")))
    runner.run(tokens.stop())


@pytest.mark.parametrize(
    "jwk",
    [
        {"kty": "oct", "k": encoded(b"x" * 32)},
        {"kty": "oct", "k": encoded(b"x" * 32), "alg": "ES256"},
        {"kty": "EC", "crv": "P-384", "x": encoded(b"x" * 48), "y": encoded(b"y" * 48)},
        {"kty": "EC", "crv": "P-256", "x": encoded(b"x" * 32), "y": encoded(b"y" * 32)},
        {"kty": "OKP", "crv": "X25519", "x": encoded(b"x" * 32)},
        {"kty": "OKP", "crv": "Ed25519", "x": encoded(b"x" * 31)},
        {"kty": "RSA", "n": encoded(b"\xff" * 128), "e": "AQAB"},
        {"kty": "RSA", "n": "AQAB"},
        {"kty": "RSA", "n": encoded(b"\xff" * 256), "e": "AQAB", "use": "enc"},
        {"kty": "RSA", "n": encoded(b"\xff" * 256), "e": "AQAB", "alg": "PS256"},
        {"kty": "RSA", "n": encoded(b"\xff" * 256), "e": "AQAB", "key_ops": ["encrypt"]},
        {},
    ],
    ids=lambda jwk: f"{jwk.get('kty')}-{jwk.get('crv', jwk.get('alg', jwk.get('use', len(jwk))))}",
)
def test_keys_that_fit_no_algorithm_are_passed_over(issuer: Issuer, jwk: dict[str, Any]) -> None:
    """Symmetric, short, of other curves, for encryption: beside good keys they do no harm, alone they are no set."""
    good = json.loads(issuer.file.read_text())["keys"]
    assert len(jose.keys_of(json.dumps({"keys": [jwk | {"kid": "x"}, *good]}).encode())) == 6
    with pytest.raises(KanameError, match="without a usable key"):
        jose.keys_of(json.dumps({"keys": [jwk]}).encode())


# --- time -----------------------------------------------------------------------------------------------


def test_an_expired_token_is_not_remembered(tokens: Tokens, clock: ManualClock, issuer: Issuer) -> None:
    """Good until exp and the leeway; then what was remembered is false, and asking again is refused."""
    known = principals(tokens, clock)
    header = bearer(issuer.token(exp=NOW_S + 10))
    who = known.of(header)
    clock.advance(ms=14_999)
    assert bool(who)
    assert known.of(header) is who
    clock.advance(ms=1)
    assert not bool(who)
    for _ in range(2):
        with pytest.raises(Unauthenticated, match="expired"):
            known.of(header)


def test_withdrawn_keys_take_their_tokens_with_them(runner: asyncio.Runner, clock: ManualClock, tmp_path: Path) -> None:
    """A key that left the file ends the principals of its tokens within a second, and no others."""
    issuer = Issuer(tmp_path / "jwks.json")
    tokens = runner.run(opened(clock, tmp_path, issuer.trusted()))
    known = principals(tokens, clock)
    stays, goes = (known.of(bearer(issuer.token(algorithm))) for algorithm in ("EdDSA", "ES256"))
    old = issuer.rotate("ES256")
    _turn_until(runner, lambda: not bool(goes))
    assert bool(stays)
    with pytest.raises(Unauthenticated, match="no such key"):
        known.of(bearer(issuer.token(key=old)))
    assert bool(known.of(bearer(issuer.token("ES256"))))
    runner.run(tokens.stop())


def test_a_broken_key_file_leaves_the_last_good_keys(
    runner: asyncio.Runner, clock: ManualClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Half a file is said once, and changes nothing until it is whole again."""
    issuer = Issuer(tmp_path / "jwks.json")
    tokens = runner.run(opened(clock, tmp_path, issuer.trusted()))
    known = principals(tokens, clock)
    who = known.of(bearer(issuer.token()))
    whole = issuer.file.read_text()
    issuer.file.write_text(whole[:100])
    _turn_until(runner, lambda: "cannot be read" in caplog.text)
    assert bool(who)
    assert bool(known.of(bearer(issuer.token(sub="bob"))))
    issuer.file.write_text(whole)
    _turn_until(runner, lambda: "can be read again" in caplog.text)
    assert caplog.text.count("cannot be read") == 1
    runner.run(tokens.stop())


def _turn_until(runner: asyncio.Runner, look: Callable[[], bool]) -> None:
    def turn() -> bool:
        runner.run(asyncio.sleep(0.02))
        return look()

    until(turn, "the keys are read again", 5.0)


# --- what a token allows --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "claims", "models", "plain"),
    [
        ({}, {"scope": "predict:iris predict:a"}, {"iris", "a"}, set()),
        ({}, {"scope": ["write"]}, set(), {"read", "write"}),
        ({}, {"scope": "admin"}, None, {"read", "write", "admin"}),
        ({}, {"scope": "openid predict: Admin read;write"}, set(), set()),
        ({}, {"scope": None}, set(), set()),
        ({}, {"scope": 7}, set(), set()),
        ({}, {"scope": [7, None, ["admin"]]}, set(), set()),
        ({"claim": "groups", "scopes": {"data": ("predict:*", "read")}}, {"groups": ["data", "x"]}, None, {"read"}),
        ({"claim": "groups", "scopes": {"data": ("read",)}}, {"groups": ["admin"]}, set(), set()),
        ({"claim": "realm_access.roles"}, {"realm_access": {"roles": ["read"]}}, set(), {"read"}),
        ({"claim": "https://x.example/roles"}, {"https://x.example/roles": "read"}, set(), {"read"}),
        ({"claim": "a.b.c"}, {"a": {"b": "read"}}, set(), set()),
    ],
)
def test_claims_become_scopes(
    runner: asyncio.Runner,
    clock: ManualClock,
    tmp_path: Path,
    issuer: Issuer,
    settings: dict[str, Any],
    claims: dict[str, Any],
    models: set[str] | None,
    plain: set[str],
) -> None:
    """By name or by path, as they stand or by the mapping; what is not known allows nothing."""
    tokens = runner.run(opened(clock, tmp_path, issuer.trusted(**settings)))
    who = principals(tokens, clock).of(bearer(issuer.token(**{"scope": "none", **claims})))
    assert (who.may_predict, who.scopes) == (None if models is None else frozenset(models), frozenset(plain))
    runner.run(tokens.stop())


def _limited(tokens: Tokens, clock: ManualClock, levels: list[float], token: str, **options: Any) -> Principal:
    known = Principals((), Buckets(clock, levels), check=tokens, **options)
    return known.of(bearer(token))


def _wait_s(who: Principal, rows: int) -> float:
    assert who.limiter is not None
    return who.limiter(rows)


def test_callers_are_limited_by_their_subject_over_all_workers(
    tokens: Tokens, clock: ManualClock, issuer: Issuer
) -> None:
    """Two tokens of one subject draw from one bucket, also in another worker; somebody else has another."""
    levels = [0.0] * 64
    first = _limited(tokens, clock, levels, issuer.token(), default_rate_rows_per_s=10.0)
    again = _limited(tokens, clock, levels, issuer.token(jti="2"), default_rate_rows_per_s=10.0)
    other = _limited(tokens, clock, levels, issuer.token(sub="bob"), default_rate_rows_per_s=10.0)
    assert first.burst_rows == 10
    assert _wait_s(first, 10) == 0.0
    assert _wait_s(again, 1) > 0
    assert _wait_s(other, 10) == 0.0
    assert not any(levels[:32]), "the lower half belongs to API keys"


def test_an_issuers_own_rate_goes_before_the_projects(
    runner: asyncio.Runner, clock: ManualClock, tmp_path: Path, issuer: Issuer
) -> None:
    """And a snapshot swap does not refill the bucket."""
    tokens = runner.run(opened(clock, tmp_path, issuer.trusted(rate_rows_per_s=3.0)))
    buckets = Buckets(clock)
    header = bearer(issuer.token())
    first = Principals((), buckets, check=tokens, default_rate_rows_per_s=100).of(header)
    second = Principals((), buckets, check=tokens, default_rate_rows_per_s=100).of(header)
    assert _wait_s(first, 3) == 0.0
    assert _wait_s(second, 1) > 0
    runner.run(tokens.stop())


def test_an_unusual_subject_is_recorded_as_a_hash(tokens: Tokens, clock: ManualClock, issuer: Issuer) -> None:
    """Long and unprintable names fit where the ids of keys fit, and stay distinct."""
    known = principals(tokens, clock)
    names = {known.of(bearer(issuer.token(sub=sub))).key_id for sub in ("x" * 300, "x" * 301, "a\nb", "é")}
    assert len(names) == 4
    assert all(name.startswith("corp:") and len(name) <= 64 and name.isascii() for name in names)


def test_api_keys_and_tokens_live_side_by_side(tokens: Tokens, clock: ManualClock, issuer: Issuer, keys: Keys) -> None:
    """A subject that is spelled like a key's id is somebody else."""
    info, key = keys.create("shop", ["read"], who="t")
    known = Principals(keys.rows(), Buckets(clock), check=tokens)
    assert known.of(bearer(key)).key_id == info.id
    assert known.of(bearer(issuer.token(sub=info.id))).key_id == f"corp:{info.id}"
    with pytest.raises(Unauthenticated):
        known.of(bearer(key[:-1]))


def test_the_memory_of_tokens_is_bounded(tokens: Tokens, clock: ManualClock, issuer: Issuer) -> None:
    """The oldest is forgotten first, and checked again when it comes back."""
    first = bearer(issuer.token("EdDSA"))
    tokens.verify(first)
    tokens._known.update({bytes([i % 256, i // 256]): tokens._known[next(iter(tokens._known))] for i in range(4096)})
    tokens.verify(first)
    assert len(tokens._known) <= 4097


@pytest.mark.parametrize(
    "bad", [{"name": "Corp"}, {"audience": []}, {"algorithms": ["HS256"]}, {"scopes": {"x": ["root"]}}, {"jwk": ""}]
)
def test_settings_of_an_issuer_are_checked(bad: dict[str, Any]) -> None:
    """The kinds of values; what only a project can check is tested with projects."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"name": "corp", "issuer": "i", "audience": ["a"]} | bad, TokenIssuer)
