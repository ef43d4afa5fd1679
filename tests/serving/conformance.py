"""Requests that both doors must answer alike: what is wrong with each, and what the answer has to say.

`{key}`, `{reader}` and `{poor}` in a request stand for API keys.
"""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any, NamedTuple

API = "/api/v1/models/flowers/predict"
V1 = "/v1/models/flowers"
V2 = "/v2/models/flowers/infer"
ROW: dict[str, Any] = {"length": 5.1, "width": None, "petals": 1.4, "colour": "blue"}
GOOD: dict[str, Any] = {"features": ROW}
CELLS = [5.1, 3.5, 1.4, 1]


class Case(NamedTuple):
    """One request and its answer: the status, words of the body, and whether both doors say it in the same bytes."""

    name: str
    raw: bytes
    status: int
    words: tuple[str, ...] = ()
    same: bool = True
    """False where only uvicorn's own parser answers at the other door."""
    head_only: bool = False
    stays: bool = True
    """False when the connection cannot be used again."""


def http(
    body: bytes | object = b"",
    *lines: str,
    target: str = API,
    method: str = "POST",
    version: str = "1.1",
    key: str | None = "key",
    host: str | None = "127.0.0.1",
    length: str | None = None,
) -> bytes:
    """A request as bytes; a body that is not bytes is sent as JSON."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = [f"{method} {target} HTTP/{version}"]
    if host is not None:
        head.append(f"host: {host}")
    if key is not None:
        head.append(f"authorization: Bearer {{{key}}}")
    if length != "":
        head.append(f"content-length: {len(raw) if length is None else length}")
    return "\r\n".join([*head, *lines, "", ""]).encode() + raw


def chunked(*chunks: bytes, target: str = API) -> bytes:
    head = http(b"", "transfer-encoding: chunked", target=target, length="")
    return head + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


def features(**changes: Any) -> bytes:
    return http({"features": {**ROW, **changes}})


def without(name: str) -> bytes:
    return http({"features": {k: v for k, v in ROW.items() if k != name}})


def text(body: str) -> bytes:
    return http(body.encode())


def x(**changes: Any) -> dict[str, Any]:
    return {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": CELLS, **changes}


def v2(*inputs: dict[str, Any], **fields: Any) -> bytes:
    return http({"inputs": list(inputs), **fields}, target=V2)


def v1(body: object, verb: str = "predict", model: str = "flowers", *lines: str, **more: Any) -> bytes:
    return http(body, *lines, target=f"/v1/models/{model}:{verb}", **more)


def v1_rows(*rows: Any, model: str = "flowers") -> bytes:
    return v1({"instances": list(rows)}, model=model)


def v1_columns(model: str = "flowers", **changes: Any) -> bytes:
    columns = {**{name: [value] * 2 for name, value in ROW.items()}, **changes} if model == "flowers" else changes
    return v1({"inputs": columns}, model=model)


def binary(blob: bytes, size: object = 16, length: str | None = None, **changes: Any) -> bytes:
    one = {k: v for k, v in x(**changes).items() if k != "data"} | {"parameters": {"binary_data_size": size}}
    head = json.dumps({"inputs": [one]}).encode()
    declared = str(len(head)) if length is None else length
    return http(head + blob, f"inference-header-content-length: {declared}", target=V2)


def zipped(body: bytes, *lines: str) -> bytes:
    return http(body, "content-encoding: gzip", *lines)


FORM = "application/x-www-form-urlencoded"
V1_RAW = json.dumps({"instances": [ROW]}).encode()
FLOATS = b"\0\0\x80\x3f" * 3 + b"\0\0\0\0"
RAW = json.dumps(GOOD).encode()
BOMB = gzip.compress(b" " * 5_000_000, mtime=0)
PAIR = "/api/v1/models/pair/predict"
WORDS = "/api/v1/models/words/predict"

GOOD_CASES = [
    Case("features", http(GOOD), 200, ('"prediction":"a"', '"confidence":0.', '"model":"flowers"')),
    Case("features in order", http({"features": [5.1, 3.5, 1.4, "red"]}), 200, ('"prediction":"a"',)),
    Case("a nullable feature left out", without("width"), 200, ('"prediction"',)),
    Case("instances", http({"instances": [ROW, [1, 2, 3, "red"]]}), 200, ('"predictions":[{', '},{"prediction"')),
    Case("a version", http(GOOD, target="/api/v1/models/flowers/versions/next/predict"), 200, ('"version":"next"',)),
    Case("by number", http(GOOD, target="/api/v1/models/1/predict"), 200, ('"model":"flowers"',)),
    Case("an escaped name", http(GOOD, target="/api/v1/models/%66lo%77ers/predict"), 200, ('"model":"flowers"',)),
    Case("a query", http(GOOD, target=API + "?at=now"), 200, ('"prediction"',)),
    Case("an absolute target", http(GOOD, target="http://127.0.0.1" + API), 200, ('"prediction"',)),
    Case("of duplicate keys the last", text('{"features":[1,1,1,"red"],"features":[9,9,1,"blue"]}'), 200, ('"a"',)),
    Case("chunked", chunked(RAW[:9], RAW[9:10], RAW[10:]), 200, ('"prediction"',)),
    Case("gzip", zipped(gzip.compress(RAW, mtime=0)), 200, ('"prediction"',)),
    Case("deflate", http(zlib.compress(RAW), "content-encoding: deflate"), 200, ('"prediction"',)),
    Case("identity", http(RAW, "content-encoding: identity"), 200, ('"prediction"',)),
    Case("JSON with parameters", http(RAW, "content-type: application/json; charset=utf-8"), 200),
    Case("another JSON type", http(RAW, "content-type: application/vnd.x+json"), 200),
    Case("Expect", http(RAW, "expect: 100-continue"), 200, ('"prediction"',)),
    Case("a given id", http(RAW, "x-request-id: abc-1"), 200, ('"request_id":"abc-1"',)),
    Case("an unusable id", http(RAW, 'x-request-id: a"b'), 200, ('"request_id":"the-same-id"',)),
    Case("a trace", http(RAW, "traceparent: 00-abc-def-01"), 200, ('"prediction"',)),
    Case("a deadline", http(RAW, "x-request-timeout-ms: 2000"), 200, ('"prediction"',)),
    Case("HTTP/1.0", http(RAW, version="1.0"), 200, ('"prediction"',), stays=False),
    Case("HTTP/1.0 without Host", http(RAW, version="1.0", host=None), 200, ('"prediction"',), stays=False),
    Case("Connection: close", http(RAW, "connection: close"), 200, ('"prediction"',), stays=False),
    Case("its own Origin", http(RAW, "origin: http://127.0.0.1"), 200, ('"prediction"',)),
    Case("two inputs", http({"features": {"a": [1, 2], "b": [3, 4]}}, target=PAIR), 200, ("[4,6]",)),
    Case("texts", http({"features": ["a\0", "é"]}, target=WORDS), 200, ('"a\\u0000"', "é")),
    Case("v2", v2(x()), 200, ('"outputs"', '"probabilities"')),
    Case("v2 with an id", v2(x(), id="seven"), 200, ('"id":"seven"',)),
    Case("v2 binary", binary(FLOATS), 200, ('"outputs"',)),
    Case("v2 version", http({"inputs": [x()]}, target="/v2/models/flowers/versions/next/infer"), 200, ('"next"',)),
    Case("v2 one output", v2(x(), outputs=[{"name": "label"}]), 200, ('"label"',)),
    Case(
        "v1 rows",
        v1_rows(ROW, [1, 2, 3, "red"]),
        200,
        ('{"predictions":[{"label":0,"probabilities":[0.', '},{"label":'),
    ),
    Case("v1 columns", v1_columns(), 200, ('{"outputs":{"label":[0,0],"probabilities":[[0.',)),
    Case("v1 columns without a nullable one", v1({"inputs": {"length": [1], "petals": [2], "colour": ["red"]}}), 200),
    Case("v1 columns of one input", v1({"inputs": [ROW, [1, 2, 3, "red"]]}), 200, ('"label":[0,',)),
    Case("v1 features in lists of one", v1_rows({k: [v] for k, v in ROW.items()}), 200, ('"label":0',)),
    Case("v1 a signature's name", v1({"signature_name": "any", "instances": [ROW]}), 200, ('{"predictions":[{',)),
    Case("v1 an unknown member", v1({"parameters": {}, "instances": [ROW]}), 200, ('"predictions"',)),
    Case("v1 as curl says it", v1({"instances": [ROW]}, "predict", "flowers", "content-type: " + FORM), 200),
    Case("v1 gzip", v1(gzip.compress(V1_RAW, mtime=0), "predict", "flowers", "content-encoding: gzip"), 200),
    Case("v1 chunked", chunked(V1_RAW[:9], V1_RAW[9:], target=V1 + ":predict"), 200, ('"predictions"',)),
    Case("v1 a version", v1({"instances": [ROW]}, model="flowers/versions/next"), 200, ('"predictions"',)),
    Case("v1 promoted", v1({"instances": [ROW]}, model="flowers/labels/promoted"), 200, ('"predictions"',)),
    Case("v1 a tag", v1({"instances": [ROW]}, model="flowers/labels/canary"), 200, ('"predictions"',)),
    Case("v1 an escaped colon", http({"instances": [ROW]}, target=V1 + "%3Apredict"), 200, ('"predictions"',)),
    Case("v1 classify", v1({"examples": [ROW, ROW]}, "classify"), 200, ('{"results":[[["a",0.', '],["b",', "]],[[")),
    Case(
        "v1 classify with a context",
        v1({"context": {"colour": "red"}, "examples": [{"length": 1, "petals": 2}, ROW]}, "classify"),
        200,
        ('{"results":[[["a",',),
    ),
    Case("v1 regress", v1({"examples": [{"area": 2, "rooms": [3]}]}, "regress", "house"), 200, ('{"results":[6.0]}',)),
    Case(
        "v1 one output",
        v1_rows({"area": 2, "rooms": 3}, [1, 1], model="house"),
        200,
        ('{"predictions":[[6.0],[1.0]]}',),
    ),
    Case("v1 one output's column", v1_columns("house", area=[2, 1], rooms=[3, 1]), 200, ('{"outputs":[[6.0],[1.0]]}',)),
    Case("v1 base64", v1_rows({"b64": "w6k="}, model="scan"), 200, ('{"predictions":[{"b64":"w6k="}]}',)),
    Case("v1 base64 by name", v1_rows({"image": {"b64": "w6k="}}, "w6k=", model="scan"), 200, ('"w6k="', '"dzZrPQ=="')),
    Case(
        "v1 base64 in a column", v1({"inputs": [{"b64": "w6k="}]}, model="scan"), 200, ('{"outputs":[{"b64":"w6k="}]}',)
    ),
    Case("v1 base64 in a row", v1_rows([{"b64": "w6k="}, "é"], model="words"), 200, ('{"predictions":[["é","é"]]}',)),
    Case("v1 tensors", v1_rows({"a": [1, 2], "b": [3, 4]}, model="pair"), 200, ('{"predictions":[[4,6]]}',)),
    Case("v1 whole tensors", v1_columns("pair", a=[[1, 2]], b=[[3, 4]]), 200, ('{"outputs":[[4,6]]}',)),
]

_BODY = '"where":"body"'
_DEEP = "[" * 100_0

API_CASES = [
    # the JSON itself
    Case("an empty body", http(), 400, (_BODY,)),
    Case("no body", http(length=""), 400, (_BODY,)),
    Case("no JSON", text("features=1"), 400, (_BODY, "malformed")),
    Case("ends early", text('{"features":{"length":1'), 400, (_BODY, "truncated")),
    Case("trailing bytes", http(RAW + b"}"), 400, (_BODY,)),
    Case("two documents", http(RAW + RAW), 400, (_BODY,)),
    Case("not UTF-8", http(b'{"features":{"colour":"\xff"}}'), 400, (_BODY, "UTF-8", "0xff")),
    Case("half a surrogate", http(b'{"features":[1,2,3,"\\ud800"]}'), 400, (_BODY,)),
    Case("a BOM", http(b"\xef\xbb\xbf" + RAW), 400, (_BODY,)),
    Case("UTF-16", http(json.dumps(GOOD).encode("utf-16")), 400, (_BODY,)),
    Case("a list", text("[]"), 400, (_BODY, '"found":"array"', '"expected":"object"')),
    Case("null", text("null"), 400, (_BODY, '"found":"null"')),
    Case("a number", text("7"), 400, (_BODY, '"found":"int"')),
    Case("nested deeply", http(b'{"features":' + b"[" * 10_000), 400, ('"where":',)),
    Case("nested deeply and closed", http(b'{"x":' + b"[" * 9_000 + b"]" * 9_000 + b"}"), 400, (_BODY,)),
    Case("an unknown member", text('{"features":[1,2,3,"red"],"x":1}'), 400, ("unknown field", "`x`")),
    # what is asked
    Case("neither", text("{}"), 400, (_BODY, "nothing to predict", "instances")),
    Case("both", http({"features": ROW, "instances": [ROW]}), 400, (_BODY, "both given", "one of them")),
    Case("features null", text('{"features":null}'), 400, ('"where":"features"', '"found":"null"')),
    Case("no instances", text('{"instances":[]}'), 400, ('"where":"instances"', '"found":"0"', "1 to 50")),
    Case("too many rows", http({"instances": [[1, 2, 3, "red"]] * 51}), 413, ('"where":"instances"', '"found":"51"')),
    Case("instances an object", text('{"instances":{}}'), 400, ('"where":"instances"', '"found":"object"')),
    Case("an instance null", http({"instances": [ROW, None]}), 400, ('"where":"instances[1]"', "null")),
    # rows
    Case("a feature missing", without("petals"), 400, ('"where":"features"', "petals")),
    Case("an unknown feature", features(petal=1), 400, ('"where":"features"', "`petal`")),
    Case("null where it may not be", features(length=None), 400, ("features.length", '"found":"null"', "float")),
    Case("a string for a number", features(length="5.1"), 400, ("features.length", '"found":"str"', "float")),
    Case("a boolean for a number", features(length=True), 400, ("features.length", '"found":"bool"')),
    Case("a list for a number", features(length=[1]), 400, ("features.length", '"found":"array"')),
    Case("a number for a category", features(colour=1), 400, ("features.colour", '"found":"int"', "str")),
    Case("an unknown category", features(colour="green"), 400, ("features.colour", "'green'", "red, blue")),
    Case("NaN is no JSON", text('{"features":[NaN,1,1,"red"]}'), 400, (_BODY,)),
    Case("Infinity is no JSON", text('{"features":[-Infinity,1,1,"red"]}'), 400, (_BODY,)),
    Case("beyond FP32", features(length=1e39), 400, ("features.length", "out of range", "1e+39", "FP32")),
    Case("beyond FP64", text('{"features":[1e999,1,1,"red"]}'), 400, ("out of range",)),
    Case("a huge integer", text('{"features":[' + "9" * 400 + ',1,1,"red"]}'), 400, ("out of range",)),
    Case("too few cells", http({"features": [1, 2, 3]}), 400, ('"where":"features"', "length 4")),
    Case("too many cells", http({"features": [1, 2, 3, "red", 5]}), 400, ('"where":"features"', "length 4")),
    Case("ragged rows", http({"instances": [[1, 2, 3, "red"], [1, 2, 3]]}), 400, ('"where":"instances[1]"',)),
    Case(
        "a bad row among good ones", http({"instances": [ROW, {**ROW, "length": "x"}]}), 400, ("instances[1].length",)
    ),
    Case(
        "a bad value among good rows",
        http({"instances": [ROW, {**ROW, "petals": -1e39}]}),
        400,
        ("instances[1].petals",),
    ),
    # tensors
    Case("an input missing", http({"features": {"a": [1, 2]}}, target=PAIR), 400, ('"where":"features"', "`b`")),
    Case("a wrong shape", http({"features": {"a": [1], "b": [1, 2]}}, target=PAIR), 400, ("features.a", "[2]")),
    Case("too deep", http({"features": {"a": [[1, 2]], "b": [1, 2]}}, target=PAIR), 400, ("features.a[0]",)),
    Case("a fraction", http({"features": {"a": [1.5, 2], "b": [1, 2]}}, target=PAIR), 400, ("features.a[0]",)),
    Case(
        "beyond INT32",
        http({"features": {"a": [2**31, 2], "b": [1, 2]}}, target=PAIR),
        400,
        ("features.a", "INT32"),
    ),
    Case(
        "instances of different shapes",
        http({"instances": [{"a": [1, 2], "b": [1, 2]}, {"a": [1, 2], "b": [1]}]}, target=PAIR),
        400,
        ("instances[1].b",),
    ),
    Case("a number for a text", http({"features": ["a", 1]}, target=WORDS), 400, ("features[1]", '"found":"int"')),
    # headers
    Case("form data", http(RAW, "content-type: application/x-www-form-urlencoded"), 415, ("content-type",)),
    Case("plain text", http(RAW, "content-type: text/plain"), 415, ("content-type", "text/plain")),
    Case("octets", http(RAW, "content-type: application/octet-stream"), 415, ("content-type",)),
    Case("an empty type", http(RAW, "content-type: "), 415, ("content-type",)),
    Case("an unknown encoding", http(RAW, "content-encoding: br"), 415, ("content-encoding", '"found":"br"')),
    Case("gzip that is none", zipped(RAW), 400, (_BODY, "gzip")),
    Case("gzip that ends early", zipped(gzip.compress(RAW, mtime=0)[:-9]), 400, (_BODY, "ends early")),
    Case("gzip with a wrong sum", zipped(gzip.compress(RAW, mtime=0)[:-8] + b"\0" * 8), 400, (_BODY, "gzip")),
    Case("bytes behind gzip", zipped(gzip.compress(RAW, mtime=0) + b"more"), 400, (_BODY,)),
    Case("a gzip bomb", zipped(BOMB), 413, (_BODY, "decompression")),
    Case("a deadline of words", http(RAW, "x-request-timeout-ms: soon"), 400, ("x-request-timeout-ms", "soon")),
    Case("a deadline of nothing", http(RAW, "x-request-timeout-ms: 0"), 400, ("x-request-timeout-ms",)),
    Case("a negative deadline", http(RAW, "x-request-timeout-ms: -5"), 400, ("x-request-timeout-ms",)),
    Case("a deadline of NaN", http(RAW, "x-request-timeout-ms: nan"), 400, ("x-request-timeout-ms",)),
    Case("an infinite deadline", http(RAW, "x-request-timeout-ms: inf"), 400, ("x-request-timeout-ms",)),
    # who asks
    Case("no key", http(GOOD, key=None), 401, ("Authorization", '"code":"unauthenticated"')),
    Case("no key, a given id", http(GOOD, "x-request-id: mine", key=None), 401, ('"request_id":"mine"',)),
    Case("another scheme", http(GOOD, "authorization: Basic eDp5", key=None), 401, ("Authorization", "Bearer")),
    Case("an unknown key", http(GOOD, "authorization: Bearer kn_nobody_x", key=None), 401, ("Authorization",)),
    Case("an empty key", http(GOOD, "authorization: ", key=None), 401, ("Authorization",)),
    Case("a key that is not ASCII", http(GOOD, "authorization: Bearer ключ", key=None), 401, ("Authorization",)),
    Case("no scope", http(GOOD, key="reader"), 403, ('"where":"flowers"', "predict:flowers")),
    Case("a scope for another model", http({"features": {"a": [1, 2], "b": [1, 2]}}, target=PAIR, key="poor"), 403),
    Case("more rows than the burst", http({"instances": [ROW] * 3}, key="poor"), 413, ('"where":"rows"', "at most 2")),
    Case("a foreign Host", http(GOOD, host="evil.example"), 403, ('"where":"Host"', "evil.example"), stays=False),
    Case("a malformed Host", http(GOOD, host="a b"), 400, ('"where":"Host"',), stays=False),
    Case("no Host", http(GOOD, host=None), 400, ('"where":"Host"',), stays=False),
    Case("two Hosts", http(GOOD, "host: 127.0.0.1"), 400, ('"where":"Host"',), stays=False),
    Case("a foreign Origin", http(GOOD, "origin: https://evil.example"), 403, ('"where":"Origin"',), stays=False),
    # what is named
    Case("an unknown model", http(GOOD, target="/api/v1/models/flower/predict"), 404, ("perhaps flowers",)),
    Case(
        "an unknown model, a given id",
        http(GOOD, "x-request-id: mine", target="/api/v1/models/flower/predict"),
        404,
        ('"request_id":"mine"',),
    ),
    Case("an unknown number", http(GOOD, target="/api/v1/models/999/predict"), 404, ('"found":"999"',)),
    Case("an unknown version", http(GOOD, target="/api/v1/models/flowers/versions/9/predict"), 404, ("1, next",)),
    Case("an empty name", http(GOOD, target="/api/v1/models//predict"), 404, ('"code":"not_found"',)),
    Case("a name that is not UTF-8", http(GOOD, target="/api/v1/models/%ff/predict"), 404, ('"code":"not_found"',)),
    Case("an escaped slash", http(GOOD, target="/api/v1/models/a%2Fb/predict"), 404, ('"code":"not_found"',)),
    Case("an unknown model without a key", http(GOOD, target="/api/v1/models/flower/predict", key=None), 401),
    Case("an unknown resource", http(GOOD, target="/api/v1/models/flowers/guess"), 404, ('"code":"not_found"',)),
    Case("GET", http(method="GET"), 405, ('"where":"method"', "POST")),
    Case("PUT", http(GOOD, method="PUT"), 405, ('"where":"method"', "POST")),
    Case("HEAD", http(method="HEAD", length=""), 405, (), head_only=True),
    # sizes
    Case("a huge body", http(b" " * 20_001), 413, (_BODY, "20000"), stays=False),
    Case("a huge body, a given id", http(b" " * 20_001, "x-request-id: m"), 413, ('"request_id":"m"',), stays=False),
    Case("a huge chunked body", chunked(*[b" " * 5_000] * 5), 413, (_BODY, "20000"), stays=False),
]

V1_CASES = [
    # the JSON itself
    Case("v1 empty", http(target=V1 + ":predict"), 400, ("body",)),
    Case("v1 no JSON", v1(b"{"), 400, ("body",)),
    Case("v1 trailing bytes", v1(V1_RAW + b"}"), 400, ("body",)),
    Case("v1 not UTF-8", v1(b'{"instances":[{"colour":"\xff"}]}'), 400, ("UTF-8", "0xff")),
    Case("v1 nested deeply", v1(b'{"instances":' + b"[" * 9_000), 400),
    Case("v1 a list", v1([]), 400, ("body", "found array", "expected object")),
    Case("v1 NaN is no JSON", v1(b'{"instances":[[NaN,1,1,"red"]]}'), 400, ("body",)),
    # what is asked
    Case("v1 nothing", v1({}), 400, ("body", "nothing to predict", "instances")),
    Case("v1 both", v1({"instances": [ROW], "inputs": [ROW]}), 400, ("body", "both given", "one of them")),
    Case("v1 the body of another protocol", v1(GOOD), 400, ("nothing to predict", "inputs")),
    Case("v1 instances null", v1({"instances": None}), 400, ("instances", "found null")),
    Case("v1 instances an object", v1({"instances": ROW}), 400, ("instances", "found object")),
    Case("v1 no rows", v1_rows(), 400, ("instances", "found 0", "1 to 50")),
    Case("v1 too many rows", v1_rows(*[ROW] * 51), 413, ("instances", "found 51", "1 to 50")),
    Case("v1 too many rows in columns", v1({"inputs": {k: [v] * 51 for k, v in ROW.items()}}), 413, ("inputs", "51")),
    Case("v1 no columns", v1({"inputs": {k: [] for k in ROW}}), 400, ("inputs", "found 0")),
    Case("v1 a signature's number", v1({"signature_name": 1, "instances": [ROW]}), 400, ("signature_name", "int")),
    # rows
    Case("v1 a feature missing", v1_rows({"length": 1}), 400, ("instances[0]", "petals")),
    Case("v1 an unknown feature", v1_rows({**ROW, "petal": 1}), 400, ("instances[0]", "`petal`")),
    Case("v1 null", v1_rows(ROW, {**ROW, "length": None}), 400, ("instances[1].length", "found null")),
    Case("v1 a string for a number", v1_rows({**ROW, "length": "5"}), 400, ("instances[0].length", "found str")),
    Case("v1 a list for a number", v1_rows({**ROW, "length": [1, 2]}), 400, ("instances[0].length", "found array")),
    Case("v1 an unknown category", v1_rows({**ROW, "colour": "green"}), 400, ("instances[0].colour", "'green'", "red")),
    Case("v1 beyond FP32", v1_rows({**ROW, "length": 1e39}), 400, ("instances[0].length", "1e+39", "FP32")),
    Case("v1 too few cells", v1_rows([1, 2, 3]), 400, ("instances[0]", "length 4")),
    Case("v1 a bare value", v1_rows(7), 400, ("instances[0]", "found int")),
    Case("v1 base64 for a category", v1_rows({**ROW, "colour": {"b64": "AA=="}}), 400, ("colour", "found object")),
    # columns
    Case("v1 a column missing", v1({"inputs": {"length": [1]}}), 400, ("inputs", "petals")),
    Case("v1 an unknown column", v1_columns(petal=[1, 1]), 400, ("inputs", "`petal`")),
    Case("v1 a column that is none", v1_columns(length=1), 400, ("inputs.length", "found int", "array")),
    Case("v1 columns of different rows", v1_columns(petals=[1]), 400, ("inputs.petals", "found 1", "expected 2")),
    Case("v1 a wrong cell of a column", v1_columns(length=[1, "x"]), 400, ("inputs.length[1]", "found str")),
    Case("v1 an unknown category in a column", v1_columns(colour=["red", "sky"]), 400, ("inputs.colour[1]", "'sky'")),
    # tensors
    Case("v1 an input missing", v1_rows({"a": [1, 2]}, model="pair"), 400, ("instances[0]", "`b`")),
    Case("v1 a wrong shape", v1_rows({"a": [1], "b": [1, 2]}, model="pair"), 400, ("instances[0].a", "[2]")),
    Case("v1 rows of different inputs", v1_columns("pair", a=[[1, 2]] * 2, b=[[1, 2]]), 400, ("inputs.b", "found 1")),
    Case("v1 a ragged column", v1_columns("pair", a=[[1, 2], [1]], b=[[1, 2]] * 2), 400, ("inputs.a", "ragged")),
    Case("v1 no base64", v1_rows({"b64": "?"}, model="scan"), 400, ("instances[0].b64", "base64")),
    Case("v1 base64 that is a number", v1_rows({"b64": 1}, model="scan"), 400, ("instances[0].b64", "found int")),
    Case("v1 neither text nor bytes", v1_rows({}, model="scan"), 400, ("instances[0]", "image or b64")),
    Case("v1 more than base64", v1_rows([{"b64": "AA==", "x": 1}, ""], model="words"), 400, ("instances[0][0]", "`x`")),
    # verbs
    Case("v1 classify instances", v1({"instances": [ROW]}, "classify"), 400, ("body", "examples")),
    Case("v1 classify nothing", v1({"examples": []}, "classify"), 400, ("examples", "found 0")),
    Case(
        "v1 a wrong example", v1({"examples": [ROW, {**ROW, "length": "x"}]}, "classify"), 400, ("examples[1].length",)
    ),
    Case("v1 a context that is a list", v1({"context": [], "examples": [ROW]}, "classify"), 400, ("context", "array")),
    Case(
        "v1 classify with a regression",
        v1({"examples": [{"area": 1, "rooms": 1}]}, "classify", "house"),
        400,
        ("house",),
    ),
    Case("v1 regress with a classifier", v1({"examples": [ROW]}, "regress"), 400, ("flowers", "classification")),
    Case("v1 an unknown verb", v1({"instances": [ROW]}, "explain"), 404, ("path", ":classify")),
    Case("v1 no verb", http({"instances": [ROW]}, target=V1), 405, ("method", "GET")),
    Case("v1 GET", http(method="GET", target=V1 + ":predict"), 405, ("method", "POST")),
    # what is named, who asks
    Case("v1 unknown model", v1({"instances": [ROW]}, model="flower"), 404, ("perhaps flowers",)),
    Case("v1 unknown version", v1({"instances": [ROW]}, model="flowers/versions/9"), 404, ("1, next",)),
    Case("v1 unknown label", v1({"instances": [ROW]}, model="flowers/labels/stable"), 404, ("promoted", "canary")),
    Case("v1 no previous version", v1({"instances": [ROW]}, model="house/labels/previous"), 404, ("promoted",)),
    Case("v1 label of an unknown model", v1({"instances": [ROW]}, model="flower/labels/x"), 404, ("perhaps flowers",)),
    Case("v1 unknown resource", http(b"", target="/v1/guess"), 404, ("/v1/guess",)),
    Case("v1 no key", v1({"instances": [ROW]}, key=None), 401, ("Authorization",)),
    Case("v1 no scope", v1({"instances": [ROW]}, key="reader"), 403, ("predict:flowers",)),
    Case("v1 unknown label, no key", v1({"instances": [ROW]}, model="flowers/labels/x", key=None), 401),
    Case("v1 status without a key", http(method="GET", target=V1, key=None), 401, ("Authorization",)),
    Case("v1 status of another model", http(method="GET", target="/v1/models/pair", key="poor"), 403, ("read",)),
    Case("v1 wrong type", v1(V1_RAW, "predict", "flowers", "content-type: text/plain"), 415, ("content-type",)),
    Case("v1 wrong encoding", v1(V1_RAW, "predict", "flowers", "content-encoding: br"), 415, ("content-encoding",)),
    Case("v1 foreign Host", v1({"instances": [ROW]}, host="evil.example"), 403, ("Host",), stays=False),
    Case("v1 huge body", v1(b" " * 20_001), 413, ("body",), stays=False),
]

V2_CASES = [
    Case("v2 empty", http(target=V2), 400, ("body",)),
    Case("v2 no JSON", http(b"{", target=V2), 400, ("body",)),
    Case("v2 not UTF-8", http(b'{"id":"\xff"}', target=V2), 400, ("UTF-8",)),
    Case("v2 nested deeply", http(b'{"x":' + b"[" * 9_000, target=V2), 400, ("body",)),
    Case("v2 no inputs", http({}, target=V2), 400, ("inputs",)),
    Case("v2 unknown input", v2(x(name="y")), 400, ("inputs[0].name", "expected x")),
    Case("v2 input twice", v2(x(), x()), 400, ("inputs[1].name", "twice")),
    Case("v2 wrong datatype", v2(x(datatype="INT8")), 400, ("inputs[0].datatype", "INT8", "FP32")),
    Case("v2 no such datatype", v2(x(datatype="FLOAT")), 400, ("inputs[0].datatype", "FLOAT")),
    Case("v2 wrong shape", v2(x(shape=[1, 5])), 400, ("inputs[0].shape", "[any, 4]")),
    Case("v2 negative shape", v2(x(shape=[-1, 4])), 400, ("inputs[0].shape",)),
    Case("v2 no rows", v2(x(shape=[0, 4], data=[])), 400, ("inputs[0].shape[0]",)),
    Case("v2 huge shape", v2(x(shape=[2**62, 4])), 413, ("inputs[0].shape[0]",)),
    Case("v2 too many rows", v2(x(shape=[51, 4], data=CELLS * 51)), 413, ("1 to 50",)),
    Case("v2 too little data", v2(x(data=[1, 2])), 400, ("inputs[0].data", "2 elements")),
    Case("v2 ragged", v2(x(shape=[2, 4], data=[CELLS, [1]])), 400, ("inputs[0].data[1]",)),
    Case("v2 a string", v2(x(data=["1", 2, 3, 0])), 400, ("inputs[0].data[0]", "str")),
    Case("v2 null", v2(x(data=[None, 2, 3, 0])), 400, ("length",)),
    Case("v2 no such category", v2(x(data=[1, 2, 3, 7])), 400, ("colour", "red, blue")),
    Case("v2 beyond FP32", v2(x(data=[1e39, 2, 3, 0])), 400, ("FP32",)),
    Case("v2 no data", v2({"name": "x", "shape": [1, 4], "datatype": "FP32"}), 400, ("inputs[0]",)),
    Case("v2 unknown output", v2(x(), outputs=[{"name": "y"}]), 400, ("outputs[0]",)),
    Case("v2 shared memory", v2(x(parameters={"shared_memory_region": "r"})), 400, ("shared",)),
    Case("v2 binary truncated", binary(FLOATS[:10]), 400, ("binary_data_size",)),
    Case("v2 binary oversized", binary(FLOATS + b"more"), 400, ("4 bytes more",)),
    Case("v2 binary of another size", binary(FLOATS[:12], 12), 400, ("inputs[0]", "16 bytes")),
    Case("v2 binary size negative", binary(FLOATS, -16), 400, ("binary_data_size",)),
    Case("v2 binary size a string", binary(FLOATS, "16"), 400, ("binary_data_size",)),
    Case("v2 binary NaN", binary(b"\0\0\xc0\x7f" * 4), 400, ("length",)),
    Case("v2 header length beyond", binary(FLOATS, length="9999"), 400, ("inference-header-content-length",)),
    Case("v2 header length negative", binary(FLOATS, length="-1"), 400, ("inference-header-content-length",)),
    Case("v2 header length of words", binary(FLOATS, length="ten"), 400, ("inference-header-content-length",)),
    Case("v2 header length short", binary(FLOATS, length="5"), 400, ("body",)),
    Case("v2 wrong type", http({"inputs": [x()]}, "content-type: text/plain", target=V2), 415, ("content-type",)),
    Case("v2 wrong encoding", http({"inputs": [x()]}, "content-encoding: br", target=V2), 415, ("content-encoding",)),
    Case("v2 unknown model", http({"inputs": [x()]}, target="/v2/models/flower/infer"), 404, ("perhaps flowers",)),
    Case("v2 unknown version", http({"inputs": [x()]}, target="/v2/models/flowers/versions/9/infer"), 404, ("next",)),
    Case("v2 no key", http({"inputs": [x()]}, target=V2, key=None), 401, ("Authorization",)),
    Case("v2 no scope", http({"inputs": [x()]}, target=V2, key="reader"), 403, ("predict:flowers",)),
    Case("v2 deadline", http({"inputs": [x()]}, "x-request-timeout-ms: x", target=V2), 400, ("x-request-timeout-ms",)),
    Case("v2 foreign Host", http({"inputs": [x()]}, target=V2, host="evil.example"), 403, ("Host",), stays=False),
    Case("v2 huge body", http(b" " * 20_001, target=V2), 413, ("body",), stays=False),
    Case("v2 GET", http(method="GET", target=V2), 405, ("POST",)),
    Case("v2 unknown resource", http(target="/v2/models/flowers/guess"), 404),
]

STREAM = API + "/stream"
EVENTS = API + "/events"
TELL = "/api/v1/models/teller/predict/events"
NDJSON = "content-type: application/x-ndjson"

STREAM_CASES = [
    Case("stream unknown model", http(GOOD, target="/api/v1/models/flower/predict/stream"), 404, ("perhaps flowers",)),
    Case(
        "stream unknown version",
        http(GOOD, target="/api/v1/models/flowers/versions/9/predict/stream"),
        404,
        ("1, next",),
    ),
    Case("stream no key", http(GOOD, NDJSON, target=STREAM, key=None), 401, ("Authorization",)),
    Case("stream no key, unknown model", http(GOOD, target="/api/v1/models/x/predict/stream", key=None), 401),
    Case("stream no scope", http(GOOD, NDJSON, target=STREAM, key="reader"), 403, ("predict:flowers",)),
    Case("stream plain JSON", http(GOOD, "content-type: application/json", target=STREAM), 415, ("content-type",)),
    Case("stream gzip", http(b"", NDJSON, "content-encoding: gzip", target=STREAM), 415, ("content-encoding",)),
    Case("stream foreign Host", http(GOOD, NDJSON, target=STREAM, host="evil.example"), 403, ("Host",)),
    Case("stream GET", http(method="GET", target=STREAM), 405, ("method", "POST")),
    Case("events of a model without", http(GOOD, target=EVENTS), 400, ('"where":"flowers"', "onnx", "`stream`")),
    Case("events no JSON", http(b"{", target=TELL), 400, ('"where":"body"', "truncated")),
    Case("events nothing", http({}, target=TELL), 400, ("nothing to predict",)),
    Case("events a wrong feature", http({"features": {"count": "x"}}, target=TELL), 400, ("features.count", "str")),
    Case("events a wrong type", http(GOOD, "content-type: text/plain", target=TELL), 415, ("content-type",)),
    Case("events a wrong deadline", http(GOOD, "x-request-timeout-ms: x", target=TELL), 400, ("timeout",)),
    Case("events unknown model", http(GOOD, target="/api/v1/models/flower/predict/events"), 404, ("perhaps",)),
    Case("events no key", http(GOOD, target=TELL, key=None), 401, ("Authorization",)),
    Case("events no scope", http({"features": [1]}, target=TELL, key="poor"), 403, ("predict:teller",)),
    Case("events huge body", http(b" " * 20_001, target=TELL), 413, ("20000",)),
    Case("events GET", http(method="GET", target=TELL), 405, ("method", "POST")),
]

_LINES = [f"x-{i}: y" for i in range(60)]

PARSER_CASES = [
    Case("no HTTP", b"hello\r\n\r\n", 400, same=False, stays=False),
    Case("no such method", http(RAW, method="GUESS"), 400, same=False, stays=False),
    Case("HTTP/3.0", http(RAW, version="3.0"), 400, same=False, stays=False),
    Case("a space in the target", http(RAW, target="/api/v1 /x"), 400, same=False, stays=False),
    Case("a target that is no URL", http(RAW, target="http://[::1/x"), 400, same=False, stays=False),
    Case("a header without a colon", http(RAW, "hello"), 400, same=False, stays=False),
    Case("a space before the colon", http(RAW, "x : y"), 400, same=False, stays=False),
    Case("an empty header name", http(RAW, ": y"), 400, same=False, stays=False),
    Case("a control character", http(RAW, "x: a\x01b"), 400, same=False, stays=False),
    Case("a null in a header", http(RAW, "x: a\0b"), 400, same=False, stays=False),
    Case("a length of words", http(RAW, length="ten"), 400, same=False, stays=False),
    Case("a negative length", http(RAW, length="-1"), 400, same=False, stays=False),
    Case("a length with a sign", http(RAW, length="+5"), 400, same=False, stays=False),
    Case("an endless length", http(RAW, length="9" * 40), 400, same=False, stays=False),
    Case("an empty length", http(b"", length=" "), 400, same=False, stays=False),
    Case("two lengths", http(RAW, "content-length: 3"), 400, same=False, stays=False),
    Case("a length and chunks", http(RAW, "transfer-encoding: chunked"), 400, same=False, stays=False),
    Case("a bad chunk", chunked()[:-5] + b"xyz\r\n", 400, same=False, stays=False),
    Case("an unknown transfer coding", http(b"", "transfer-encoding: zip", length=""), 400, same=False, stays=False),
    Case("too many headers", http(RAW, *_LINES), 431, same=False, stays=False),
    Case("too large a header", http(RAW, "x: " + "y" * 9_000), 431, same=False, stays=False),
    Case("too long a target", http(RAW, target=API + "?" + "y" * 9_000), 431, same=False, stays=False),
]
